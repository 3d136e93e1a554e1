"""The studies of ``eval``: ``--learning-curve``, ``--label-audit`` and ``--robustness``, each run and shown."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_cli.cli import output
from resnet_cli.version import SCHEMA_VERSION

if TYPE_CHECKING:
    from torch import Tensor

    from resnet_cli.cli.progress import ProgressView
    from resnet_cli.data.dataset import Dataset, Item
    from resnet_cli.model.network import Model
    from resnet_cli.studies.label_audit import LabelAudit
    from resnet_cli.studies.learning_curve import LearningCurve
    from resnet_cli.studies.robustness import Robustness
    from resnet_cli.system.device import Compute


def run_learning_curve(
    model: Model,
    dataset: Dataset,
    compute: Compute,
    *,
    offline: bool = False,
    as_json: bool = False,
    quiet: bool = False,
) -> None:
    """Trains heads on parts of the train split, and prints what more images would bring.

    Args:
        model: Gives backbone and preprocessing.
        dataset: With splits, or to be split as ``finetune`` would.
        compute: Device and precision.
        offline: Never download the weights that the training started from.
        as_json: One JSON object instead of tables.
        quiet: Only the forecast for twice the images.

    Raises:
        DataError: Too few train images, or images that cannot be read.
    """
    from resnet_cli.cli.progress import ProgressView
    from resnet_cli.data.splits import complete_splits
    from resnet_cli.studies.learning_curve import learning_curve, part_sizes

    if not dataset.split("val") or not dataset.split("train"):
        # As finetune would: a tenth of each class chooses, and where there is no test split another one judges.
        dataset = complete_splits(dataset, val_fraction=0.1, seed=0)
    judge = "test" if dataset.split("test") else "val"
    train = dataset.split("train")
    part_sizes(len(train), len({item.label for item in train}))
    with ProgressView(quiet=quiet or as_json) as view:
        rows, note = _rows(model, train, compute, view, offline)
        val, _ = _rows(model, dataset.split("val"), compute, view, offline)
        curve = learning_curve(
            rows,
            val,
            val if judge == "val" else _rows(model, dataset.split("test"), compute, view, offline)[0],
            len(dataset.classes),
            groups=[item.group for item in train],
            device=compute.device,
            on_progress=_show_on(view),
        )
    if as_json:
        output.show_json(_head(model, dataset, note) | {"judged": judge, "learning_curve": curve_to_dict(curve)})
    elif quiet:
        from resnet_cli.cli.study_tables import points

        output.show_line(f"{curve.twice.name}: {points(curve.twice.gain)}")
    else:
        from resnet_cli.cli.study_tables import curve_blocks

        _note(note)
        output.show(*curve_blocks(curve, judge))


def run_label_audit(
    model: Model,
    dataset: Dataset,
    compute: Compute,
    *,
    split: str | None = None,
    out: Path | None = None,
    offline: bool = False,
    as_json: bool = False,
    quiet: bool = False,
) -> None:
    """Judges every label by heads trained without its image; writes a table to correct and a sheet to look at.

    Args:
        model: Gives backbone and preprocessing.
        dataset: Its own labels are judged, whatever the model's classes are.
        compute: Device and precision.
        split: ``train``, ``val``, ``test``; None or ``all``: all images.
        out: The table, ``.csv``; None: ``NAME-labels.csv`` in this folder. The sheet lies beside it, ``.html``.
        offline: Never download the weights that the training started from.
        as_json: One JSON object instead of tables.
        quiet: Only the written paths.

    Raises:
        ConfigError: ``out`` is no CSV, or a file of these names exists.
        DataError: Too few images to judge, or images that cannot be read.
    """
    from resnet_cli.cli.progress import ProgressView
    from resnet_cli.reporting.label_sheet import label_sheet
    from resnet_cli.studies.label_audit import audit_labels, audit_table
    from resnet_cli.system.paths import write_text

    table, sheet = audit_paths(dataset, out)
    items = [item for item in dataset.items if split in {None, "all", item.split}]
    others = [item for item in dataset.items if split not in {None, "all", item.split}]
    if not items:
        from resnet_cli.errors import DataError

        raise DataError(f"--split {split}: {dataset.name} has no such images", hint="or use --split all")
    with ProgressView(quiet=quiet or as_json) as view:
        (features, labels), note = _rows(model, items, compute, view, offline)
        audit = audit_labels(
            features,
            labels.numpy(),
            dataset.classes,
            groups=[item.group for item in items],
            device=compute.device,
            on_progress=_show_on(view),
        )
    write_text(table, audit_table(audit, items, others, table))
    has_files = all(isinstance(item.source, Path) for item in dataset.items)
    page = label_sheet(audit, items, name=dataset.name, table=table.name, note=note, has_files=has_files)
    write_text(sheet, page)
    written = [
        (str(sheet), "the labels to look at, with images"),
        (str(table), _next_step(table) if has_files else "the same as a table"),
    ]
    if as_json:
        shown = {"label_audit": audit_to_dict(audit, items), "written": [path for path, _ in written]}
        output.show_json(_head(model, dataset, note) | shown)
    elif quiet:
        for path, _ in written:
            output.show_line(path)
    else:
        from resnet_cli.cli.study_tables import audit_blocks
        from resnet_cli.cli.tables import files_block

        _note(note)
        output.show(*audit_blocks(audit, items), files_block("Written", written, width=output.stdout().width))


def run_robustness(
    model: Model,
    items: Sequence[Item],
    compute: Compute,
    *,
    name: str,
    max_images: int | None = None,
    as_json: bool = False,
    quiet: bool = False,
) -> None:
    """Answers damaged images, and prints how many answers survive.

    Args:
        model: As it is.
        items: Labels index the model's classes.
        compute: Device and precision.
        name: Of the data set.
        max_images: Of more images, so many are drawn; None: 500.
        as_json: One JSON object instead of tables.
        quiet: Only the mean top-1 over all kinds and strengths.

    Raises:
        DataError: Images that cannot be read.
    """
    from resnet_cli.cli.progress import ProgressView
    from resnet_cli.studies.robustness import MAX_IMAGES, robustness
    from resnet_cli.text import percent

    with ProgressView(quiet=quiet or as_json) as view:
        found = robustness(model, items, compute, max_images=max_images or MAX_IMAGES, on_progress=_show_on(view))
    if as_json:
        head = {"schema_version": SCHEMA_VERSION, "model": str(model.path), "data": name}
        output.show_json(head | {"robustness": robustness_to_dict(found)})
    elif quiet:
        output.show_line(percent(found.mean_top1))
    else:
        from resnet_cli.cli.study_tables import robustness_blocks

        output.show(*robustness_blocks(found))


def audit_paths(dataset: Dataset, out: Path | None) -> tuple[Path, Path]:
    """Where the table and the sheet go; what would refuse them is known before any image is looked at.

    Raises:
        ConfigError: ``out`` is no CSV, or a file of these names exists.
    """
    from resnet_cli.errors import ConfigError
    from resnet_cli.system.paths import refuse_existing

    table = out or Path(f"{dataset.name}-labels.csv")
    if table.suffix.lower() != ".csv":
        raise ConfigError(f"--out {table}: the table's name must end in .csv", hint=f"--out {table}.csv")
    sheet = table.with_suffix(".html")
    for path in (table, sheet):
        refuse_existing(path)
    return table, sheet


def _rows(
    model: Model, items: Sequence[Item], compute: Compute, view: ProgressView, offline: bool
) -> tuple[tuple[Tensor, Tensor], str]:
    """Features and labels for a study of the data, and a note on the backbone; from the cache where they are known."""
    import torch

    from resnet_cli.model.features import extract_features
    from resnet_cli.studies.clean_backbone import untrained_backbone
    from resnet_cli.system.events import WorkDone

    backbone = untrained_backbone(
        model, offline=offline, on_download=lambda done, total: view(WorkDone("download", done, total))
    )
    features = extract_features(
        backbone.network,
        items,
        model.preprocess,
        compute,
        on_progress=lambda done, total: view(WorkDone("features", done, total)),
        on_check=lambda done, total: view(WorkDone("check", done, total)),
    )
    labels = torch.tensor([item.label for item in items], dtype=torch.int64)
    return (features, labels), backbone.note


def curve_to_dict(curve: LearningCurve) -> dict[str, Any]:
    """As plain JSON values."""
    return {
        "num_train": curve.num_train,
        "num_judged": curve.num_judged,
        "steps": [
            {
                "num_images": step.num_images,
                "top1": 1 - step.error.value,
                "top1_least": 1 - step.error.high,
                "top1_most": 1 - step.error.low,
                "l2": step.l2,
                "num_draws": step.num_draws,
            }
            for step in curve.steps
        ],
        "law": curve.law._asdict(),
        "forecasts": [
            {
                "name": found.name,
                "num_images": found.num_images,
                "top1": found.top1._asdict(),
                "gain": found.gain._asdict(),
                "is_guess": found.is_guess,
            }
            for found in curve.forecasts
        ],
    }


def audit_to_dict(audit: LabelAudit, items: Sequence[Item]) -> dict[str, Any]:
    """As plain JSON values; the likely wrong labels, the worst first."""
    return {
        "num_judged": len(audit.order),
        "num_unjudged": audit.num_unjudged,
        "num_wrong": audit.num_wrong._asdict(),
        "likely_wrong": [
            {
                "path": items[at].name,
                "split": items[at].split,
                "label": audit.classes[audit.labels[at]],
                "label_prob": round(float(audit.label_probs[at]), 6),
                "suggested": audit.classes[audit.suggested[at]],
                "suggested_prob": round(float(audit.suggested_probs[at]), 6),
            }
            for at in audit.likely()
        ],
    }


def robustness_to_dict(found: Robustness) -> dict[str, Any]:
    """As plain JSON values."""
    return {
        "num_images": found.num_images,
        "num_available": found.num_available,
        "top1": found.clean._asdict(),
        "mean_top1": found.mean_top1,
        "kinds": [
            {
                "name": kind.name,
                "unit": kind.unit,
                "mean_top1": kind.mean_top1,
                "strengths": [
                    {"strength": cell.strength, "top1": cell.top1._asdict(), "drop": cell.drop._asdict()}
                    for cell in kind.cells
                ],
            }
            for kind in found.kinds
        ],
    }


def _head(model: Model, dataset: Dataset, note: str) -> dict[str, Any]:
    backbone = note or "the model's own"
    return {"schema_version": SCHEMA_VERSION, "model": str(model.path), "data": dataset.name, "backbone": backbone}


def _note(backbone: str) -> None:
    if backbone:
        output.note(f"features: {backbone}")


def _next_step(table: Path) -> str:
    return f"correct the column label, then: resnet-cli finetune {shlex.quote(str(table))}"


def _show_on(view: ProgressView) -> Callable[[int, int], None]:
    from resnet_cli.system.events import WorkDone

    return lambda done, total: view(WorkDone("evaluate", done, total))
