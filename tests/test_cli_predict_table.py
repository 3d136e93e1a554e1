"""Predictions on a terminal: one line per image at any width, the path last, and "unknown" never with a probability."""

from __future__ import annotations

from typing import Any

import pytest

from resnet_cli.cli.predict_table import PredictionTable
from resnet_cli.commands.predict_model import Started
from resnet_cli.model.reliability import UNLIKE
from resnet_cli.prediction import Prediction
from resnet_cli.text import display_width

TOPK = (("ant", 0.932), ("bee", 0.05), ("wasp", 0.018))
CLASSES = tuple(name for name, _ in TOPK)


def started(classes: tuple[str, ...] = CLASSES, task: Any = "single-label") -> Started:
    return Started(1, task=task, model="m", classes=classes, tells_unfamiliar=True)


def lines(prediction: Prediction, width: int = 80, *, of: Started | None = None, **options: bool) -> list[str]:
    """The header and the lines of an image on a terminal of this width."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        table = PredictionTable(of or started(), **options)
        return [table.head().plain, *(line.plain for line in table.lines(prediction))]


def test_a_row_has_the_class_its_probability_and_the_path_at_the_end() -> None:
    head, row = lines(Prediction("photos/1.jpg", TOPK))
    assert row == "ant          93.2 %  ███████░  photos/1.jpg"
    assert head == "class          prob            image (?: unlike the training images)"
    assert lines(Prediction("photos/1.jpg", TOPK), 60)[1] == "ant          93.2 %  photos/1.jpg", "no room for a bar"
    wide = lines(Prediction("photos/1.jpg", TOPK), 140)
    assert wide[1] == "ant          93.2 %  ███████░  bee 5.0 %, wasp 1.8 %           photos/1.jpg"
    assert "next" in wide[0]


def test_an_image_unlike_the_training_images_is_marked() -> None:
    assert lines(Prediction("1.jpg", TOPK, is_unfamiliar=True))[1].startswith("ant ?        93.2 %")
    known = Prediction("1.jpg", (("a long name of a class", 0.9),), is_unfamiliar=True)
    for width in (40, 60, 80):
        assert " ?  " in lines(known, width, of=started(("a long name of a class",)))[1]


def test_unknown_says_what_it_looks_like_and_has_no_probability_of_its_own() -> None:
    unlike = Prediction("1.jpg", TOPK, unknown=UNLIKE, is_unfamiliar=True)
    head, row = lines(unlike, can_abstain=True)
    assert row.startswith("unknown (looks like ant 93.2 %)  ") and row.endswith("  1.jpg")
    assert head.index("image") == row.index("1.jpg")
    assert lines(unlike, 60, can_abstain=True)[1].startswith("unknown (ant 93.2 %)  ")
    unsure = Prediction("1.jpg", TOPK, unknown="only 93.2 % sure", is_unfamiliar=True)
    assert lines(unsure, can_abstain=True)[1].startswith("unknown (ant, only 93.2 %) ?  ")
    labels = Prediction("1.jpg", TOPK, unknown=UNLIKE, is_unfamiliar=True, labels=())
    assert lines(labels, of=started(task="multi-label"))[1].startswith("unknown (looks like ant 93.2 %)  ")


def test_the_classes_that_were_asked_for_are_listed_below_the_image() -> None:
    found = lines(Prediction("1.jpg", TOPK), lists_classes=True)[1:]
    assert [line.split() for line in found[1:]] == [["bee", "5.0", "%", "░░░░░░░░"], ["wasp", "1.8", "%", "░░░░░░░░"]]
    assert found[0].index("93.2") == found[1].index(" 5.0")
    unknown = Prediction("1.jpg", TOPK, unknown=UNLIKE)
    assert [line.split()[0] for line in lines(unknown, lists_classes=True)[2:]] == ["ant", "bee", "wasp"]
    both = Prediction("1.jpg", TOPK, labels=("ant",), label_probs=(0.932,))
    assert len(lines(both, of=started(task="multi-label"), lists_classes=True)) == 2 + 3


def test_the_labels_of_an_image_are_counted_where_they_do_not_fit() -> None:
    def shown(labels: tuple[str, ...], path: str = "leaves/0001.jpg", **fields: Any) -> str:
        probs = tuple(dict(TOPK).get(label, 0.5) for label in labels)
        prediction = Prediction(path, TOPK, labels=labels, label_probs=probs, **fields)
        return lines(prediction, of=started(task="multi-label"))[1]

    assert shown(("ant", "bee")).startswith("ant 93.2 %, bee 5.0 %  ")
    assert shown(()).startswith("none (ant 93.2 %)  ") and shown(()).endswith("  leaves/0001.jpg")
    assert shown(("ant",), is_unfamiliar=True).startswith("ant 93.2 % ?  ")
    many = shown(tuple(f"finding number {number}" for number in range(14)))
    assert " more  " in many and many.endswith("  leaves/0001.jpg")


NAMES = ("ant", "English springer, English springer spaniel", "蚂蚁" * 20, "a\x1b[31m", "")


@pytest.mark.parametrize("width", [40, 60, 80, 140])
@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_no_line_is_wider_than_the_terminal_and_the_file_name_stays(width: int, task: str) -> None:
    path = f"data/{'x' * 200}/dogs/12.jpg"
    for name in NAMES:
        topk = ((name, 1.0), ("b" * 50, 0.0))
        labels: dict[str, Any] = {} if task == "single-label" else {"labels": (name,), "label_probs": (1.0,)}
        for unknown in (None, UNLIKE, "only 3 % sure"):
            prediction = Prediction(path, topk, unknown=unknown, is_unfamiliar=True, **labels)
            for can_abstain in (False, True):
                of = started((name, "b" * 50), task)
                found = lines(prediction, width, of=of, can_abstain=can_abstain, lists_classes=True)
                assert max(map(display_width, found)) < width, found
                assert found[1].endswith("12.jpg") and "\x1b" not in "".join(found)
