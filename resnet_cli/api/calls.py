"""The functions behind the commands, except for predictions.

Keyword arguments that are not listed are the flags of the command, with underscores: ``label_column="species"``.
With ``progress=True``, progress is shown in the terminal or notebook.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from resnet_cli.api.models import AnyModel, source_of
from resnet_cli.api.progress import shown_events
from resnet_cli.commands import download as downloading
from resnet_cli.commands import evaluate as evaluating
from resnet_cli.commands import inspect as inspecting
from resnet_cli.commands import studies
from resnet_cli.commands.comparison_result import ComparisonResult
from resnet_cli.commands.download import Downloaded
from resnet_cli.commands.export import ExportResult
from resnet_cli.commands.export import export as export_file
from resnet_cli.commands.inspect import InspectResult
from resnet_cli.commands.study_results import StudyResult
from resnet_cli.config.base import resolve
from resnet_cli.config.eval import EvalConfig
from resnet_cli.config.export import ExportConfig
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.config.inspect import InspectConfig
from resnet_cli.errors import ConfigError
from resnet_cli.evaluation.scoring import Scores
from resnet_cli.exporting.parity_result import Parity
from resnet_cli.loggers.listener import Logged, require
from resnet_cli.model.model_file import Model
from resnet_cli.prediction import Predictor
from resnet_cli.predictor import TorchPredictor
from resnet_cli.system.device import choose_compute
from resnet_cli.system.events import OnWork, Work, WorkDone
from resnet_cli.system.paths import LATEST
from resnet_cli.training.carry_out import run_plan
from resnet_cli.training.events import PlanMade
from resnet_cli.training.plan import make_plan
from resnet_cli.training.report import FinetuneResult

STUDIES = frozenset({"learning_curve", "label_audit", "robustness"})


def finetune(
    data: str | PathLike[str] | None = None,
    *,
    progress: bool | None = None,
    on_event: Callable[[Any], None] | None = None,
    config_file: Path | None = None,
    **values: Any,
) -> FinetuneResult:
    """Fine-tunes a ResNet-50 and writes a run folder.

    Args:
        data: DATA as on the command line: a folder, a table, an archive, a URL or a name.
        progress: Whether to show progress in the terminal or notebook; None: in a notebook only.
        on_event: Called with every event of ``resnet_cli.training.events``.
        config_file: A YAML file; ``values`` take precedence over it.
        **values: Fields of :class:`~resnet_cli.config.finetune.FinetuneConfig`, such as ``epochs=5``.

    Raises:
        ResnetCliError: See ``resnet_cli.errors``; nothing half-written is left.
    """
    for name in ("seeds", "devices"):
        if values.get(name) not in (None, 1):
            raise ConfigError(f"{name}={values[name]} works only on the command line", hint="call it once per seed")
    if data is not None:
        values["data"] = str(data)
    if "weights" in values:
        values["weights"] = str(_path(values["weights"]))
    resolved = resolve(FinetuneConfig, values, config_file)
    require(resolved.config.trackers)
    with shown_events(progress) as show:

        def tell(event: Any) -> None:
            show(event)
            if on_event:
                on_event(event)

        plan = make_plan(resolved, on_work=lambda *work: tell(WorkDone(*work)))
        tell(PlanMade(plan))
        with Logged(plan.config.trackers, tell) as logged:
            return run_plan(plan, on_event=logged)


def evaluate(
    model: AnyModel = LATEST, data: str | PathLike[str] | None = None, *, progress: bool | None = None, **values: Any
) -> Scores:
    """Scores a model on labeled images.

    Args:
        model: The model.
        data: DATA as on the command line; None for the images that the model's run held out.
        progress: Whether to show progress in the terminal or notebook; None: in a notebook only.
        **values: Fields of :class:`~resnet_cli.config.eval.EvalConfig`, such as ``split="test"`` or ``tta="flip"``.
            With ``out`` a folder, the report is written there; otherwise none is written.

    Returns:
        An :class:`~resnet_cli.evaluation.scores.Evaluation`; of a multi-label model a
        :class:`~resnet_cli.evaluation.label_scores.LabelEvaluation`.

    Raises:
        DataError: Images cannot be read, or have a class that the model does not know.
        VerificationError: Top-1, or mAP of a multi-label model, is below ``fail_under``.
        ResnetCliError: See ``resnet_cli.errors``.
    """
    config = _eval_config({"no_report": "out" not in values or None} | values)
    with shown_events(progress) as show:
        opened = _opened(model, config)
        result = evaluating.evaluate_model(opened, _text(data), config, command="resnet_cli.evaluate", on_event=show)
    result.check(config.fail_under)
    return result.scores


def compare(
    models: Sequence[AnyModel], data: str | PathLike[str] | None = None, *, progress: bool | None = None, **values: Any
) -> ComparisonResult:
    """Scores several models on the same images, and tests whether they differ.

    Args:
        models: At least two models; the first is compared with each of the others.
        data: DATA as on the command line; None for the images that the first model's run held out.
        progress: Whether to show progress in the terminal or notebook; None: in a notebook only.
        **values: Fields of :class:`~resnet_cli.config.eval.EvalConfig`, such as ``split="test"``.

    Raises:
        ConfigError: Fewer than two models.
        ResnetCliError: See ``resnet_cli.errors``.
    """
    if len(models) < 2:
        raise ConfigError("compare takes at least two models")
    config = _eval_config(values)
    with shown_events(progress) as show:
        opened = [_opened(model, config) for model in models]
        return evaluating.compare_models(opened, _text(data), config, on_event=show)


def study(
    kind: str,
    model: AnyModel = LATEST,
    data: str | PathLike[str] | None = None,
    *,
    progress: bool | None = None,
    **values: Any,
) -> StudyResult:
    """Studies a model or its data, as the flags of ``eval`` with the same names do.

    Args:
        kind: ``learning_curve``, ``label_audit`` or ``robustness``.
        model: The model.
        data: DATA as on the command line; None for the images of the model's run.
        progress: Whether to show progress in the terminal or notebook; None: in a notebook only.
        **values: Fields of :class:`~resnet_cli.config.eval.EvalConfig`, such as ``split="train"``.

    Raises:
        ResnetCliError: See ``resnet_cli.errors``.
    """
    if kind not in STUDIES:
        raise ConfigError(f"unknown study '{kind}'", hint=f"choose one of {', '.join(sorted(STUDIES))}")
    config = resolve(EvalConfig, values | {kind: True}).config
    with shown_events(progress) as show:
        return studies.run_study(_opened(model, config), _text(data), config, on_event=show)


def export(
    model: AnyModel = LATEST,
    *,
    progress: bool | None = None,
    on_work: OnWork | None = None,
    on_parity: Callable[[Parity], None] | None = None,
    **values: Any,
) -> ExportResult:
    """Writes a model in another format, if the file's predictions on real images match the model's.

    Args:
        model: The model.
        progress: Whether to show progress in the terminal or notebook; None: in a notebook only.
        on_work: Called with (name of the work, images done, images in all).
        on_parity: Called with the result of the parity check, also if it rejects the file.
        **values: Fields of :class:`~resnet_cli.config.export.ExportConfig`, such as ``format="onnx", int8=True``.

    Raises:
        VerificationError: The file's predictions differ; nothing is written or pushed.
        ResnetCliError: See ``resnet_cli.errors``; no incomplete file is left.
    """
    config = resolve(ExportConfig, values).config
    with shown_events(progress) as show:

        def tell(work: Work, done: int, total: int | None) -> None:
            show(WorkDone(work, done, total))
            if on_work:
                on_work(work, done, total)

        return export_file(source_of(model), config, on_work=tell, on_parity=on_parity)


def inspect(data: str | PathLike[str], *, progress: bool | None = None, **values: Any) -> InspectResult:
    """Checks every image of a data set: unreadable files, duplicates, leaks between splits.

    Args:
        data: DATA as on the command line.
        progress: Whether to show progress in the terminal or notebook; None: in a notebook only.
        **values: Fields of :class:`~resnet_cli.config.inspect.InspectConfig`, such as ``deep=True, html="page.html"``.

    Raises:
        ResnetCliError: See ``resnet_cli.errors``.
    """
    config = resolve(InspectConfig, values).config
    with shown_events(progress) as show:
        return inspecting.inspect(str(data), config, on_event=show)


def download(
    *names: str, mirror: str | None = None, offline: bool = False, progress: bool | None = None
) -> list[Downloaded]:
    """Downloads weights and data sets, or verifies those that are on this machine.

    Args:
        *names: Names as ``resnet-cli download --list`` shows them, or ``hf:OWNER/NAME`` of weights.
        mirror: Base URL to fetch from instead of each file's own URL; the hash is still verified.
        offline: Only verify.
        progress: Whether to show progress in the terminal or notebook; None: in a notebook only.

    Raises:
        ConfigError: An unknown name.
        NetworkError: Something cannot be downloaded, or has the wrong bytes.
    """
    with shown_events(progress) as show:
        found = downloading.download(
            names,
            mirror=mirror,
            offline=offline,
            on_file=lambda name, done, total: show(WorkDone("download", done, total)),
        )
        return list(found)


def _path(model: AnyModel) -> str | PathLike[str]:
    """Where a model is stored.

    Raises:
        ConfigError: It is in no file.
    """
    source = source_of(model)
    if not isinstance(source, Model):
        return source
    if source.path is None:
        raise ConfigError("the model is not stored in a file", hint="save it first: model.save(path)")
    return source.path


def _opened(model: AnyModel, config: EvalConfig) -> str | Predictor[Any]:
    """A model in memory as a predictor; a path stays what it is."""
    source = source_of(model)
    if not isinstance(source, Model):
        return source
    return TorchPredictor(source, choose_compute(config.device, config.precision))


def _eval_config(values: dict[str, Any]) -> EvalConfig:
    for name in sorted(STUDIES & values.keys()):
        raise ConfigError(f"{name} is a study", hint=f"resnet_cli.study('{name}', ...)")
    if values.get("from_predictions") is not None:
        raise ConfigError("from_predictions works only on the command line")
    return resolve(EvalConfig, values).config


def _text(data: str | PathLike[str] | None) -> str | None:
    return None if data is None else str(data)
