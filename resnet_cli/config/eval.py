"""The options of ``eval``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from resnet_cli.config.base import Flag, Rule
from resnet_cli.config.data import ComputeConfig, DataConfig, Trust
from resnet_cli.config.showing import OpenReport, Show
from resnet_cli.config.units import Positive, Share, TargetError

#: A study that is made instead of an evaluation.
Study: TypeAlias = Literal["learning_curve", "label_audit", "robustness"]
STUDIES: tuple[Study, ...] = ("learning_curve", "label_audit", "robustness")
METRICS, FILES, INSTEAD = "Metrics", "Files", "Studies, instead of an evaluation"
#: Flags of an evaluation; a study takes few of them.
TARGETS = ("target_error", "target_precision", "target_recall")
_OF_EVALUATION = (*("tta", "slice", *TARGETS, "threshold", "fail_under", "save_predictions", "from_predictions"),)
#: Flags that need images.
_OF_IMAGES = (
    "split",
    "seen",
    "tta",
    *TARGETS,
    "save_predictions",
    "out",
    "no_report",
    "open_report",
    "show",
    "max_images",
    *STUDIES,
    "trust",
)
#: Flags about one model.
ABOUT_ONE_MODEL = ("slice", *TARGETS, "save_predictions", *STUDIES)
#: Flags about DATA, which the images of the model's own run are not.
ABOUT_DATA = tuple(name for name in DataConfig.model_fields if name not in {"classes", "offline", "on_bad_image"})
_REMOVE = "remove it"


class EvalConfig(ComputeConfig, DataConfig):
    """The options of ``eval``, besides the models and the data; field names are the flags' names."""

    split: Annotated[
        Literal["train", "val", "test", "all"] | None,
        Flag("Which split to evaluate on.", default="test, else val, else all"),
    ] = None
    seen: Annotated[
        Literal["skip", "separate", "include"] | None,
        Flag(
            "What to do with images that the model was trained on or that chose its checkpoint: skip them, score them "
            "separately, or include them.",
            default="skip, unless --split asks for them",
        ),
    ] = None
    tta: Annotated[
        Literal["none", "flip"],
        Flag("Test-time augmentation. flip averages the predictions for an image and its mirror image."),
    ] = "none"
    slice: Annotated[
        str | None,
        Field(min_length=1),
        Flag(
            "Also score each group of images. The group is a table column, 'parent' (the folder), or an expression "
            "that is matched against the names: 'camera([0-9]+)'.",
            METRICS,
            metavar="GROUP",
        ),
    ] = None
    target_error: Annotated[
        TargetError | None,
        Flag(
            "Find the confidence threshold above which at most this share of predictions is wrong, such as 1%. The "
            "validation split gives the threshold; the evaluated images check it.",
            METRICS,
        ),
    ] = None
    target_precision: Annotated[
        TargetError | None,
        Flag(
            "Multi-label: find the threshold of each class at which at least this share of its predictions is "
            "correct, such as 90%. The validation split gives the thresholds; the evaluated images check them.",
            METRICS,
        ),
    ] = None
    target_recall: Annotated[
        TargetError | None,
        Flag(
            "Multi-label: find the threshold of each class at which at least this share of the images that have it is "
            "found, such as 90%.",
            METRICS,
        ),
    ] = None
    threshold: Annotated[
        Share | None,
        Flag(
            "Multi-label: score with this threshold for all classes, such as 50%, instead of the fitted ones.",
            METRICS,
        ),
    ] = None
    fail_under: Annotated[
        Share | None,
        Flag("Exit with code 10 if top-1 is below this: 95%. Multi-label: mAP.", METRICS),
    ] = None
    save_predictions: Annotated[
        Path | None, Flag("Write a table of all predictions. Its extension is .csv, .tsv, .jsonl or .parquet.", FILES)
    ] = None
    from_predictions: Annotated[Path | None, Flag("Score such a file, without the model and the images.", FILES)] = None
    out: Annotated[
        Path | None,
        Flag("Folder of the report. With --label-audit: the table to write.", FILES, "eval/ in the run folder"),
    ] = None
    no_report: Annotated[bool, Flag("Do not write a report.", FILES)] = False
    open_report: OpenReport = False
    show: Show = False
    learning_curve: Annotated[bool, Flag("Forecast what more images per class would bring.", INSTEAD)] = False
    label_audit: Annotated[
        bool, Flag("Rank the labels that are likely wrong. Writes a table for correcting them.", INSTEAD)
    ] = False
    suggest_unknown: Annotated[
        bool, Flag("With --label-audit: also suggest answers for unknown values (multi-label data).", INSTEAD)
    ] = False
    robustness: Annotated[
        bool, Flag("Measure accuracy on corrupted images. Among the corruptions are blur, noise and rotation.", INSTEAD)
    ] = False
    max_images: Annotated[
        Positive | None, Flag("With --robustness: draw at most this many images.", INSTEAD, "500")
    ] = None
    trust: Trust = False

    rules = (
        Rule(("label_audit", "robustness"), lambda c: not c.learning_curve, "and --learning-curve: choose one"),
        Rule(("robustness",), lambda c: not c.label_audit, "and --label-audit: choose one"),
        Rule(
            (*ComputeConfig.model_fields, *DataConfig.model_fields, *_OF_IMAGES),
            lambda c: c.from_predictions is None,
            "has no effect with --from-predictions",
            _REMOVE,
            strict=True,
        ),
        Rule(
            (*_OF_EVALUATION, "split", "seen"),
            lambda c: not c.learning_curve,
            "has no effect with --learning-curve",
            _REMOVE,
            strict=True,
        ),
        Rule(
            (*_OF_EVALUATION, "seen", "no_report"),
            lambda c: not c.label_audit,
            "has no effect with --label-audit",
            _REMOVE,
            strict=True,
        ),
        Rule(
            ("seen",), lambda c: not (c.robustness and c.seen == "separate"), "has no effect with --robustness", _REMOVE
        ),
        Rule(
            _OF_EVALUATION,
            lambda c: not c.robustness,
            "has no effect with --robustness",
            _REMOVE,
            strict=True,
        ),
        Rule(("max_images",), lambda c: c.robustness, "has no effect without --robustness", _REMOVE),
        Rule(("suggest_unknown",), lambda c: c.label_audit, "has no effect without --label-audit", _REMOVE),
        Rule(("out", "open_report", "show"), lambda c: not c.no_report, "has no effect with --no-report: choose one"),
        Rule(("target_precision", "target_recall"), lambda c: c.target_error is None, "and --target-error: choose one"),
        Rule(("target_recall",), lambda c: c.target_precision is None, "and --target-precision: choose one"),
        Rule(
            TARGETS,
            lambda c: c.tta == "none",
            "is for single predictions, not for the mean that --tta flip takes",
            "remove one of the two",
        ),
    )

    @property
    def targets(self) -> dict[str, float]:
        """The targets that were asked for, by their names; at most one."""
        return {name: value for name in TARGETS if (value := getattr(self, name)) is not None}

    @property
    def study(self) -> Study | None:
        """The study that is made instead of an evaluation, if any."""
        return next((name for name in STUDIES if getattr(self, name)), None)
