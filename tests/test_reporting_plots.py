from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from support.synthetic_reports import epoch_record

from resnet_cli.errors import DiskError
from resnet_cli.history import EpochRecord
from resnet_cli.reporting.curve_charts import curve_charts
from resnet_cli.reporting.matrix_plots import plot_confusion
from resnet_cli.reporting.plots import DPI, draw_charts, plot_predictions
from resnet_cli.text import display_width, row_shares, shorten

HOSTILE = ["[red]x[/red]", r"$\frac$", "🐝 蜜蜂", "n" * 200, "a\nb\x1b[31m", "\udcff_", "", "$x_"]


def png_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        return image.size


def diagonal(num_classes: int, count: int = 9) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.eye(num_classes, dtype=np.int64) * count + 1


def curve(num_epochs: int) -> list[EpochRecord]:
    return [epoch_record(e, 1 / e, 1.2 / e, 1 - 0.5 / e, 1 - 0.4 / e) for e in range(1, num_epochs + 1)]


def plot_curves(points: Sequence[EpochRecord], path: Path, *, best_epoch: int | None = None) -> None:
    draw_charts(curve_charts(points, best_epoch), path)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved, for looking inside."""
    saved: list[Figure] = []
    save = Figure.savefig

    def spy(self: Figure, *args: Any, **kwargs: Any) -> None:
        saved.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", spy)
    return saved


@pytest.mark.parametrize("num_epochs", [1, 2, 10, 100])
def test_curves_have_one_size_whatever_the_number_of_epochs(tmp_path: Path, num_epochs: int) -> None:
    plot_curves(curve(num_epochs), tmp_path / "curves.png")
    width, height = png_size(tmp_path / "curves.png")
    assert 1200 < width < 1500 and 450 < height < 700


def test_curves_mark_the_best_epoch_and_count_epochs_in_whole_numbers(tmp_path: Path, figures: list[Figure]) -> None:
    points = [epoch_record(1, 1, 1, 0.5), epoch_record(2, 1, 0.9, 0.8), epoch_record(3, 1, 0.7, 0.8)]
    plot_curves(points, tmp_path / "curves.png")
    plot_curves(points, tmp_path / "curves.png", best_epoch=1)
    titles = [figure.axes[1].get_title(loc="left") for figure in figures]
    assert titles == ["Top-1 accuracy (best epoch 3: 80.0 %)", "Top-1 accuracy (best epoch 1: 50.0 %)"]
    assert all(tick == round(tick) for tick in figures[0].axes[0].get_xticks())


def test_train_top1_has_a_line_only_where_it_is_known(tmp_path: Path, figures: list[Figure]) -> None:
    plot_curves([epoch_record(1, 1, 1, 0.5)], tmp_path / "without.png")
    plot_curves(curve(3), tmp_path / "with.png")
    legends = [figure.axes[1].get_legend() for figure in figures]
    assert [len(legend.get_texts()) for legend in legends if legend is not None] == [1, 2]


def test_curves_with_infinite_and_nan_values_are_drawn(tmp_path: Path) -> None:
    points = [*curve(2), epoch_record(3, math.nan, math.inf, math.nan)]
    plot_curves(points, tmp_path / "some.png")
    plot_curves(points[2:], tmp_path / "none.png")
    assert png_size(tmp_path / "some.png") and png_size(tmp_path / "none.png")


def test_curves_without_an_epoch_or_with_an_unknown_best_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no epoch"):
        plot_curves([], tmp_path / "curves.png")
    with pytest.raises(ValueError, match="epoch 7"):
        plot_curves(curve(2), tmp_path / "curves.png", best_epoch=7)


@pytest.mark.parametrize(("num_classes", "least", "most"), [(1, 350, 800), (2, 350, 800), (100, 1900, 2600)])
def test_confusion_plot_grows_with_the_classes(tmp_path: Path, num_classes: int, least: int, most: int) -> None:
    names = [f"class {index}" for index in range(num_classes)]
    plot_confusion(diagonal(num_classes), names, tmp_path / "confusion.png")
    assert all(least < side < most for side in png_size(tmp_path / "confusion.png"))


def test_every_name_is_shown_up_to_100_classes_and_the_figure_stops_growing_there(
    tmp_path: Path, figures: list[Figure]
) -> None:
    for num_classes in (100, 250):
        plot_confusion(diagonal(num_classes), [f"c{i}" for i in range(num_classes)], tmp_path / "c.png")
    assert [len(figure.axes[0].get_yticklabels()) for figure in figures] == [100, 84]
    assert figures[0].get_size_inches() == pytest.approx(figures[1].get_size_inches())


@pytest.mark.parametrize("num_classes", [2, 10, 20, 21])
def test_counts_stand_in_the_cells_of_up_to_20_classes(tmp_path: Path, figures: list[Figure], num_classes: int) -> None:
    plot_confusion(diagonal(num_classes), [f"c{i}" for i in range(num_classes)], tmp_path / "c.png")
    texts = [text.get_text() for text in figures[0].axes[0].texts]
    assert texts.count("10") == (num_classes if num_classes <= 20 else 0)


def test_cells_are_square_and_wide_enough_for_their_counts(tmp_path: Path, figures: list[Figure]) -> None:
    plot_confusion(diagonal(10, 1_234_567), list("abcdefghij"), tmp_path / "c.png")
    figures[0].set_dpi(DPI)
    axes = figures[0].axes[0]
    box = axes.get_window_extent()
    assert box.width == pytest.approx(box.height)
    assert max(text.get_window_extent().width for text in axes.texts) < box.width / 10


def test_a_class_without_images_neither_warns_nor_divides_by_zero(tmp_path: Path) -> None:
    confusion = np.array([[3, 1], [0, 0]])
    shares = row_shares(confusion, ["a", "b"])
    np.testing.assert_array_equal(shares, [[0.75, 0.25], [np.nan, np.nan]])
    plot_confusion(confusion, ["a", "b"], tmp_path / "c.png")
    plot_confusion(np.zeros((3, 3), int), ["a", "b", "c"], tmp_path / "c.png")


def test_a_matrix_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\(2, 2\) for 3 classes"):
        plot_confusion(diagonal(2), ["a", "b", "c"], tmp_path / "c.png")
    with pytest.raises(ValueError, match="0 classes"):
        plot_confusion(np.zeros((0, 0), int), [], tmp_path / "c.png")


def test_hostile_names_are_drawn_as_they_are(tmp_path: Path, figures: list[Figure]) -> None:
    plot_confusion(diagonal(len(HOSTILE)), HOSTILE, tmp_path / "c.png")
    labels = [label.get_text() for label in figures[0].axes[0].get_yticklabels()]
    assert labels[:3] == HOSTILE[:3]
    assert labels[4] == "a\ufffdb\ufffd[31m"
    width, height = png_size(tmp_path / "c.png")
    assert width < 1500 and height < 1500
    images = [np.zeros((9, 9, 3), np.uint8)] * len(HOSTILE)
    plot_predictions(images, HOSTILE, HOSTILE[::-1], [0.5] * len(HOSTILE), tmp_path / "p.png")


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3), (1, 300, 3), (500, 333, 3)])
def test_images_of_any_size_fit_the_grid(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    plot_predictions([image] * 7, ["a"] * 7, ["b"] * 7, [0.5] * 7, tmp_path / "grid.png")
    width, height = png_size(tmp_path / "grid.png")
    assert 1400 < width < 1700 and height < 900


def test_wrong_predictions_are_red_and_name_the_true_class(tmp_path: Path, figures: list[Figure]) -> None:
    images = [np.zeros((8, 8), np.uint8), np.zeros((99, 99), np.uint8)]
    plot_predictions(images, ["cat", "cat"], ["cat", "dog"], [0.934, 0.5], tmp_path / "grid.png")
    (axes,) = figures[0].axes
    right, wrong = axes.texts
    assert (right.get_text(), wrong.get_text()) == ("cat 0.93", "dog 0.50\n(cat)")
    assert right.get_color() != wrong.get_color()
    assert [image.get_interpolation() for image in axes.images] == ["nearest", "auto"]


def test_an_empty_or_uneven_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to plot"):
        plot_predictions([], [], [], [], tmp_path / "grid.png")
    with pytest.raises(ValueError, match="zip"):
        plot_predictions([np.zeros((8, 8), np.uint8)], ["a"], ["a", "b"], [0.5], tmp_path / "grid.png")


def test_a_failed_write_keeps_the_file_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "curves.png"
    path.write_bytes(b"before")

    def full(self: Figure, target: Path, **_: object) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(DiskError, match="No space left"):
        plot_curves(curve(2), path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_a_disk_error(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="cannot write"):
        plot_curves(curve(2), tmp_path / "missing" / "curves.png")


def test_plotting_leaves_matplotlib_settings_as_they_were(tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams.copy())
    plot_curves(curve(2), tmp_path / "curves.png")
    assert dict(matplotlib.rcParams.copy()) == before


@pytest.mark.parametrize("name", [*HOSTILE, "蜜" * 40, "e\u0301" * 40])
@pytest.mark.parametrize("width", [1, 2, 7, 24])
def test_shortened_names_fit_and_are_printable(name: str, width: int) -> None:
    short = shorten(name, width)
    assert display_width(short) <= width
    assert short.isprintable()


def test_shortened_names_keep_both_ends() -> None:
    assert shorten("n02085620-Chihuahua", 11) == "n0208…uahua"
    assert shorten("short", 5) == "short"
