"""The studies of ``eval``: ``--learning-curve``, ``--label-audit`` and ``--robustness``."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from resnet_cli.commands.evaluate import OnEvalEvent, find_images, ignore, open_model
from resnet_cli.commands.study_reports import write_curve, write_robustness
from resnet_cli.commands.study_results import AuditResult, CurveResult, RobustnessResult, StudyResult
from resnet_cli.config.base import flag_name
from resnet_cli.config.eval import EvalConfig
from resnet_cli.data.dataset import Dataset, Item, targets_of
from resnet_cli.data.splits import complete_splits
from resnet_cli.engines.features import extract_features
from resnet_cli.errors import ConfigError, DataError
from resnet_cli.evaluation.evaluation_set import open_data
from resnet_cli.heads.logistic import Rows
from resnet_cli.model.model_file import Model
from resnet_cli.prediction import Predictor
from resnet_cli.predictor import TorchPredictor
from resnet_cli.reporting.label_sheet import label_sheet
from resnet_cli.reporting.provenance import Provenance
from resnet_cli.reporting.value_sheet import value_sheet
from resnet_cli.studies.clean_backbone import clean_backbone
from resnet_cli.studies.label_audit import audit_labels, audit_table
from resnet_cli.studies.learning_curve import learning_curve
from resnet_cli.studies.robustness import MAX_IMAGES, robustness
from resnet_cli.studies.subsets import num_used_classes, part_sizes
from resnet_cli.studies.value_audit import audit_values
from resnet_cli.studies.value_table import value_table
from resnet_cli.system.caches import require_temporary_folder
from resnet_cli.system.device import Compute
from resnet_cli.system.events import WorkDone
from resnet_cli.system.paths import check_writable, refuse_existing, write_text
from resnet_cli.task import TaskName


class _Audit(NamedTuple):
    """How the labels of one task are audited.

    Attributes:
        audit: The audit of features and targets.
        table: The table to correct.
        sheet: The page with the images.
        column: What to correct in the table.
    """

    audit: Callable[..., Any]
    table: Callable[..., str]
    sheet: Callable[..., str]
    column: str


_AUDITS: Mapping[TaskName, _Audit] = {
    "single-label": _Audit(audit_labels, audit_table, label_sheet, "the column label"),
    "multi-label": _Audit(audit_values, value_table, value_sheet, "the labels"),
}


def run_study(
    spec: str | Predictor[Any], data: str | None, config: EvalConfig, *, on_event: OnEvalEvent = ignore
) -> StudyResult:
    """Makes the study of one model and its data that ``config`` names.

    Args:
        spec: MODEL as a user types it, or an opened model.
        data: DATA as for ``finetune``; None for the images of the model's own run.
        config: Everything else.
        on_event: Called with progress and warnings.

    Raises:
        ConfigError: The model is an exported file, which has no backbone to compute features with.
        DataError: There are too few images, or images that cannot be read.
    """
    assert config.study is not None
    # torch wants one for its compiler, which its optimizers load.
    require_temporary_folder(config.out)
    if config.out is not None and config.study != "label_audit":
        check_writable(config.out / "page.html")
    predictor = open_model(spec, config, on_event)
    if not isinstance(predictor, TorchPredictor):
        flag = flag_name(EvalConfig, config.study)
        raise ConfigError(
            f"{predictor.name}: an exported file gives predictions and no features",
            hint=f"name the model that it was exported from: resnet-cli eval MODEL {flag}",
        )
    model, compute = predictor.model, predictor.compute
    began = time.perf_counter()
    if config.study == "robustness":
        images = find_images(predictor, data, config, on_event)
        name = f"{images.dataset.name}, {images.split}"
        items = images.items_for(model)
        found = study_robustness(model, items, compute, name=name, max_images=config.max_images, on_event=on_event)
        found = dataclasses.replace(found, seen=images.seen_by(predictor))
        if config.no_report:
            return found
        seconds = time.perf_counter() - began
        return write_robustness(found, predictor, data=images.dataset.spec, out=config.out, seconds=seconds)
    dataset = open_data(model, data, config, split="all", on_work=lambda *work: on_event(WorkDone(*work)))
    if config.study == "learning_curve":
        curve = study_learning_curve(model, dataset, compute, offline=config.offline, on_event=on_event)
        if config.no_report:
            return curve
        seconds = time.perf_counter() - began
        return write_curve(curve, predictor, data=dataset.spec, out=config.out, seconds=seconds)
    return study_labels(
        model,
        dataset,
        compute,
        split=config.split,
        out=config.out,
        suggest_unknown=config.suggest_unknown,
        offline=config.offline,
        on_event=on_event,
    )


def study_learning_curve(
    model: Model, dataset: Dataset, compute: Compute, *, offline: bool = False, on_event: OnEvalEvent = ignore
) -> CurveResult:
    """Trains heads on parts of the train split, and forecasts what more images would bring.

    Args:
        model: Its backbone and preprocessing are used.
        dataset: The data; without splits they are split as ``finetune`` would.
        compute: Device and precision.
        offline: Never download the weights that the training started from.
        on_event: Called with progress.

    Raises:
        DataError: There are too few train images, or images that cannot be read.
    """
    if not dataset.split("val") or not dataset.split("train"):
        # As finetune does: a tenth of each class for validation, and another for the test split if there is none.
        dataset = complete_splits(dataset, val_fraction=0.1, seed=0)
    split: Literal["test", "val"] = "test" if dataset.split("test") else "val"
    train = dataset.split("train")
    part_sizes(len(train), num_used_classes(targets_of(train, dataset.task, len(dataset.classes))))
    rows, note = _features(model, dataset, train, compute, offline=offline, on_event=on_event)
    val, _ = _features(model, dataset, dataset.split("val"), compute, offline=offline, on_event=on_event)
    test = val
    if split == "test":
        test, _ = _features(model, dataset, dataset.split("test"), compute, offline=offline, on_event=on_event)
    curve = learning_curve(
        rows,
        val,
        test,
        len(dataset.classes),
        task=dataset.task,
        groups=[item.group for item in train],
        device=compute.device,
        on_progress=lambda done, total: on_event(WorkDone("evaluate", done, total)),
    )
    return CurveResult(str(model.path), dataset.name, note, split, curve)


def study_labels(
    model: Model,
    dataset: Dataset,
    compute: Compute,
    *,
    split: str | None = None,
    out: Path | None = None,
    suggest_unknown: bool = False,
    offline: bool = False,
    on_event: OnEvalEvent = ignore,
) -> AuditResult:
    """Checks every label with heads trained without its image; writes a table to correct and a page with the images.

    Args:
        model: Its backbone and preprocessing are used.
        dataset: The data with their own labels, whatever the model's classes are.
        compute: Device and precision.
        split: ``train``, ``val`` or ``test``; None or ``all`` checks all images.
        out: The table, a ``.csv`` file; None for ``NAME-labels.csv`` in the current folder. The page has the same name
            with ``.html``.
        suggest_unknown: Whether unknown values get suggestions; only multi-label data have such values.
        offline: Never download the weights that the training started from.
        on_event: Called with progress.

    Raises:
        ConfigError: ``out`` is not a CSV file, or a file with one of these names exists.
        DataError: There are too few images to check, or images that cannot be read.
    """
    began = time.perf_counter()
    if suggest_unknown and not any(item.unknown for item in dataset.items):
        raise ConfigError(f"--suggest-unknown: all values of {dataset.name} are known", hint="remove it")
    table, sheet = _audit_paths(dataset, out)
    items = [item for item in dataset.items if split in {None, "all", item.split}]
    others = [item for item in dataset.items if split not in {None, "all", item.split}]
    if not items:
        raise DataError(f"--split {split}: {dataset.name} has no such images", hint="use --split all")
    (features, targets), note = _features(model, dataset, items, compute, offline=offline, on_event=on_event)
    kind = _AUDITS[dataset.task]
    audit = kind.audit(
        features,
        targets.numpy(),
        dataset.classes,
        groups=[item.group for item in items],
        device=compute.device,
        on_progress=lambda done, total: on_event(WorkDone("evaluate", done, total)),
        **({"suggest_unknown": True} if suggest_unknown else {}),
    )
    write_text(table, kind.table(audit, items, others, table))
    has_files = all(isinstance(item.source, Path) for item in dataset.items)
    page = kind.sheet(
        audit,
        items,
        name=dataset.name,
        table=table.name,
        note=note,
        has_files=has_files,
        bit_depth=model.preprocess.bit_depth,
        folder=sheet.parent,
        provenance=Provenance.now(
            model=str(model.path), data=dataset.spec, seconds=time.perf_counter() - began, device=str(compute.device)
        ),
    )
    write_text(sheet, page)
    next_step = "the same as a table"
    if has_files:
        flag = " --multi-label" if any(item.unknown for item in dataset.items) else ""
        next_step = f"correct {kind.column}, then: resnet-cli finetune {shlex.quote(str(table))}{flag}"
    return AuditResult(str(model.path), dataset.name, note, audit, tuple(items), table, sheet, next_step)


def study_robustness(
    model: Model,
    items: Sequence[Item],
    compute: Compute,
    *,
    name: str,
    max_images: int | None = None,
    on_event: OnEvalEvent = ignore,
) -> RobustnessResult:
    """Evaluates a model on corrupted images.

    Args:
        model: The model.
        items: The images; labels index the model's classes.
        compute: Device and precision.
        name: Name of the data set and of the split.
        max_images: Of more images this many are drawn; None for 500.
        on_event: Called with progress.

    Raises:
        DataError: Images cannot be read.
    """
    found = robustness(
        model,
        items,
        compute,
        max_images=max_images or MAX_IMAGES,
        on_progress=lambda done, total: on_event(WorkDone("evaluate", done, total)),
    )
    return RobustnessResult(str(model.path), name, found)


def _audit_paths(dataset: Dataset, out: Path | None) -> tuple[Path, Path]:
    """The table and the page; they are checked before any image is read."""
    table = out or Path(f"{dataset.name}-labels.csv")
    if table.suffix.lower() != ".csv":
        raise ConfigError(
            f"--out {table}: the table's name must end in .csv", hint=f"--out {shlex.quote(str(table))}.csv"
        )
    sheet = table.with_suffix(".html")
    for path in (table, sheet):
        refuse_existing(path)
    check_writable(table)
    return table, sheet


def _features(
    model: Model, dataset: Dataset, items: Sequence[Item], compute: Compute, *, offline: bool, on_event: OnEvalEvent
) -> tuple[Rows, str]:
    """Features and targets for a study of the data, and which backbone computed them."""
    backbone = clean_backbone(
        model, offline=offline, on_download=lambda done, total: on_event(WorkDone("download", done, total))
    )
    features = extract_features(
        backbone.network,
        items,
        model.preprocess,
        compute,
        on_progress=lambda done, total: on_event(WorkDone("features", done, total)),
        on_check=lambda done, total: on_event(WorkDone("check", done, total)),
    )
    targets = torch.from_numpy(targets_of(items, dataset.task, len(dataset.classes)))
    return (features, targets), backbone.note
