"""``eval``: score one model on labeled images, or compare several on the same images."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from resnet_cli.commands.comparison_result import ComparisonResult
from resnet_cli.commands.evaluate_file import EvalResult, check_one_threshold, check_outputs
from resnet_cli.commands.int8 import open_quantized
from resnet_cli.config.base import flag_name
from resnet_cli.config.eval import EvalConfig
from resnet_cli.data.dataset import Item
from resnet_cli.errors import UnreachableTarget
from resnet_cli.evaluation.comparing import compare
from resnet_cli.evaluation.evaluate import evaluate_predictor
from resnet_cli.evaluation.evaluation_set import EvaluationSet, choose_evaluation_set
from resnet_cli.evaluation.predictions_writing import write_predictions
from resnet_cli.evaluation.scores_apart import ScoresApart
from resnet_cli.evaluation.scoring import Scores, at_threshold
from resnet_cli.evaluation.targets import Check, choose_target
from resnet_cli.exported.opening import exported_kind, resolve_model
from resnet_cli.model.model_path import resolve_model_path
from resnet_cli.network.hub import is_spec
from resnet_cli.network.registry import WEIGHTS
from resnet_cli.prediction import Predictor
from resnet_cli.predictor import TorchPredictor, open_predictor
from resnet_cli.system.device import choose_compute
from resnet_cli.system.events import Noted, Progress, Status, Warned, WorkDone
from resnet_cli.text import percent

EvalEvent: TypeAlias = WorkDone | Noted | Status | Warned
OnEvalEvent: TypeAlias = Callable[[EvalEvent], None]


def ignore(event: EvalEvent) -> None:
    """Default handler: ignores every event."""


def evaluate_model(
    spec: str | Predictor[Any], data: str | None, config: EvalConfig, *, command: str, on_event: OnEvalEvent = ignore
) -> EvalResult:
    """Scores one model, and writes the report, and the predictions if requested.

    Args:
        spec: MODEL as a user types it, or an opened model.
        data: DATA as for ``finetune``; None for the images of the model's own run.
        config: Everything else.
        command: The command line, for the report.
        on_event: Called with progress, notes and warnings.

    Raises:
        ConfigError: There is no such model or data.
        DataError: Images cannot be read, or have a class that the model does not know.
        ModelError: The model is damaged, or has no validation metrics for the error target.
    """
    began = time.perf_counter()
    check_outputs(config)
    model = open_model(spec, config, on_event)
    # Refused before anything is computed.
    check_one_threshold(model, config)
    check, unreachable = _target(config, model, on_event)
    images = find_images(model, data, config, on_event)
    if check and images.is_own_of(model) and images.split in {"val", "all"}:
        flag = flag_name(EvalConfig, next(iter(config.targets)))
        text = f"{flag}: the threshold was found on these very images; evaluate on others to check it"
        on_event(Warned([text]))
    scores, note = _predict(model, images, config, on_event)
    notes = [
        *filter(
            None,
            (note, images.label_note(model), images.source_note, *(seen.sentence for seen in images.seen.values())),
        )
    ]
    target = check(scores) if check else None
    if config.save_predictions is not None:
        write_predictions(config.save_predictions, scores)
    report = None
    if not config.no_report:
        # Imported here, since it loads the templates.
        from resnet_cli.commands.evaluation_report import write_report

        on_event(WorkDone("report", 0, None))
        report = write_report(
            model,
            images,
            scores,
            out=config.out,
            command=command,
            notes=notes,
            target=target,
            seconds=time.perf_counter() - began,
        )
        if report is None and model.path is not None and not model.path.exists():
            on_event(Warned([f"no report was written: {model.path} was removed in the meantime"]))
    return EvalResult(
        data=images.dataset.name,
        scores=scores,
        model=str(model.path),
        precision=model.precision,
        split=images.split,
        target=target,
        saved=config.save_predictions,
        report=report,
        unreachable=unreachable,
    )


def _target(
    config: EvalConfig, model: Predictor[Any], on_event: OnEvalEvent
) -> tuple[Check | None, UnreachableTarget | None]:
    """The check of the target; the error of one that cannot be met comes after the results, which do not need it."""
    try:
        return choose_target(config.targets, model), None
    except UnreachableTarget as error:
        on_event(Warned([f"{error.message}; the evaluation continues without it"]))
        return None, error


def compare_models(
    specs: Sequence[str | Predictor[Any]], data: str | None, config: EvalConfig, *, on_event: OnEvalEvent = ignore
) -> ComparisonResult:
    """Scores several models on the same images, and compares the first with each of the others.

    Args:
        specs: At least two models, as a user types them, or opened ones.
        data: DATA as for ``finetune``; None for the images of the first model's run.
        config: Everything else.
        on_event: Called with progress, notes and warnings.

    Raises:
        ConfigError: There is no such model or data.
        DataError: Images cannot be read, or have a class that a model does not know.
        ModelError: A model is damaged.
    """
    began = time.perf_counter()
    check_outputs(config)
    specs = [resolve_model(spec) if isinstance(spec, str) else spec for spec in specs]
    first = open_model(specs[0], config, on_event)
    check_one_threshold(first, config)
    images = find_images(first, data, config, on_event, others=[_file_of(spec) for spec in specs[1:]])
    found = [(str(first.path), _predict(first, images, config, on_event)[0])]
    for spec in specs[1:]:
        # One after the other: the memory of a model is free again before the next one is loaded.
        other = open_model(spec, config, on_event)
        found.append((str(other.path), _predict(other, images, config, on_event)[0]))
    comparisons = [compare(found[0][1], scores, num_compared=len(found) - 1) for _, scores in found[1:]]
    result = ComparisonResult(images.dataset.name, images.split, tuple(found), tuple(comparisons))
    if config.no_report:
        return result
    # Imported here, since it loads the templates.
    from resnet_cli.commands.study_reports import write_comparison

    return write_comparison(result, first, images, out=config.out, seconds=time.perf_counter() - began)


def open_model(spec: str | Predictor[Any], config: EvalConfig, on_event: OnEvalEvent) -> Predictor[Any]:
    """Opens the model that MODEL names; downloads are reported. An opened model is returned as it is."""
    if not isinstance(spec, str):
        return spec
    # Checked for exported files too, although they have their own device and precision: a wrong flag is an error.
    choose_compute(config.device, config.precision)
    if config.engine != "auto" and exported_kind(spec):
        config.refuse(("engine",), f"has no effect on {spec}: an exported file has a runtime of its own")
    opening = functools.partial(
        open_predictor,
        spec,
        device=config.device,
        precision=config.precision,
        engine=config.engine,
        in_torch=True,
        offline=config.offline,
        trusted=config.trust,
        on_download=lambda done, total: on_event(WorkDone("download", done, total)),
    )
    return open_quantized(
        opening,
        offline=config.offline,
        on_work=lambda *work: on_event(WorkDone(*work)),
        on_note=lambda text: on_event(Noted(text)),
    )


def find_images(
    model: Predictor[Any],
    data: str | None,
    config: EvalConfig,
    on_event: OnEvalEvent,
    *,
    others: Sequence[Path | None] = (),
) -> EvaluationSet:
    """Finds the images to evaluate on, says which are left out, and warns of what is unusual about them.

    Args:
        model: The first model.
        data: DATA as for ``finetune``; None for the images of the model's own run.
        config: Everything else.
        on_event: Called with progress, notes and warnings.
        others: Files of the models that are compared with the first.
    """
    images = choose_evaluation_set(
        model,
        data,
        config,
        split=config.split,
        seen=config.seen,
        others=others,
        slice_by=config.slice,
        on_work=lambda *work: on_event(WorkDone(*work)),
    )
    for note in filter(None, (images.source_note, images.label_note(model))):
        on_event(Noted(note))
    for file, seen in images.seen.items():
        if seen.sentence:
            on_event(Noted(seen.sentence if len(images.seen) == 1 else f"{file or 'weights by name'}: {seen.sentence}"))
    if images.skipped:
        on_event(Warned([f"skipped: {error}" for error in images.skipped]))
    if config.tta == "flip" and not images.dataset.mirror_safe:
        name = images.dataset.name
        on_event(Warned([f"--tta flip: a mirrored image of {name} may belong to another class or to none"]))
    return images


def _predict(
    model: Predictor[Any], images: EvaluationSet, config: EvalConfig, on_event: OnEvalEvent
) -> tuple[Scores, str]:
    """The scores, and a note on how far they can be trusted."""
    items = images.items_for(model)
    best = model.provenance.get("best", {})
    # L-BFGS chooses among penalties, whose numbers are no epochs.
    is_penalty = best.get("l2") is not None and best.get("epoch") != 0
    note = images.trust_note(model, "penalty of the head" if is_penalty else f"epoch {best.get('epoch', '?')}")
    if config.threshold is not None:
        note += f"; threshold {percent(config.threshold)} for all classes"
    if config.tta == "flip":
        note += "; tta flip: the mean of each image and its mirror image"
    if model.cost is not None:
        note += f"; {model.cost.sentence()}"
    elif model.precision != "fp32":
        note += f"; computed in {model.precision}, less precise than float32"
    if model.precision_conflict:
        on_event(Warned([f"{model.path}: {model.precision_conflict}"]))
    on_event(Noted(f"{model.path}: {len(items):,} images of {images.dataset.name} ({note})"))
    if model.precision_conflict:
        # Shown as a warning above.
        note += f"; {model.precision_conflict}"
    _note_cost(model, config, on_event)
    scores = _evaluate(
        model, items, config, on_progress=lambda done, total: on_event(WorkDone("evaluate", done, total))
    )
    if config.slice is not None:
        scores = dataclasses.replace(scores, groups=tuple(items.groups[group] for group in items.group_of.tolist()))
    seen = images.seen_by(model)
    if images.apart and seen is not None:
        apart = _evaluate(model, images.items_for(model, images.apart), config)
        of_apart = ScoresApart(apart.num_images, apart.main[1], apart.loss, apart.task)
        seen = dataclasses.replace(seen, scores=of_apart)
    return dataclasses.replace(scores, seen=seen), note


def _note_cost(model: Predictor[Any], config: EvalConfig, on_event: OnEvalEvent) -> None:
    """Says what bfloat16 costs the model; the cost of int8 is in the note."""
    if not isinstance(model, TorchPredictor) or (model.compute.type, model.precision) != ("cpu", "bf16"):
        return
    from resnet_cli.exporting.bf16_cost import bf16_cost

    cost = bf16_cost(
        model.model, model.compute, offline=config.offline, on_work=lambda *work: on_event(WorkDone(*work))
    )
    if cost is not None:
        on_event(Noted(cost.sentence()))


def _evaluate(
    model: Predictor[Any], items: Sequence[Item], config: EvalConfig, *, on_progress: Progress | None = None
) -> Scores:
    scores = evaluate_predictor(model, items, tta=config.tta, on_progress=on_progress)
    return scores if config.threshold is None else at_threshold(scores, config.threshold)


def _file_of(spec: str | Predictor[Any]) -> Path | None:
    """The file of a model before it is opened; None for weights by name."""
    if not isinstance(spec, str):
        return spec.path
    if exported_kind(spec):
        return Path(spec)
    return None if spec in WEIGHTS or is_spec(spec) else resolve_model_path(Path(spec), "MODEL")
