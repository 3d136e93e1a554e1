"""The metrics of a multi-label evaluation as people read them, and sentences on how far they can be trusted."""

from __future__ import annotations

from resnet_cli.evaluation.label_scores import LabelEvaluation
from resnet_cli.reporting.caveats import FEW_IMAGES, NEW_IMAGES, TTA, imprecision
from resnet_cli.reporting.metrics import Metric, described
from resnet_cli.text import counted, first_of, percent

#: Metric -> name, whether it is a share (shown as %), meaning.
_METRICS: dict[str, tuple[str, bool, str]] = {
    "map": ("Macro mAP", True, "average precision (area under the precision-recall curve), averaged over the classes"),
    "weighted_map": ("Weighted mAP", True, "the same, weighted by the positives of each class"),
    "micro_map": ("Micro mAP", True, "average precision of all labels of all images together"),
    "macro_f1": (
        "Macro F1",
        True,
        "harmonic mean of precision and recall at the thresholds, averaged over the classes",
    ),
    "micro_f1": ("Micro F1", True, "F1 of all labels of all images together"),
    "macro_precision": (
        "Macro precision",
        True,
        "share of correct labels among the predicted ones, averaged over the classes",
    ),
    "macro_recall": ("Macro recall", True, "share of the true labels that are predicted, averaged over the classes"),
    "exact_match": ("Exact match", True, "images whose labels are all predicted correctly"),
    "hamming_loss": ("Hamming loss", True, "share of wrong decisions among all images and classes; lower is better"),
    "roc_auc": (
        "ROC-AUC",
        False,
        "images with a label ranked above those without it, averaged over the classes; 0.5 is chance",
    ),
    "ranking_average_precision": (
        "Label ranking AP",
        True,
        "how well the labels of each image are ranked above the other classes",
    ),
    "coverage_error": (
        "Coverage error",
        False,
        "how many of the most probable classes include all labels of an image; lower is better",
    ),
    "ranking_loss": (
        "Ranking loss",
        False,
        "share of pairs of a label and another class in the wrong order; lower is better",
    ),
    "one_error": ("One-error", True, "images whose most probable class is not one of their labels; lower is better"),
    "loss": ("Loss", False, "mean binary cross-entropy in nats; lower is better"),
    "brier": ("Brier score", False, "squared error of the probabilities; lower is better"),
    "ece": ("Calibration error (ECE)", True, "mean difference between the probability and the share of labels"),
}
#: Metrics at the top, beside mAP.
TILES = {"macro_f1", "micro_f1", "exact_match", "hamming_loss", "roc_auc", "ece"}


def label_metrics(evaluation: LabelEvaluation) -> list[Metric]:
    """All metrics of a model, the most important first; those that have no value are omitted."""
    values = {key: _value(evaluation, key) for key in _METRICS}
    return described(_METRICS, values, evaluation.intervals, chance_ece=evaluation.calibration.chance_ece)


def _value(evaluation: LabelEvaluation, key: str) -> float | None:
    average, _, part = key.partition("_")
    if average in {"macro", "micro"} and part != "map":
        value: float = getattr(getattr(evaluation, average), part)
        return value
    return evaluation.figures[key]


def label_notes(evaluation: LabelEvaluation) -> list[str]:
    """Sentences for readers: few positives, unknown values, and what the intervals hold for."""
    name, main = evaluation.main
    notes = [*imprecision(main, evaluation.num_scored, name)] if evaluation.map is not None else []
    positives = [row.support for row in evaluation.per_class]
    absent = [name for name, num in zip(evaluation.classes, positives, strict=True) if not num]
    if absent:
        notes.append(f"Nothing is known about {first_of(absent, 5)}: no evaluated image is known to have these labels.")
    full = [row for row in evaluation.per_class if row.support and not row.negatives]
    if full:
        which = "One class has" if len(full) == 1 else f"{len(full):,} classes have"
        notes.append(f"{which} no negatives among the evaluated images, and so no average precision.")
    num_few = sum(0 < num < FEW_IMAGES for num in positives)
    if num_few:
        which = "One class has" if num_few == 1 else f"{num_few:,} classes have"
        notes.append(f"{which} fewer than {FEW_IMAGES} positives: the metrics of such a class say little.")
    if evaluation.num_unknown:
        share = percent(evaluation.num_unknown / evaluation.targets.size)
        notes.append(
            f"{counted(evaluation.num_unknown, 'value')} ({share} of all images and classes) are unknown and "
            "count in no metric."
        )
    num_unscored = evaluation.num_images - evaluation.num_scored
    if num_unscored:
        notes.append(f"{counted(num_unscored, 'image')} without any known value count in no metric.")
    if evaluation.tta != "none":
        notes.append(TTA)
    return [*notes, NEW_IMAGES]
