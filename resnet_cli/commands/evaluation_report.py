"""What the report page of an evaluation is made of, and where it goes."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch

from resnet_cli.evaluation.coverage import Target
from resnet_cli.evaluation.scores import Evaluation
from resnet_cli.evaluation.subjects import Jury, Subject
from resnet_cli.model.explain import overlays
from resnet_cli.reporting.error_targets import promises
from resnet_cli.reporting.report_page import ReportContent, shown_positions
from resnet_cli.system.device import Compute
from resnet_cli.system.events import Progress
from resnet_cli.version import __version__


def report_folder(subject: Subject, jury: Jury) -> Path | None:
    """Where the report of an evaluation belongs: in the model's run folder, if there is one that can be written."""
    if subject.path is None:
        return None
    run = subject.path.resolve().parent
    is_run = (run / "config.yaml").is_file() and (run / "split.csv").is_file()
    # As the user named it: what is printed can be read and typed.
    shown = subject.path.parent if not subject.path.is_symlink() else run
    return shown / "eval" / f"{jury.dataset.name}-{jury.split}" if is_run and os.access(run, os.W_OK) else None


def report_content(
    subject: Subject,
    jury: Jury,
    scores: Evaluation,
    compute: Compute,
    *,
    command: str,
    warnings: Sequence[str] = (),
    target: Target | None = None,
    on_progress: Progress | None = None,
) -> ReportContent:
    """All that the page of an evaluation shows.

    Args:
        subject: What was judged.
        jury: By which images.
        scores: With which result.
        compute: For the heat maps of the mistakes that are shown; exported files have none.
        command: What was typed.
        warnings: What readers should know first.
        target: What was asked for, if anything.
        on_progress: Called with (heat maps done, heat maps in all).
    """
    items = jury.items_for(subject)
    heat = {}
    if subject.model is not None:
        # Of the mistakes alone: each costs a forward pass.
        mistakes = [position for position in shown_positions(scores) if not scores.is_right[position]]
        heat = overlays(subject.model, items, mistakes, compute, on_progress=on_progress)
    targets = {one.target_error: one for one in promises(subject.reliability, scores)}
    if target is not None:
        targets[target.target_error] = target
    return ReportContent(
        title=f"{jury.dataset.name}, {_split_name(jury.split)}",
        command=command,
        facts=_facts(subject, jury, scores, compute),
        evaluation=scores,
        items=items,
        data=jury.dataset.name,
        split=jury.split,
        overlays=heat,
        selections=[targets[share] for share in sorted(targets, reverse=True)],
        most_novel=subject.reliability.most_novel if subject.reliability and scores.novelty is not None else None,
        warnings=warnings,
    )


def _facts(subject: Subject, jury: Jury, scores: Evaluation, compute: Compute) -> list[tuple[str, str, str]]:
    about = subject.provenance
    data = about.get("data")
    trained = data if isinstance(data, dict) else {}
    facts = [
        ("model", str(subject.path or subject.name), str(about.get("created", ""))),
        ("judged by", f"{scores.num_images:,} images of {jury.dataset.name}", _split_name(jury.split)),
        ("classes", f"{len(subject.classes):,}", ""),
        ("trained on", str(trained.get("name", "")), str(trained.get("split", ""))),
        ("weights", str(about.get("weights", "")), ""),
        ("temperature", f"{scores.temperature:.3g}", "fitted on validation" if subject.reliability else ""),
        ("tta", scores.tta, "") if scores.tta != "none" else ("tta", "", ""),
        (
            "computed on",
            f"{compute.device}, {subject.precision(compute)}",
            f"torch {torch.__version__}, {platform.machine()}",
        ),
        ("resnet-cli", __version__, ""),
    ]
    return [fact for fact in facts if fact[1]]


def _split_name(split: str) -> str:
    return {"all": "all images", "val": "validation split"}.get(split, f"{split} split")
