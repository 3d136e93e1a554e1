"""Writes the page and the plot of a study: into ``--out``, or into the folder of the model's run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from resnet_cli.commands.comparison_result import ComparisonResult
from resnet_cli.commands.evaluation_report import provenance_of, report_folder
from resnet_cli.commands.study_results import CurveResult, RobustnessResult
from resnet_cli.evaluation.evaluation_set import EvaluationSet
from resnet_cli.prediction import Predictor
from resnet_cli.reporting.provenance import Provenance
from resnet_cli.reporting.study_contents import comparison_content, curve_content, robustness_content
from resnet_cli.reporting.study_page import StudyContent, write_study
from resnet_cli.runs import find_run_folder
from resnet_cli.text import model_letters


def write_curve(
    result: CurveResult, model: Predictor[Any], *, data: str, out: Path | None, seconds: float
) -> CurveResult:
    """Writes the page and the plot of a learning curve.

    Args:
        result: The learning curve.
        model: The model.
        data: The data, as the user named it.
        out: The folder; None for one in the model's run. Without a run nothing is written.
        seconds: How long the study took.

    Returns:
        The result with the files.

    Raises:
        DiskError: They cannot be written.
    """
    content = curve_content(result.curve, data=result.data, split=result.split)
    provenance = provenance_of(model, data, seconds)
    folder = out or report_folder(model, f"{result.data}-learning-curve")
    return dataclasses.replace(result, files=_write(folder, "learning_curve", content, provenance))


def write_robustness(
    result: RobustnessResult, model: Predictor[Any], *, data: str, out: Path | None, seconds: float
) -> RobustnessResult:
    """Writes the page and the plot of a study of robustness; see :func:`write_curve`."""
    content = robustness_content(result.found, data=result.data)
    provenance = provenance_of(model, data, seconds)
    folder = out or report_folder(model, f"{result.data.replace(', ', '-')}-robustness")
    return dataclasses.replace(result, files=_write(folder, "robustness", content, provenance))


def write_comparison(
    result: ComparisonResult, first: Predictor[Any], images: EvaluationSet, *, out: Path | None, seconds: float
) -> ComparisonResult:
    """Writes the page and the plot of a comparison; see :func:`write_curve`. The run is that of the first model."""
    names = [_short_name(Path(name)) for name, _ in result.found]
    content = comparison_content(
        [(name, scores) for name, (_, scores) in zip(names, result.found, strict=True)],
        result.comparisons,
        data=f"{result.data}, {'all images' if result.split == 'all' else f'{result.split} split'}",
        letters=model_letters(len(names)),
    )
    provenance = dataclasses.replace(provenance_of(first, images.dataset.spec, seconds), run=", ".join(names), model="")
    folder = out or report_folder(first, f"{result.data}-{result.split}-comparison")
    return dataclasses.replace(result, files=_write(folder, "comparison", content, provenance))


def _write(folder: Path | None, name: str, content: StudyContent, provenance: Provenance) -> tuple[Path, ...]:
    return () if folder is None else write_study(folder, name, content, provenance)


def _short_name(path: Path) -> str:
    """The run of a model, or its file."""
    run = find_run_folder(path)
    return run.name if run else path.name
