from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.html_page import Page, assert_self_contained
from support.running import TINY

from resnet_cli import finetune
from resnet_cli.training.report import FinetuneResult, report_content

pytest_plugins = ("support.narrow_network", "support.small_runs")
pytestmark = pytest.mark.usefixtures("narrow", "here")

COUNTS = {"ants": 12, "bees": 10}


@pytest.fixture
def train(make_folder: Callable[..., Path]) -> Callable[..., FinetuneResult]:
    def run(layout: dict[str, Any], **values: Any) -> FinetuneResult:
        data = make_folder(layout, name="insects")
        return finetune(data=str(data), out=Path("run"), **TINY | {"mode": "frozen", "epochs": 3} | values)

    return run


def test_a_run_holds_a_report_and_a_card_of_its_test_images(train: Callable[..., FinetuneResult]) -> None:
    result = train({"train": COUNTS, "val": COUNTS, "test": COUNTS})
    assert result.test
    page = Page(Path("run/report.html").read_text(encoding="utf-8"))
    assert_self_contained(page)
    assert "insects, test split" in page.text and "beside 22 validation images" in page.text
    assert "the test split was held out" in page.text and f"{result.test.top1:.1%}".replace("%", " %") in page.text
    # What was trained on what, with the reasons that the plan gave.
    for choice in result.plan.choices:
        assert choice.name == "out" or (choice.value in page.text and choice.why in page.text)
    card = Path("run/model_card.md").read_text(encoding="utf-8")
    assert "22 test images" in card and str(Path.cwd()) not in card
    assert json.loads(Path("run/metrics.json").read_text())["test_top1"] == result.test.top1


def test_without_test_images_the_report_says_that_its_figures_lean_high(
    train: Callable[..., FinetuneResult],
) -> None:
    result = train({"train": COUNTS, "val": COUNTS}, head="16")
    text = Page(Path("run/report.html").read_text(encoding="utf-8")).text
    assert "There is no test split" in text and "chose the epoch" in text and "optimistic" in text
    content = report_content(result)
    assert content.other is None and content.evaluation is result.val
    assert [point.epoch for point in content.history] == [record.epoch for record in result.history]
    assert content.best_epoch == result.best.epoch


def test_heat_maps_are_those_of_the_mistakes(
    train: Callable[..., FinetuneResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []

    def overlays(_model: object, _items: object, positions: list[int], _compute: object) -> dict[int, Image.Image]:
        asked.append(list(positions))
        return {at: Image.new("RGB", (32, 32)) for at in positions}

    monkeypatch.setattr("resnet_cli.reporting.single_label_report.overlays", overlays)
    result = train({"train": COUNTS, "val": COUNTS})
    wrong = np.flatnonzero(~result.val.is_right)
    assert len(asked) == 1 and set(asked[0]) <= set(wrong.tolist())
    assert len(asked[0]) >= min(12, len(wrong))


def test_the_command_in_the_report_gives_the_same_figures_again(train: Callable[..., FinetuneResult]) -> None:
    result = train({"train": COUNTS, "val": COUNTS})
    assert report_content(result).command == "resnet-cli finetune --config run/config.yaml"
    again = finetune(config_file=Path("run/config.yaml"), out=Path("again"))
    np.testing.assert_array_equal(again.val.probs, result.val.probs)
