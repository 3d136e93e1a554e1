from __future__ import annotations

import csv
import dataclasses
import io
import re
from pathlib import Path

import pytest
import yaml
from PIL import Image
from support.synthetic_reports import make_content, make_evaluation

from resnet_cli.data.dataset import Item
from resnet_cli.errors import DiskError
from resnet_cli.evaluation.calibration import calibration
from resnet_cli.reporting.figures import Plot
from resnet_cli.reporting.metrics import metrics
from resnet_cli.reporting.model_card import model_card
from resnet_cli.reporting.plots import draw_charts
from resnet_cli.reporting.report_files import write_report_files
from resnet_cli.reporting.report_kind import counts_csv
from resnet_cli.reporting.trust_charts import calibration_charts, reliability_chart, risk_chart

PETS = ("cat", "dog", "rabbit")
PLOTS = ("confusion", "curves", "predictions", "reliability", "results", "risk_coverage", "roc_precision_recall")


def front_matter(card: str) -> dict[str, object]:
    _, head, _ = card.split("---\n", 2)
    parsed: dict[str, object] = yaml.safe_load(head)
    return parsed


def table_rows(card: str) -> list[list[str]]:
    """Cells of every row of every table, as Markdown splits them."""
    lines = [line for line in card.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_a_folder_holds_the_page_the_card_the_counts_and_every_plot(tmp_path: Path) -> None:
    write_report_files(tmp_path, make_content(PETS, 60))
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"report.html", "model_card.md", "confusion.csv", *(f"plots/{name}.png" for name in PLOTS)}
    for name in PLOTS:
        with Image.open(tmp_path / f"plots/{name}.png") as image:
            image.load()
            assert image.format == "PNG" and min(image.size) > 300


def test_an_eval_has_no_curves_and_images_that_are_gone_are_no_trouble(tmp_path: Path) -> None:
    content = make_content(PETS, 30)
    items = [Item(item.name, tmp_path / "gone.jpg", (item.label,)) for item in content.items]
    write_report_files(tmp_path, dataclasses.replace(content, items=items, history=()))
    assert {path.stem for path in (tmp_path / "plots").iterdir()} == {
        "confusion",
        "reliability",
        "results",
        "risk_coverage",
        "roc_precision_recall",
    }
    assert (tmp_path / "report.html").exists()


def test_the_same_report_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_report_files(tmp_path / name, make_content(PETS, 30))
    for path in (tmp_path / "one").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_a_full_disk_leaves_the_report_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "report.html").write_text("before")

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskError, match="No space left"):
        write_report_files(tmp_path, make_content(PETS, 30))
    assert (tmp_path / "report.html").read_text() == "before"
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_counts_come_back_from_their_file() -> None:
    evaluation = make_evaluation(("a,b", 'c"d', "e\nf"), 90, strength=1.0)
    head, *rows = csv.reader(io.StringIO(counts_csv(evaluation.confusion, evaluation.classes)))
    assert tuple(head[1:]) == tuple(row[0] for row in rows) == evaluation.classes
    assert [[int(count) for count in row[1:]] for row in rows] == evaluation.confusion.tolist()


def test_the_reliability_plot_has_a_diagram_before_and_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[Plot] = []
    monkeypatch.setattr(Plot, "save", lambda self, _: saved.append(self))
    evaluation = make_evaluation(PETS, 200)
    draw_charts(calibration_charts(evaluation), tmp_path / "a.png")
    draw_charts(calibration_charts(dataclasses.replace(evaluation, temperature=1.0)), tmp_path / "b.png")
    assert [len(plot.figure.axes) for plot in saved] == [2, 1]
    assert f"ECE {100 * evaluation.ece:.1f} %" in saved[1].figure.axes[0].texts[0].get_text()


def test_plots_of_a_single_answer_are_drawn(tmp_path: Path) -> None:
    evaluation = make_evaluation(PETS, 1)
    draw_charts([reliability_chart("one", calibration(evaluation.probs, evaluation.labels))], tmp_path / "a.png")
    draw_charts([risk_chart(evaluation)], tmp_path / "b.png")
    assert len(list(tmp_path.iterdir())) == 2


def test_the_hub_reads_the_card() -> None:
    hub = pytest.importorskip("huggingface_hub", reason="the hub extra is not installed")
    content = make_content(PETS, 120)
    card = hub.ModelCard(model_card(content), ignore_metadata_errors=False)
    assert card.data.pipeline_tag == "image-classification" and card.data.license == "other"
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert found == {
        "accuracy": round(content.evaluation.top1, 4),
        "f1": round(content.evaluation.macro.f1, 4),
    }


def test_the_card_tells_use_data_figures_limits_and_what_is_to_be_filled_in() -> None:
    content = make_content(PETS, 120)
    card = model_card(content)
    for title in ("Intended use", "Data and training", "Evaluation", "Limitations", "How to use", "Licenses"):
        assert f"\n## {title}\n" in card
    rows = table_rows(card)
    for metric in metrics(content.evaluation):
        assert [metric.name, metric.text] == next(row[:2] for row in rows if row[0] == metric.name)
    assert "Most often it mistakes" in card and "temperature" in card and "images unlike its training images" in card
    assert "the test split was held out" in card and card.count("ill in") >= 5


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "a|b",
        "[link](https://example.com)",
        "`code`",
        "*x*_y_",
        "line\nbreak",
        "\udcff",
        "---",
    ],
)
def test_names_of_strangers_are_text_in_the_card(name: str) -> None:
    classes = [f"{name}{n}" for n in range(3)]
    content = make_content(classes, 60, side_px=8, data=name, facts=[(name, name, name)], warnings=[name])
    card = model_card(content)
    card.encode("utf-8")
    front = front_matter(card)
    assert front["license"] == "other" and front["pipeline_tag"] == "image-classification"
    body = card.split("---\n", 2)[2]
    assert "<script" not in body.replace("\\<script", "") and not re.search(r"(?<!\\)\]\(", body)
    assert {len(row) for row in table_rows(body)} == {2, 3, 4, 5}
    assert sum(row[0].startswith("---") for row in table_rows(body)) == 4 + 4 * (name == "---")


def test_the_card_says_each_finding_once() -> None:
    card = model_card(make_content(PETS, 60, warnings=["one leak: remove it"]))
    assert card.count("one leak") == card.count("something was noticed") == 1


def test_the_card_names_no_place_on_the_machine() -> None:
    places = ("/home/me/photos", "~/photos", "C:\\photos", "\\\\server\\photos")
    facts = [("data", place, "") for place in places] + [("weights", "imagenet-v1", "")]
    card = model_card(make_content(PETS, 60, facts=facts, command="resnet-cli finetune /home/me/photos"))
    assert "photos" not in card and "imagenet-v1" in card


def test_the_card_of_a_thousand_classes_is_bounded() -> None:
    card = model_card(make_content(tuple(f"class {n}" for n in range(1_000)), 2_000))
    assert len(card) < 50_000 and "960 more" in card and "The first 200 of 1,000 classes" in card
