"""The report of an evaluation: its content, and the folder that it is written to."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from resnet_cli.evaluation.coverage import Target
from resnet_cli.evaluation.evaluation_set import EvaluationSet
from resnet_cli.evaluation.scoring import Scores
from resnet_cli.evaluation.targets import AnyTarget
from resnet_cli.prediction import Predictor
from resnet_cli.predictor import TorchPredictor
from resnet_cli.reporting.provenance import Provenance
from resnet_cli.reporting.report_content import ReportContent
from resnet_cli.reporting.report_files import write_report_files
from resnet_cli.reporting.report_kinds import kind_of
from resnet_cli.runs import find_run_folder, is_run
from resnet_cli.system.paths import make_dir
from resnet_cli.task import TASKS
from resnet_cli.text import counted, percent_range, share_or_dash
from resnet_cli.version import __version__


def write_report(
    model: Predictor[Any],
    images: EvaluationSet,
    scores: Scores,
    *,
    out: Path | None,
    command: str,
    notes: Sequence[str],
    target: AnyTarget | None = None,
    seconds: float | None = None,
) -> Path | None:
    """Writes the report of an evaluation.

    Args:
        model: The model.
        images: The images that it was evaluated on.
        scores: The result.
        out: Folder to write to; None for :func:`report_folder`.
        command: The command line.
        notes: How far the metrics can be trusted, and what was left out.
        target: Threshold for the error target that was asked for, if any.
        seconds: How long the evaluation took.

    Returns:
        The page; None if there is no folder for it.

    Raises:
        DiskError: It cannot be written.
    """
    folder = out or report_folder(model, f"{images.dataset.name}-{images.split}")
    if folder is None:
        return None
    content = _content(model, images, scores, command=command, notes=notes, target=target)
    content = dataclasses.replace(content, provenance=provenance_of(model, images.dataset.spec, seconds))
    make_dir(folder)
    write_report_files(folder, content)
    return folder / "report.html"


def report_folder(model: Predictor[Any], name: str) -> Path | None:
    """The folder of this name for a report, in the model's run folder; None if there is none to write to."""
    run = None if model.path is None else model.path.parent
    return run / "eval" / name if run is not None and is_run(run) and os.access(run, os.W_OK) else None


def _content(
    model: Predictor[Any],
    images: EvaluationSet,
    scores: Scores,
    *,
    command: str,
    notes: Sequence[str],
    target: AnyTarget | None,
) -> ReportContent:
    items = images.items_for(model)
    heat = {}
    if isinstance(model, TorchPredictor):
        heat = kind_of(scores).heat_maps(model.model, items, scores, model.compute)
    kind = kind_of(scores)
    decisions = kind.decisions(model.reliability, scores)
    targets = {one.target_error: one for one in decisions.selections}
    if isinstance(target, Target):
        targets[target.target_error] = target
    return ReportContent(
        title=f"{images.dataset.name}, {_split_name(images.split)}",
        command=command,
        facts=_facts(model, images, scores),
        evaluation=scores,
        items=items,
        data=images.dataset.name,
        split=images.split,
        overlays=heat,
        selections=[targets[share] for share in sorted(targets, reverse=True)],
        thresholds=decisions.thresholds,
        threshold_note=decisions.threshold_note,
        precision_targets=decisions.precision_targets,
        most_novel=model.reliability.most_novel if model.reliability and scores.novelty is not None else None,
        warnings=notes,
        bit_depth=model.preprocess.bit_depth,
        preprocess=model.preprocess,
    )


def provenance_of(model: Predictor[Any], data: str, seconds: float | None) -> Provenance:
    """Where the results of a model come from.

    Args:
        model: The model.
        data: The data, as the user named it.
        seconds: How long the work took.
    """
    run = find_run_folder(model.path)
    return Provenance.now(
        run=run.name if run else "",
        model="" if run else str(model.path or model.name),
        data=data,
        seconds=seconds,
        device=str(model.compute.device) if isinstance(model, TorchPredictor) else "cpu",
    )


def _facts(model: Predictor[Any], images: EvaluationSet, scores: Scores) -> list[tuple[str, str, str]]:
    about = model.provenance
    data = about.get("data")
    trained = data if isinstance(data, dict) else {}
    device = model.compute.device if isinstance(model, TorchPredictor) else "cpu"
    facts = [
        ("model", str(model.path or model.name), str(about.get("created", ""))),
        ("evaluated on", f"{scores.num_images:,} images of {images.dataset.name}", _split_name(images.split)),
        *_scored_apart(scores),
        ("classes", f"{len(model.classes):,}", ""),
        ("trained on", str(trained.get("name", "")), str(trained.get("split", ""))),
        ("weights", str(about.get("weights", "")), str(about.get("weights_reading", ""))),
        (*kind_of(scores).calibration(scores), "fitted on validation" if model.reliability else ""),
        ("tta", scores.tta, "") if scores.tta != "none" else ("tta", "", ""),
        (
            "computed on",
            f"{device}, {model.precision}",
            f"torch {torch.__version__}, {platform.machine()}",
        ),
        ("resnet-cli", __version__, ""),
    ]
    return [fact for fact in facts if fact[1]]


def _scored_apart(scores: Scores) -> list[tuple[str, str, str]]:
    if scores.seen is None or scores.seen.scores is None:
        return []
    apart = scores.seen.scores
    name, score = TASKS[apart.task].score_name, apart.score
    shown = f"{name} {share_or_dash(apart.value)} ({percent_range(score.low, score.high)})"
    return [("scored separately", f"{counted(apart.num_images, 'image')}: {shown}", "seen in training")]


def _split_name(split: str) -> str:
    return {"all": "all images", "val": "validation split"}.get(split, f"{split} split")
