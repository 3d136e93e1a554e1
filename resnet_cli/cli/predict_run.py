"""``resnet-cli predict`` from its inputs to its outputs."""

from __future__ import annotations

import contextlib
import functools
import itertools
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import typer

from resnet_cli.cli import output
from resnet_cli.cli.predict_models import check_exported, choose_model, is_exported, rule_of
from resnet_cli.cli.predict_outputs import Counting, check_outputs, open_outputs, show_matches, summary
from resnet_cli.cli.predict_request import TOPK, TOPK_SIMILAR, Request
from resnet_cli.config.base import Resolved
from resnet_cli.config.predict import PredictConfig
from resnet_cli.data.dataset import Item
from resnet_cli.data.inputs.opening import InputOptions, Inputs, find_images, listed_images
from resnet_cli.errors import ConfigError, DataError, Interrupted
from resnet_cli.images import MAX_PIXELS
from resnet_cli.prediction import Predictor, predict
from resnet_cli.system.paths import user_path

if TYPE_CHECKING:
    from resnet_cli.cli.progress import ProgressView
    from resnet_cli.model.reliability import Abstention
    from resnet_cli.outputs.resume import Done
    from resnet_cli.system.events import Work
    from resnet_cli.system.interrupts import StopRequest

EXIT_SOME_UNREADABLE = 3


def run(request: Request, resolved: Resolved[PredictConfig], model: str | None, *, stdin: BinaryIO) -> None:
    """Answers images.

    Raises:
        ResnetCliError: As the core does.
        typer.Exit: Some images could not be read.
    """
    config = resolved.config
    if is_exported(model):
        check_exported(config, needs_torch={"--embeddings": request.embeddings}, origins=resolved.origins)
    check_outputs(request)
    inputs = open_inputs(request, config, stdin)
    arriving = _arriving(request, config, known=None) if request.watch and not request.resume else None
    predictor = choose_model(model, config, quiet=request.quiet)
    rule = rule_of(predictor, config)
    if not request.quiet:
        _note_precision(predictor)
    topk = min(request.topk or TOPK, len(predictor.classes))
    made_by, done = _past(request, predictor, rule, topk)
    if request.watch and arriving is None:
        arriving = _arriving(request, config, known=done or _nothing())
    is_shown = request.output is None and sys.stdout.isatty()
    with (
        _stoppable(request) as stop,
        Counting(_total(inputs, done), quiet=request.quiet, is_shown=is_shown) as counting,
        open_outputs(request, predictor, done, has_rule=rule is not None, made_by=made_by) as write,
    ):
        for items in _portions(request, inputs, done, arriving, stop):
            found = predict(
                predictor,
                items,
                topk=topk,
                batch_size=request.batch_size,
                rule=rule,
                with_features=request.embeddings is not None,
            )
            for answered in found:
                write(answered)
                counting(answered)
                if stop is not None and stop.signal is not None:
                    break
    _finish(request, counting, done)


def _note_precision(predictor: Predictor[Any]) -> None:
    if predictor.precision != "fp32":
        output.note(f"answers are computed in {predictor.precision}, coarser than float32")
    if predictor.precision_conflict:
        output.warn(predictor.precision_conflict)


def open_inputs(request: Request, config: PredictConfig, stdin: BinaryIO) -> Inputs:
    """Everything that is named, but for what will arrive; the first image of each is looked for."""
    options = _options(request, config)
    found = _find(request.images, request, options, stdin)
    if request.files_from is None:
        return found
    listed = _at_least_one(listed_images(_paths(request, stdin), options=options), request.files_from)
    return Inputs(itertools.chain(found.items, listed), None)


def _options(request: Request, config: PredictConfig) -> InputOptions:
    return InputOptions(
        recursive=request.recursive is not False,
        image_column=config.image_column,
        max_pixels=config.max_pixels or MAX_PIXELS,
        offline=config.offline,
    )


def _find(specs: list[str], request: Request, options: InputOptions, stdin: BinaryIO) -> Inputs:
    with contextlib.ExitStack() as stack:

        @functools.cache
        def view() -> ProgressView:
            # For one photo it would cost more than the photo.
            from resnet_cli.cli.progress import ProgressView

            return stack.enter_context(ProgressView(quiet=request.quiet))

        def on_work(task: Work, done: int, total: int | None) -> None:
            from resnet_cli.system.events import WorkDone

            view()(WorkDone(task, done, total))

        found = find_images(specs, stdin=stdin, options=options, on_work=on_work)
    if request.recursive is not None and not found.has_folder and request.watch is None:
        flag = "--recursive" if request.recursive else "--no-recursive"
        raise ConfigError(f"{flag} has no effect: no folder is among the inputs", hint="leave it away")
    return found


def _paths(request: Request, stdin: BinaryIO) -> Iterator[str]:
    from resnet_cli.data.inputs.path_lists import read_paths

    assert request.files_from is not None
    if request.files_from == "-":
        yield from read_paths(stdin, "stdin", null=request.null)
        return
    path = user_path(request.files_from)
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"--files-from {path}: {error.strerror or error}") from error
    with file:
        yield from read_paths(file, str(path), null=request.null)


def _at_least_one(items: Iterator[Item], name: str) -> Iterator[Item]:
    first = next(items, None)
    if first is None:
        raise DataError(f"--files-from {name}: no paths there", hint="one path a line")
    yield first
    yield from items


def _past(request: Request, predictor: Predictor[Any], rule: Abstention | None, topk: int) -> tuple[str, Done | None]:
    """What names this model and these settings in the rows of a file, and what the file holds already."""
    if request.output is None:
        return "", None
    from resnet_cli.outputs.prediction_files import made_by
    from resnet_cli.outputs.resume import read_done

    # Answers of two precisions are never mixed in a file.
    assert predictor.path is not None
    precision = () if predictor.precision == "fp32" else (predictor.precision,)
    name = made_by(predictor.path, (topk, rule, *precision))
    kind = request.kind
    if kind == "parquet" or kind is None or not (request.resume and request.output.exists()):
        return name, None
    return name, read_done(request.output, kind, name)


def _nothing() -> Done:
    from resnet_cli.outputs.resume import Done

    return Done()


def _arriving(request: Request, config: PredictConfig, known: Done | None) -> Iterator[list[Item]]:
    """What comes from now on; with ``--resume`` also what is there and has no answer yet."""
    from resnet_cli.data.inputs.watch import watch

    assert request.watch is not None
    max_pixels = config.max_pixels or MAX_PIXELS
    return watch(request.watch, recursive=request.recursive is not False, max_pixels=max_pixels, known=known)


def _portions(
    request: Request,
    inputs: Inputs,
    done: Done | None,
    arriving: Iterator[list[Item]] | None,
    stop: StopRequest | None,
) -> Iterator[Iterator[Item]]:
    """What is named, then what arrives, for as long as nobody stops it."""
    yield inputs.items if done is None else done.rest(inputs.items)
    if arriving is None or stop is None:
        return
    if not request.quiet:
        output.note(f"watching {request.watch}; Ctrl-C ends it")
    for items in arriving:
        if stop.signal is not None:
            return
        yield iter(items)


@contextlib.contextmanager
def _stoppable(request: Request) -> Iterator[StopRequest | None]:
    """While a folder is watched Ctrl-C is how it ends: what is answered is written whole first."""
    kept = f"the answers so far are in {request.output}" if request.output is not None else ""
    if request.watch is None:
        try:
            yield None
        except KeyboardInterrupt as interrupt:
            number = getattr(interrupt, "signal", None)
            is_growing = kept and request.kind != "parquet"
            others = "the images written so far stay" if request.writes_folders else ""
            raise Interrupted(f"{kept}; go on with --resume" if is_growing else others, signal=number) from None
        return
    from resnet_cli.system.interrupts import deferred_stop

    kept = kept or "what had arrived is answered"
    try:
        with deferred_stop() as stop:
            yield stop
    except KeyboardInterrupt as interrupt:
        raise Interrupted(kept, signal=getattr(interrupt, "signal", None)) from None
    # Where whoever started it lets nobody hear Ctrl-C, it ends all the same.
    raise Interrupted(kept, signal=stop.signal)


def _total(inputs: Inputs, done: Done | None) -> int | None:
    return inputs.total if done is None or inputs.total is None else max(0, inputs.total - done.num)


def _finish(request: Request, counting: Counting, done: Done | None) -> None:
    num_failed = counting.num_failed + (done.num_failed if done else 0)
    num = counting.num + (done.num if done else 0)
    if not request.quiet:
        for line in summary(request, counting):
            output.note(line)
        if num_failed:
            output.note(f"{num_failed:,} of {num:,} images could not be read")
    if num_failed:
        raise typer.Exit(EXIT_SOME_UNREADABLE)


def run_similar(request: Request, resolved: Resolved[PredictConfig], model: str | None, *, stdin: BinaryIO) -> None:
    """Finds the nearest images.

    Raises:
        ResnetCliError: As the core does.
        typer.Exit: Some images could not be read.
    """
    config = resolved.config
    if is_exported(model):
        check_exported(config, needs_torch={"--similar": request.similar}, origins=resolved.origins)
    if "-" in request.similar and "-" in request.among:
        raise ConfigError("--similar - and --among -: stdin can be only one of them")
    queries = list(find_images(request.similar, stdin=stdin, options=InputOptions(offline=config.offline)).items)
    among = _find(request.among, request, _options(request, config), stdin)
    predictor = choose_model(model, config, quiet=request.quiet)
    from resnet_cli.model.similar import find_similar
    from resnet_cli.predictor import TorchPredictor

    assert isinstance(predictor, TorchPredictor)

    with Counting(None, quiet=request.quiet, is_shown=False) as counting:
        found = find_similar(
            predictor.model,
            queries,
            among.items,
            predictor.compute,
            topk=request.topk or TOPK_SIMILAR,
            on_progress=counting.show,
        )
    show_matches(found.matches, request.kind)
    output.warn_each([str(error) for error in found.errors])
    if found.errors:
        raise typer.Exit(EXIT_SOME_UNREADABLE)
