"""Pages and plots of studies, and the page of similar images: complete, self-contained, in words and numbers."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image
from support.html_page import Page, assert_only_own_script
from support.synthetic_reports import make_evaluation

from resnet_cli.data.dataset import Item
from resnet_cli.engines.similar import Match, Similar
from resnet_cli.evaluation.comparing import compare
from resnet_cli.evaluation.intervals import Interval
from resnet_cli.reporting.charts import Chart
from resnet_cli.reporting.provenance import Provenance
from resnet_cli.reporting.similar_sheet import similar_sheet
from resnet_cli.reporting.study_contents import comparison_content, curve_content, robustness_content
from resnet_cli.reporting.study_page import StudyContent, write_study
from resnet_cli.studies.learning_curve import TWICE, Forecast, LearningCurve, Step
from resnet_cli.studies.power_law import PowerLaw
from resnet_cli.studies.robustness_scores import Cell, KindResult, Robustness

PROVENANCE = Provenance(run="pets-1", data="photos/pets", date="2026-01-31 14:05 +01:00")
STEPS = tuple(Step(num, Interval(0.5 / num, 0.4 / num, 0.7 / num), 1.0, 5) for num in (8, 16, 32, 64))
FORECASTS = (
    Forecast(TWICE, 128, Interval(0.99, 0.9, 1.0), Interval(0.01, -0.02, 0.03), is_guess=False),
    Forecast("100 more of each class", 264, Interval(0.99, 0.9, 1.0), Interval(0.01, -0.02, 0.03), is_guess=True),
)
CURVE = LearningCurve(STEPS, PowerLaw(0.0, 0.5, 1.0), FORECASTS, 50, 64)


def kind(name: str) -> KindResult:
    cells = tuple(Cell(at, Interval(0.9 / at, 0.5 / at, 1 / at), Interval(0.1, 0.0, 0.2)) for at in range(1, 6))
    return KindResult(name, "", cells, 0.4, Interval(0.5, 0.4, 0.6))


def assert_inside(chart: Chart) -> None:
    places = [place for line in chart.lines for piece in line.pieces for point in piece for place in point]
    places += [place for line in chart.lines for dot in line.dots for place in (dot.x, dot.y)]
    places += [end for bar in chart.error_bars for end in (bar.left, bar.bottom, bar.bottom + bar.height)]
    assert places and all(-1e-9 <= place <= 1 + 1e-9 for place in places)


def check(content: StudyContent, folder: Path, *words: str) -> None:
    page, plot = write_study(folder, "study", content, PROVENANCE)
    assert (page.name, plot.name) == ("study.html", "study.png")
    text = page.read_text()
    assert_only_own_script(text)
    shown = Page(text).text
    assert all(word in shown for word in (*words, "pets-1", "photos/pets", content.lead))
    with Image.open(plot) as image:
        assert image.format == "PNG" and image.width > 900
    for chart in content.charts:
        assert_inside(chart)


def test_a_learning_curve_shows_what_is_measured_and_what_is_expected(tmp_path: Path) -> None:
    content = curve_content(CURVE, data="pets", split="val")
    check(content, tmp_path, "+1.0 points", "twice the images", "* a guess", "Measured on 50 val images")


def test_robustness_has_a_chart_and_a_row_for_each_kind(tmp_path: Path) -> None:
    kinds = ("noise", "blur", "jpeg")
    found = Robustness(Interval(0.9, 0.8, 1.0), tuple(map(kind, kinds)), 20, 100)
    check(robustness_content(found, data="pets, val"), tmp_path, *kinds, "20 of 100 images", "JPEG", "50.0 points")


def test_a_comparison_has_every_model_with_its_interval(tmp_path: Path) -> None:
    found = [(name, make_evaluation(("cat", "dog"), 60, strength=at)) for name, at in (("<one>", 1.0), ("two", 9.0))]
    comparisons = [compare(found[0][1], found[1][1])]
    content = comparison_content(found, comparisons, data="pets, test split", letters=["A", "B"])
    check(content, tmp_path, "<one>", "two", comparisons[0].verdict("A", "B"), "a difference")


def test_a_model_without_a_score_has_no_dot() -> None:
    scores: Any = SimpleNamespace(main=("mAP", Interval(math.nan, 0.0, 1.0)), score=None, loss=0.7, num_images=3)
    content = comparison_content([("pets-1", scores)], [], data="pets, test split", letters=["A"])
    (chart,) = content.charts
    assert not chart.lines[0].dots and not chart.error_bars
    assert not any("nan" in text for text in (chart.summary, *content.tiles[0], *content.tables[0].rows[0]))


def test_similar_images_stand_beside_their_query_and_unreadable_ones_have_a_placeholder(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    items = tuple(Item(name, pixels, (0,)) for name in ("one.png", "two.png"))
    gone = Item("gone.jpg", tmp_path / "gone.jpg", (0,))
    matches = (Match("q1", 1, "one.png", 0.9), Match("q1", 2, "gone.jpg", 0.8), Match("q2", 1, "two.png", 0.7))
    queries = (Item("q1", pixels, (0,)), Item("q2", pixels, (0,)))
    found = Similar(matches, (), 9, queries, (items[0], gone, items[1]))
    text = similar_sheet(found, PROVENANCE, among=["photos"])
    assert_only_own_script(text)
    page = Page(text)
    assert "2 queries" in page.text and "The most similar of 9 images in photos" in page.text
    assert len([src for src in page.values("img", "src") if "base64" in src]) == 4
    assert page.text.index("q1") < page.text.index("0.900") < page.text.index("cannot be read")
    assert page.text.index("0.800") < page.text.index("0.700")
