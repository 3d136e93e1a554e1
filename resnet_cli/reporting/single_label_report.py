"""The report of a model that predicts one class per image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from resnet_cli.data.dataset import Item
from resnet_cli.engines.explain import overlays
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.model.model_file import Model
from resnet_cli.model.reliability import ValidationResults
from resnet_cli.reporting.caveats import notes_about
from resnet_cli.reporting.charts import Chart
from resnet_cli.reporting.confusion_page import cell_data, most_confused, shades
from resnet_cli.reporting.embedding_map import EmbeddingMap, embedding_map
from resnet_cli.reporting.error_targets import error_targets
from resnet_cli.reporting.gallery import most_unfamiliar, novelty_section, shown_images
from resnet_cli.reporting.gallery_selection import least_certain, of_cells, worst_mistakes
from resnet_cli.reporting.map_section import images_of_page, map_section, map_values, ranking_section
from resnet_cli.reporting.matrix_plots import Matrix, confusion_matrix, plot_matrix
from resnet_cli.reporting.metrics import class_metrics, metrics
from resnet_cli.reporting.plot_headings import heading
from resnet_cli.reporting.plots import draw_charts
from resnet_cli.reporting.report_content import ReportContent
from resnet_cli.reporting.report_kind import Decisions, PageParts, ReportKind, counts_csv, first_section, last_sections
from resnet_cli.reporting.sections import Headline, Section, fill, macro, optional_section, section
from resnet_cli.reporting.single_label_card import SingleLabelCard
from resnet_cli.reporting.thumbnails import Size
from resnet_cli.reporting.trust_charts import calibration_charts, risk_chart
from resnet_cli.system.device import Compute
from resnet_cli.system.paths import write_text
from resnet_cli.text import row_shares, split_word

#: Images of the matrix's cells; at most 3.3 MB.
CELL_SIZE, MAX_CELL_IMAGES = Size(96, 4_000), 600
#: Fewer images may be larger: number of images -> their size.
_FEW_CELLS = ((120, Size(224, 16_000)), (300, Size(128, 7_000)))
#: A matrix of more classes is drawn as shades instead of a table.
MAX_WRITTEN_CLASSES = 32
#: Metrics at the top, beside top-1.
TILES = {"balanced_accuracy", "macro_f1", "mcc", "loss", "brier", "ece"}


class SingleLabelReport(SingleLabelCard, ReportKind[Evaluation]):
    """A report with a confusion matrix, its images, and the error rate at each coverage."""

    scripts = ("page_top.js", "page_cells.js", "page_tables.js", "page_first_cell.js", "page_map.js", "page_end.js")
    fitted = " and the temperature"

    def heat_maps(
        self, model: Model, items: Sequence[Item], evaluation: Evaluation, compute: Compute
    ) -> dict[int, Image.Image]:
        """The heat maps of the misclassified images, by position; each is explained by its predicted class."""
        mistakes = [at for at in shown_positions(evaluation) if not evaluation.is_right[at]]
        return overlays(model, items, mistakes, compute)

    def page(self, content: ReportContent, evaluation: Evaluation) -> PageParts:
        """Metrics, confusion, map, classes, curves, galleries, reliability and novelty."""
        worst = worst_mistakes(evaluation)
        unsure = least_certain(evaluation, worst)
        unknown = most_unfamiliar(evaluation, [*worst, *unsure])
        shown = [*worst, *unsure, *unknown]
        in_cells = [at for at in of_cells(evaluation, MAX_CELL_IMAGES) if at not in shown]
        cell_size = next((size for most, size in _FEW_CELLS if len(in_cells) <= most), CELL_SIZE)
        found = embedding_map(evaluation.features)
        images = images_of_page(content, shown, found, cells=in_cells, cell_size=cell_size)
        cards = [shown_images(evaluation, images, positions) for positions in (worst, unsure, unknown)]
        all_metrics = metrics(evaluation)
        values = {
            "content": content,
            "split": split_word(content.split),
            "evaluation": evaluation,
            "classes": evaluation.classes,
            "num_classes": len(evaluation.classes),
            "n": evaluation.num_images,
            "num_right": int(evaluation.is_right.sum()),
            "worst": cards[0],
            "unsure": cards[1],
            "unknown": cards[2],
        }
        notes = [*content.warnings, *notes_about(evaluation)]
        others = metrics(content.other) if isinstance(content.other, Evaluation) else []
        return PageParts(
            Headline(
                "Report of an image classifier",
                fill("lead", **values),
                "top-1 accuracy",
                evaluation.top1_interval,
                "confusion",
            ),
            all_metrics,
            [metric for metric in all_metrics if metric.key in TILES],
            [
                first_section(content, all_metrics, others, notes, num_images=evaluation.num_images),
                *_results(content, evaluation, values, found),
                *last_sections(content, "top-1", "image"),
            ],
            cell_data(evaluation, shown, in_cells, [images.cell(at) for at in in_cells], link=images.link)
            | map_values(evaluation, found, images),
        )

    def write_files(self, folder: Path, content: ReportContent, evaluation: Evaluation) -> None:
        """Writes ``confusion.csv``, and the plots of confusion, calibration, coverage and some predictions."""
        plots = folder / "plots"
        write_text(folder / "confusion.csv", counts_csv(evaluation.confusion, evaluation.classes))
        plot_matrix(self.matrix(evaluation), plots / "confusion.png", heading(content, "Confusion matrix"))
        charts = calibration_charts(evaluation)
        draw_charts(charts, plots / "reliability.png", heading(content, "Calibration of the probabilities"))
        risk = risk_chart(evaluation)._replace(title="")
        draw_charts([risk], plots / "risk_coverage.png", heading(content, "Error rate against coverage"))

    def matrix(self, evaluation: Evaluation) -> Matrix:
        """The confusion matrix."""
        return confusion_matrix(evaluation.confusion, evaluation.classes)

    def slide_charts(self, evaluation: Evaluation) -> list[Chart]:
        """The calibration, and the error rate at each coverage."""
        return [calibration_charts(evaluation)[-1], risk_chart(evaluation)]

    def decisions(self, reliability: ValidationResults | None, evaluation: Evaluation) -> Decisions:
        """Thresholds of the confidence."""
        return Decisions(error_targets(reliability, evaluation))

    def calibration(self, evaluation: Evaluation) -> tuple[str, str]:
        """The temperature."""
        return "temperature", f"{evaluation.temperature:.3g}"

    def captions(self, evaluation: Evaluation, position: int) -> tuple[str, str, float | None]:
        """The true and the predicted class, and the probability of the latter."""
        classes = evaluation.classes
        true, predicted = classes[evaluation.labels[position]], classes[evaluation.predicted[position]]
        return true, predicted, float(evaluation.confidence[position])


def shown_positions(evaluation: Evaluation) -> list[int]:
    """Positions of the images in galleries, the worst mistakes first; heat maps are made for the mistakes."""
    worst = worst_mistakes(evaluation)
    return worst + least_certain(evaluation, worst)


def _results(
    content: ReportContent, evaluation: Evaluation, values: dict[str, Any], found: EmbeddingMap | None
) -> list[Section]:
    is_written = len(evaluation.classes) <= MAX_WRITTEN_CLASSES
    confusion = {
        "shares": row_shares(evaluation.confusion, evaluation.classes) if is_written else None,
        "shades": None if is_written else shades(evaluation.confusion),
        "confused": most_confused(evaluation),
    }
    trust = {"calibration": calibration_charts(evaluation), "risk": risk_chart(evaluation)}
    return [
        section("confusion", "Confusion", values | confusion),
        map_section(evaluation, found, values),
        section("classes", "Classes", values | {"rows": class_metrics(evaluation)}),
        ranking_section(evaluation, values),
        optional_section("groups", "Groups", evaluation.slices, values),
        optional_section("worst", "Worst mistakes", values["worst"], values),
        optional_section("unsure", "Least certain", values["unsure"], values),
        section("trust", "Reliability", values | trust),
        novelty_section(
            content,
            evaluation,
            macro("parts.html.j2", "cards", values["unknown"]),
            wrong="Wrong",
            about=Markup("All of these images are of the model's classes."),
        ),
    ]
