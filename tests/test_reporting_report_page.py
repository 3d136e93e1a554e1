from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.html_page import Page, assert_self_contained
from support.synthetic_reports import epoch_record, make_content, make_evaluation

from resnet_cli.data.dataset import Item
from resnet_cli.reporting.charts import Chart
from resnet_cli.reporting.confusion_page import MAX_NAMES, most_confused, shades
from resnet_cli.reporting.curve_charts import curve_charts
from resnet_cli.reporting.gallery_selection import MAX_GALLERY, MAX_IN_CELL, least_certain, of_cells, worst_mistakes
from resnet_cli.reporting.metrics import class_metrics, metrics
from resnet_cli.reporting.report_page import report_page
from resnet_cli.reporting.single_label_report import MAX_CELL_IMAGES, shown_positions
from resnet_cli.reporting.trust_charts import novelty_chart, reliability_chart, risk_chart, risk_line

MAX_PAGE_BYTES = 5_000_000
PETS = ("cat", "dog", "rabbit")


def named(num_classes: int) -> tuple[str, ...]:
    return tuple(f"class {n}" for n in range(num_classes))


def data_of(text: str) -> dict[str, Any]:
    """What the page's script reads."""
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    parsed: dict[str, Any] = json.loads(found)
    return parsed


def test_the_page_is_one_valid_file_that_asks_for_nothing() -> None:
    text = report_page(make_content(PETS, 120))
    page = Page(text)
    assert_self_contained(page)
    assert "url(" not in text and "@import" not in text and "http" not in text.replace("http-equiv", "")
    assert page.values("html", "lang") == ["en"]
    assert page.tags["h1"] == page.tags["main"] == page.tags["header"] == page.tags["nav"] == 1
    assert page.tags["table"] == page.tags["caption"] > 4
    assert page.tags["th"] == len(page.values("th", "scope"))
    assert len(page.values("th", "aria-sort")) == 8
    assert "something was noticed" in page.text and "the test split was held out" in page.text
    assert page.text.index("one leak") < page.text.index("something was noticed")


def test_no_script_but_our_own_may_run() -> None:
    text = report_page(make_content(PETS, 60))
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert len(scripts) == 1
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text


def test_every_figure_stands_in_the_page_with_its_interval_and_n() -> None:
    content = make_content(PETS, 120)
    text = Page(report_page(content)).text
    assert "n = 120" in text and "beside 120 validation images" in text
    found = metrics(content.evaluation)
    assert {"top1", "balanced_accuracy", "macro_f1", "kappa", "mcc", "roc_auc", "brier", "ece"} <= {
        f.key for f in found
    }
    for metric in found:
        assert f"{metric.name} {metric.text} {metric.interval}".strip() in text
    for row in class_metrics(content.evaluation):
        assert row.recall and f"{100 * row.recall.value:.1f} % {100 * row.recall.low:.0f} to" in text


def test_calibration_is_shown_before_and_after_a_temperature_that_changes_something() -> None:
    content = make_content(PETS, 120)
    text = Page(report_page(content)).text
    before, after = content.evaluation.uncalibrated, content.evaluation.calibration
    shown = [f"ECE{100 * each.ece:.1f} %Brier{each.brier:.3f}NLL{each.loss:.3f}" for each in (before, after)]
    assert text.index("Before temperature scaling") < text.index(shown[0])
    assert text.index("After temperature scaling") < text.index(shown[1])
    plain = dataclasses.replace(content, evaluation=dataclasses.replace(content.evaluation, temperature=1.0))
    text = Page(report_page(plain)).text
    assert "Before temperature scaling" not in text and "changes next to nothing here" in text
    # What is left is compared with chance, and not called nothing.
    assert (plain.evaluation.ece > plain.evaluation.chance_ece) == ("is more than chance alone accounts for" in text)


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror="alert(1)">',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "gnp.\u202eexe",
    "\udcff\udcfe",
    "line\nbreak\x1b[31m\x00",
    "🐝 蜜蜂" * 40,
    "]]></script></style></title><!--",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("num_classes", [3, 40])
def test_names_of_strangers_are_text_and_nothing_else(name: str, num_classes: int) -> None:
    classes = [f"{name}{n}" for n in range(num_classes)]
    num = 4 * num_classes
    content = make_content(
        classes, num, side_px=8, title=name, command=name, facts=[(name, name, name)], warnings=[name]
    )
    content = dataclasses.replace(
        content, evaluation=dataclasses.replace(content.evaluation, names=(name,) * num, groups=(name,) * num)
    )
    text = report_page(content)
    text.encode("utf-8")
    assert not {"\u202e", "\x1b", "\x00", "\u2066"} & set(text)
    page = Page(text)
    assert_self_contained(page)
    plain = Page(report_page(make_content(named(num_classes), num, side_px=8)))
    assert page.tags["script"] == 2 and page.tags["h1"] == 1 and page.tags["img"] == plain.tags["img"]
    assert len(data_of(text)["classes"]) == num_classes


@pytest.mark.parametrize(("num_classes", "num"), [(2, 3), (2, 400), (33, 500), (1_000, 2_000)])
def test_any_number_of_classes_has_a_page(num_classes: int, num: int) -> None:
    content = make_content(named(num_classes), num, strength=4.0)
    text = report_page(content)
    page = Page(text)
    assert_self_contained(page)
    data = data_of(text)
    assert sum(count for _, _, count in data["cells"]) == num
    assert ("grid" in page.values("table", "id")) == (num_classes <= 32)
    assert ("map" in page.values("div", "id")) == (num_classes > 32)
    assert page.text.count("class ") >= num_classes
    assert len(text.encode()) < MAX_PAGE_BYTES


def test_the_page_is_bounded_at_10_000_images_of_100_classes() -> None:
    # Noise is what compresses worst, and long names what takes most room.
    classes = [f"{'a long name of a class ' * 4}{n}" for n in range(100)]
    content = make_content(classes, 10_000, side_px=300, strength=2.5)
    content = dataclasses.replace(
        content,
        evaluation=dataclasses.replace(content.evaluation, names=tuple("long name " * 30 for _ in range(10_000))),
    )
    text = report_page(content)
    data = data_of(text)
    assert 0.3 < content.evaluation.top1 < 0.9
    assert len(data["images"]) <= MAX_CELL_IMAGES + 3 * MAX_GALLERY
    assert sum(map(len, data["names"].values())) <= MAX_NAMES
    assert len(text.encode()) < MAX_PAGE_BYTES


def test_the_worst_mistake_is_the_one_of_highest_loss() -> None:
    evaluation = make_evaluation(PETS, 200, strength=1.0)
    worst = worst_mistakes(evaluation)
    assert len(worst) == MAX_GALLERY and not evaluation.is_right[worst].any()
    assert (
        evaluation.losses[worst].tolist() == sorted(evaluation.losses[~evaluation.is_right], reverse=True)[:MAX_GALLERY]
    )
    unsure = least_certain(evaluation, worst)
    assert not set(worst) & set(unsure) and shown_positions(evaluation) == worst + unsure
    margins = np.sort(evaluation.probs, axis=1)
    assert ((margins[:, -1] - margins[:, -2])[unsure] < 0.5).all()


def test_each_cell_shows_an_image_before_any_shows_two() -> None:
    evaluation = make_evaluation(named(6), 600, strength=1.5)
    num_cells = int((evaluation.confusion > 0).sum())
    cells = [(int(evaluation.labels[at]), int(evaluation.predicted[at])) for at in of_cells(evaluation, 5_000)]
    assert max(cells.count(cell) for cell in set(cells)) == MAX_IN_CELL
    pairs = {(pair.true, pair.predicted) for pair in most_confused(evaluation)}
    first = sum(pair in pairs for pair in cells)
    # The most confused pairs come whole and first; of the others mistakes come before right answers.
    assert set(cells[:first]) == pairs
    others = cells[first : first + num_cells - len(pairs)]
    assert len(set(others)) == len(others) and all(true != predicted for true, predicted in others[:-6])
    assert len(of_cells(evaluation, 10)) == 10


def test_a_model_without_mistakes_has_a_page_without_their_gallery() -> None:
    page = Page(report_page(make_content(PETS, 60, strength=50.0)))
    assert_self_contained(page)
    assert "No image is misclassified" in page.text and "Worst mistakes" not in page.text


def test_heat_maps_stand_beside_the_mistakes() -> None:
    content = make_content(PETS, 120)
    with_maps, without = (Page(report_page(c)) for c in (content, dataclasses.replace(content, overlays={})))
    num_worst = len(worst_mistakes(content.evaluation))
    assert with_maps.tags["img"] - without.tags["img"] >= num_worst > 0
    assert "Grad-CAM" in with_maps.text and "Grad-CAM" not in without.text


def test_an_image_that_vanished_leaves_a_placeholder(tmp_path: Path) -> None:
    content = make_content(PETS, 60)
    items = [Item(item.name, tmp_path / "gone.jpg", (item.label,)) for item in content.items]
    text = report_page(dataclasses.replace(content, items=items, overlays={}))
    page = Page(text)
    assert_self_contained(page)
    assert page.tags["img"] == 0 and "cannot be read" in page.text
    assert {photo[5] for photo in data_of(text)["images"]} == {"", "gone"}


def test_what_only_some_reports_know_may_be_missing() -> None:
    content = make_content(PETS, 60)
    bare = dataclasses.replace(
        content,
        overlays={},
        history=(),
        best_epoch=None,
        selections=(),
        most_novel=None,
        findings=(),
        warnings=(),
        other=None,
        split="all",
        evaluation=dataclasses.replace(content.evaluation, novelty=None, temperature=1.0),
    )
    page = Page(report_page(bare))
    assert_self_contained(page)
    assert "Unknown images" not in page.text and "penalt" not in page.text and "Data findings" not in page.text


def test_groups_are_listed_the_worst_first() -> None:
    content = make_content(PETS, 60)
    groups = tuple("night" if not right else "day" for right in content.evaluation.is_right)
    evaluation = dataclasses.replace(content.evaluation, groups=groups)
    text = Page(report_page(dataclasses.replace(content, evaluation=evaluation))).text
    assert text.index("night") < text.index("100.0 %")


def test_few_images_and_absent_classes_are_told() -> None:
    evaluation = make_evaluation(PETS, 40)
    evaluation = dataclasses.replace(make_evaluation((*PETS, "unicorn"), 3), tta="flip")
    content = make_content((*PETS, "unicorn"), 3)
    text = Page(report_page(dataclasses.replace(content, evaluation=evaluation, other=None))).text
    assert "Nothing is known about unicorn" in text and "3 classes have fewer than 10" in text
    assert "mirror image" in text


@pytest.mark.parametrize("num_classes", [2, 10, 500])
def test_a_drawn_matrix_has_a_square_for_every_cell(num_classes: int) -> None:
    evaluation = make_evaluation(named(num_classes), 1_000)
    drawn = shades(evaluation.confusion)
    assert sum(shade.path.count("M") for shade in drawn) == int((evaluation.confusion > 0).sum())
    assert all(0 < shade.strength <= 1 for shade in drawn)


def test_the_most_confused_pair_is_the_largest_cell_off_the_diagonal() -> None:
    evaluation = make_evaluation(PETS, 300, strength=1.0)
    mistakes = evaluation.confusion - np.diag(np.diag(evaluation.confusion))
    pairs = most_confused(evaluation)
    assert [pair.num for pair in pairs] == sorted((n for n in mistakes.flat if n), reverse=True)[:10]
    first = pairs[0]
    assert mistakes[first.true, first.predicted] == first.num == mistakes.max()
    assert first.share == first.num / evaluation.confusion[first.true].sum()


def test_all_answered_are_wrong_as_often_as_top1_says() -> None:
    for num in (1, 2, 50, 3_000):
        evaluation = make_evaluation(PETS, num)
        coverage, risk = risk_line(evaluation)
        assert coverage[-1] == 1 and risk[-1] == pytest.approx(1 - evaluation.top1)
        assert (np.diff(coverage) > 0).all() and len(coverage) <= 300


def charts() -> Sequence[Chart]:
    evaluation = make_evaluation(PETS, 300)
    sure = make_evaluation(PETS, 30, strength=60.0)
    assert evaluation.novelty is not None
    points = [epoch_record(e, 3 / (e + 1), 1e3 / (e + 1), 0.3, np.nan if e < 3 else 0.9) for e in range(120)]
    broken = [epoch_record(1, np.nan, np.inf, np.nan), epoch_record(2, 1, 1, 0.5), epoch_record(3, np.nan, 1, 0.5)]
    path = [epoch_record(n, 0.0, 0.0, 1.0, 1.0, penalty=4.0**-n) for n in range(1, 9)]
    return [
        *curve_charts(points, 100),
        *curve_charts(broken, 2),
        *curve_charts(broken[:1], 1),
        *curve_charts(path, 8),
        *(reliability_chart("as answered", each.calibration) for each in (evaluation, sure)),
        *(risk_chart(each) for each in (evaluation, sure)),
        novelty_chart(evaluation.novelty, 0.45),
        novelty_chart(np.zeros(4, np.float32), None),
    ]


@pytest.mark.parametrize("chart", charts(), ids=lambda chart: chart.title)
def test_a_chart_stays_inside_its_frame(chart: Chart) -> None:
    places = [tick.place for tick in (*chart.x_ticks, *chart.y_ticks)]
    places += [place for line in chart.lines for piece in line.pieces for point in piece for place in point]
    places += [place for line in chart.lines for dot in line.dots for place in (dot.x, dot.y)]
    for span in (*chart.bars, *chart.error_bars):
        places += [span.left, span.left + span.width, span.bottom, span.bottom + span.height]
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)
    assert chart.summary and 2 <= len(chart.y_ticks) <= 8 and len(chart.x_ticks) <= 8
    assert "nan" not in "".join(line.path for line in chart.lines)


def test_a_value_that_is_not_finite_leaves_a_gap() -> None:
    points = [epoch_record(e, np.nan if e == 3 else 1.0, 1.0, 0.5) for e in range(1, 6)]
    train, val = curve_charts(points, None)[0].lines
    assert [len(piece) for piece in train.pieces] == [2, 2] and [len(piece) for piece in val.pieces] == [5]


def test_gallery_images_are_large_and_stand_in_the_page_once() -> None:
    content = make_content(PETS, 60, side_px=400)
    text = report_page(content)
    sources = [src for src in Page(text).values("img", "src") if "base64" in src]
    with Image.open(io.BytesIO(base64.b64decode(sources[0].partition(",")[2]))) as image:
        assert image.size == (320, 320)
    shown = {photo[0] for photo in data_of(text)["images"] if photo[5] == ""}
    assert set(shown_positions(content.evaluation)) <= shown
