from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from resnet_cli.cli.confusion import confused_lines, confusion_table, most_confused, sparkline

HOSTILE = ["[red]x[/red]", r"$\frac$", "🐝 蜜蜂", "n" * 200, "a\nb\x1b[31m", "\udcff_", "", "[/]"]
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

Counts = np.ndarray[Any, np.dtype[np.int64]]


def render(renderable: RenderableType, width: int, *, color: bool = False) -> list[str]:
    # A wider console than the table was made for shows a line that is too long instead of cutting it.
    console = Console(
        width=width + 50,
        file=io.StringIO(),
        force_terminal=color,
        color_system="truecolor" if color else None,
        legacy_windows=False,
    )
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def matrix(num_classes: int, images: int = 50) -> Counts:
    rng = np.random.default_rng(0)
    wrong = rng.integers(0, 3, (num_classes, num_classes))
    return wrong + np.diag(rng.integers(images // 2, images, num_classes))


def named(num_classes: int) -> list[str]:
    return [f"class {index}" for index in range(num_classes)]


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("num_classes", [1, 2, 10, 30, 100])
def test_table_fits_the_width(num_classes: int, width: int) -> None:
    lines = render(confusion_table(matrix(num_classes), named(num_classes), width=width), width)
    assert max(map(cell_len, lines[:-1])) <= width


@pytest.mark.parametrize("width", [40, 80, 120])
def test_hostile_names_are_shown_and_keep_the_table_in_shape(width: int) -> None:
    confusion = matrix(len(HOSTILE))
    lines = render(confusion_table(confusion, HOSTILE, width=width), width)
    assert max(map(cell_len, lines[:-1])) <= width
    if width >= 80:
        assert len(lines) == len(HOSTILE) + 2
        assert len({cell_len(line) for line in lines[2:]}) == 1
        assert "[red]x[/red]" in lines[2] and r"$\frac$" in lines[3] and "\x1b" not in "".join(lines)


@pytest.mark.parametrize("width", [80, 120])
def test_without_colour_every_count_and_recall_is_there(width: int) -> None:
    confusion = matrix(10, 2000)
    lines = render(confusion_table(confusion, CIFAR10, width=width), width)
    for index, line in enumerate(lines[2:]):
        cells = line.removesuffix(" %").split()
        assert [0 if cell == "·" else int(cell) for cell in cells[-11:-1]] == confusion[index].tolist()
        assert cells[-1] == f"{100 * confusion[index, index] / confusion[index].sum():.1f}"
        assert CIFAR10[index] in line


def test_columns_are_numbered_when_their_names_do_not_fit() -> None:
    wide, narrow = (render(confusion_table(matrix(10), CIFAR10, width=width), width)[1].split() for width in (120, 70))
    assert wide == [*CIFAR10, "recall"]
    assert narrow == [*map(str, range(10)), "recall"]


def test_colour_changes_nothing_but_colour() -> None:
    table = confusion_table(matrix(10), CIFAR10, width=80)
    colored = render(table, 80, color=True)
    assert "\x1b[" in "".join(colored)
    plain = Console(file=io.StringIO(), width=130, record=True, force_terminal=True)
    plain.print(table)
    assert plain.export_text().splitlines() == render(table, 80)


@pytest.mark.parametrize("num_classes", [2, 100])
def test_a_class_without_images_has_no_recall_and_is_not_the_worst(num_classes: int) -> None:
    confusion = matrix(num_classes)
    confusion[1] = 0
    lines = render(confusion_table(confusion, named(num_classes), width=80), 80)
    if num_classes == 2:
        assert lines[-1].split() == ["class", "1", "·", "·", "-"]
    else:
        assert not any(line.startswith("class 1 ") for line in lines)
        assert "1 without images" in lines[-1]


def test_an_empty_evaluation_is_drawn() -> None:
    for num_classes in (2, 100):
        empty = np.zeros((num_classes, num_classes), int)
        assert render(confusion_table(empty, named(num_classes), width=80), 80)


def test_many_classes_show_the_worst_with_their_mistakes_and_count_the_rest() -> None:
    confusion = np.eye(100, dtype=np.int64) * 40
    confusion[42, 42], confusion[42, 7], confusion[42, 8] = 10, 20, 10
    lines = render(confusion_table(confusion, named(100), width=80), 80)
    assert len(lines) == 1 + 15 + 1
    assert lines[1].split() == "class 42 40 25.0 % ██░░░░░░░░ → class 7 (20), class 8 (10)".split()
    assert lines[-1] == "85 of 100 classes not shown: 85 with 100.0 % recall or more"


def test_a_matrix_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 2\) for 3 classes"):
        confusion_table(matrix(2), named(3), width=80)


def test_most_confused_sorts_by_count_then_share_then_class_order() -> None:
    confusion = np.array([[80, 10, 10], [5, 35, 10], [0, 2, 98]])
    assert most_confused(confusion, ["a", "b", "c"]) == [
        ("b", "c", 10, 0.2),
        ("a", "b", 10, 0.1),
        ("a", "c", 10, 0.1),
        ("b", "a", 5, 0.1),
        ("c", "b", 2, 0.02),
    ]
    assert most_confused(confusion, ["a", "b", "c"], limit=1) == [("b", "c", 10, 0.2)]


def test_nothing_confused_gives_nothing() -> None:
    perfect = np.diag([3, 0])
    assert most_confused(perfect, ["a", "b"]) == []
    assert render(confused_lines(perfect, ["a", "b"]), 80) == []


def test_confused_lines_name_the_share_of_the_true_class() -> None:
    confusion = np.array([[459, 41], [3, 97]])
    assert render(confused_lines(confusion, ["cat", "dog"]), 80) == [
        "cat → dog  41 (8.2 % of cat)",
        "dog → cat   3 (3.0 % of dog)",
    ]


def test_confused_lines_fit_80_columns_whatever_the_names() -> None:
    confusion = matrix(len(HOSTILE)) + 12345
    lines = render(confused_lines(confusion, HOSTILE, limit=60), 80)
    assert len(lines) == len(HOSTILE) * (len(HOSTILE) - 1)
    assert max(map(cell_len, lines)) <= 80
    assert "[red]x[/red]" in "".join(lines)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""),
        ([0, 1, 2, 3, 4, 5, 6, 7], "▁▂▃▄▅▆▇█"),
        ([2.0, 2.0], "▄▄"),
        ([1.0], "▄"),
        ([math.nan, 0.0, math.inf, 1.0], " ▁ █"),
        ([math.nan], " "),
        ([-1e308, 1e308], "▁█"),
    ],
)
def test_sparkline_has_one_block_per_value(values: list[float], line: str) -> None:
    assert sparkline(values) == line
