"""The use case of ``predict``: from the inputs to the outputs."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from resnet_cli.commands.predict_model import OnEvent, Started, check_model_flags, name_model, open_model, open_rule
from resnet_cli.config.predict import TOPK, PredictConfig
from resnet_cli.data.dataset import Item
from resnet_cli.data.inputs.opening import InputOptions, Inputs, find_images, listed_images
from resnet_cli.errors import ConfigError, DataError, Interrupted
from resnet_cli.images import MAX_PIXELS
from resnet_cli.outputs.counts import Counts, UsedBits
from resnet_cli.outputs.opening import check_outputs, open_outputs, say_how_to_continue
from resnet_cli.outputs.prediction_files import made_by
from resnet_cli.outputs.resume import Done, read_done
from resnet_cli.outputs.schema import Layout
from resnet_cli.prediction import Predictor
from resnet_cli.prediction import predict as predict_items
from resnet_cli.system.events import Noted, Warned, WorkDone
from resnet_cli.system.paths import user_path

if TYPE_CHECKING:
    from resnet_cli.system.interrupts import StopRequest


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictResult:
    """What one call of ``predict`` did.

    Attributes:
        num: Number of images, with those that an earlier call had written to the same output.
        num_failed: Number of images that cannot be read, with those of an earlier call.
        num_unknown: Number of images that this call labeled "unknown".
        num_none: Number of images for which this call chose no label; only a multi-label model does that.
        num_unfamiliar: Number of images of this call that are unlike the training images, regardless of their label.
        false_alarms: Expected share of marked images among images like the training images; None if the model cannot
            tell them apart.
        num_written: Number of predictions in the output that this result describes.
        num_before: Number of predictions in it that an earlier call had written; None if there was none.
        failed: The folder that records why images cannot be read; None if only events do.
    """

    num: int
    num_failed: int
    num_unknown: int
    num_none: int
    num_unfamiliar: int
    false_alarms: float | None
    num_written: int
    num_before: int | None = None
    failed: Path | None = None

    @property
    def num_predicted(self) -> int:
        """Number of images that this call predicted."""
        return self.num_written - (self.num_before or 0)


def predict(config: PredictConfig, *, stdin: BinaryIO, on_event: OnEvent = lambda _: None) -> PredictResult:
    """Classifies images; rows go to the outputs that the config names, and to ``on_event``.

    Args:
        config: What to do.
        stdin: Read once for the image ``-`` or for ``--files-from -``.
        on_event: Called with each event; every image comes as a :class:`~resnet_cli.prediction.PredictedItem`.

    Raises:
        ResnetCliError: See ``resnet_cli.errors``; unreadable images are not errors.
        Interrupted: Ctrl-C, which is the way to stop ``--watch``.
    """
    config = name_model(config)
    check_model_flags(config)
    check_outputs(config)
    inputs = open_inputs(config, stdin, on_event)
    # What arrives from now on counts as new; with --resume the folder is compared with the file instead.
    arriving = _arriving(config, known=None) if config.watch and not config.resume else None
    predictor = open_model(config, on_event, num_images=inputs.total)
    rule = open_rule(config, predictor, on_event)
    _note_precision(predictor, on_event)
    note_unfamiliar(predictor, on_event)
    topk = min(config.topk or TOPK, len(predictor.classes))
    layout = rows_of(config, predictor)
    writer_id, done = _past(config, predictor, (topk, rule), layout)
    if config.watch and arriving is None:
        arriving = _arriving(config, known=done)
    counts = Counts()
    bits = UsedBits(predictor.preprocess.bit_depth)
    with (
        _stoppable(config) as stop,
        say_how_to_continue(config, writer_id, layout.in_file()),
        open_outputs(config, predictor, made_by=writer_id, layout=layout.in_file(), num_bytes=done.num_bytes) as write,
    ):
        total = None if inputs.total is None else max(0, inputs.total - done.num)
        facts = predictor.task, predictor.name, predictor.classes, predictor.tells_unfamiliar
        on_event(Started(total, layout, *facts))
        for items in _portions(config, inputs, done, arriving, stop, on_event):
            for predicted in predict_items(
                predictor,
                items,
                topk=topk,
                batch_size=config.batch_size,
                rule=rule,
                with_features=config.embeddings is not None,
                all_probs=config.all_probs,
            ):
                write(predicted)
                bits.add(predicted.bit_depth)
                counts += Counts.of(predicted.prediction)
                on_event(predicted)
                if stop is not None and stop.signal is not None:
                    break
    if warning := bits.warning():
        on_event(Warned([warning]))
    return PredictResult(
        num=counts.num + done.num,
        num_failed=counts.num_failed + done.num_failed,
        num_unknown=counts.num_unknown,
        num_none=counts.num_none,
        num_unfamiliar=counts.num_unfamiliar,
        false_alarms=predictor.reliability.false_alarms if predictor.reliability else None,
        num_written=counts.num - counts.num_failed,
    )


def open_inputs(config: PredictConfig, stdin: BinaryIO, on_event: OnEvent) -> Inputs:
    """Opens every input but a watched folder; the first image of each is looked for.

    Args:
        config: Names the inputs.
        stdin: Read once for ``-``.
        on_event: Called with the progress of downloads and unpacking.

    Raises:
        DataError: An input without images.
        ConfigError: A flag has no effect on these inputs.
    """
    found = find_inputs(config.images, config, stdin, on_event)
    if config.files_from is None:
        return found
    listed = _at_least_one(listed_images(_paths(config, stdin), options=input_options(config)), config.files_from)
    return Inputs(itertools.chain(found.items, listed), None)


def input_options(config: PredictConfig) -> InputOptions:
    """How the inputs are read."""
    return InputOptions(
        recursive=config.recursive is not False,
        image_column=config.image_column,
        image_folder=config.image_folder,
        max_pixels=config.max_pixels or MAX_PIXELS,
        offline=config.offline,
    )


def find_inputs(specs: Sequence[str], config: PredictConfig, stdin: BinaryIO, on_event: OnEvent) -> Inputs:
    """Opens what is named on the command line.

    Args:
        specs: As typed.
        config: How they are read.
        stdin: Read once for ``-``.
        on_event: Called with the progress of downloads and unpacking.

    Raises:
        DataError: An input without images.
        ConfigError: A flag has no effect on these inputs.
    """
    found = find_images(
        specs, stdin=stdin, options=input_options(config), on_work=lambda *work: on_event(WorkDone(*work))
    )
    if config.recursive is not None and not found.has_folder and config.watch is None:
        flag = "--recursive" if config.recursive else "--no-recursive"
        raise ConfigError(f"{flag} has no effect: no folder is among the inputs", hint="remove it")
    return found


def _paths(config: PredictConfig, stdin: BinaryIO) -> Iterator[str]:
    from resnet_cli.data.inputs.path_lists import read_paths

    assert config.files_from is not None
    if config.files_from == "-":
        yield from read_paths(stdin, "stdin", null=config.null)
        return
    path = user_path(config.files_from)
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"--files-from {path}: {error.strerror or error}") from error
    with file:
        yield from read_paths(file, str(path), null=config.null)


def _at_least_one(items: Iterator[Item], name: str) -> Iterator[Item]:
    first = next(items, None)
    if first is None:
        raise DataError(f"--files-from {name}: no paths there", hint="one path per line")
    yield first
    yield from items


def _note_precision(predictor: Predictor[Any], on_event: OnEvent) -> None:
    conflict = predictor.precision_conflict
    if conflict:
        on_event(Warned([conflict]))
    if predictor.cost is not None:
        on_event(Noted(predictor.cost.sentence()))
        return
    # A warning has named the precision already.
    is_told = bool(conflict) or predictor.precision == "fp32"
    name = predictor.precision
    parts = [] if is_told else [f"predictions are computed in {name}, which is less precise than float32"]
    if name == "bf16" and predictor.reliability is not None:
        parts.append(f"to see what bf16 costs: resnet-cli eval {shlex.quote(str(predictor.path))} --precision bf16")
    if parts:
        on_event(Noted("; ".join(parts)))


def note_unfamiliar(predictor: Predictor[Any], on_event: OnEvent) -> None:
    """Notes that a model cannot tell which images are unlike its training images: no image will be marked."""
    if not predictor.tells_unfamiliar:
        on_event(Noted("this model cannot tell which images are unlike its training images"))


def rows_of(config: PredictConfig, predictor: Predictor[Any]) -> Layout:
    """The columns of rows on stdout."""
    return Layout.of(predictor.task, with_probs=predictor.classes if config.all_probs else ())


def _past(
    config: PredictConfig, predictor: Predictor[Any], settings: tuple[object, ...], layout: Layout
) -> tuple[str, Done]:
    """What identifies this model and these settings in the rows of a file, and what the file holds already."""
    if config.output is None:
        return "", Done()
    assert predictor.path is not None
    # Predictions in two precisions are never mixed in a file.
    precision = () if predictor.precision == "fp32" else (predictor.precision,)
    layout = layout.in_file()
    name = made_by(predictor.path, (*settings, *precision), layout)
    if config.format in ("csv", "json") and config.resume and config.output.exists():
        return name, read_done(config.output, config.format, name, layout)
    return name, Done()


def _arriving(config: PredictConfig, known: Done | None) -> Iterator[list[Item]]:
    """Images that arrive from now on; with ``--resume`` also those that have no row yet."""
    from resnet_cli.data.inputs.watch import watch

    assert config.watch is not None
    options = input_options(config)
    return watch(config.watch, recursive=options.recursive, max_pixels=options.max_pixels, known=known)


def _portions(
    config: PredictConfig,
    inputs: Inputs,
    done: Done,
    arriving: Iterator[list[Item]] | None,
    stop: StopRequest | None,
    on_event: OnEvent,
) -> Iterator[Iterator[Item]]:
    """The named images, then those that arrive until a signal comes."""
    yield done.rest(inputs.items) if done.num else inputs.items
    if arriving is None or stop is None:
        return
    on_event(Noted(f"watching {config.watch}; Ctrl-C stops it"))
    for items in arriving:
        if stop.signal is not None:
            return
        yield iter(items)


@contextlib.contextmanager
def _stoppable(config: PredictConfig) -> Iterator[StopRequest | None]:
    """Says on Ctrl-C what is kept; while a folder is watched, the current image is finished first."""
    kept = f"the predictions so far are in {config.output}" if config.output is not None else ""
    if config.watch is None:
        try:
            yield None
        except KeyboardInterrupt as interrupt:
            number = getattr(interrupt, "signal", None)
            is_growing = kept and config.format != "parquet"
            writes_images = any((config.sort_into, config.annotate, config.explain))
            others = "the images written so far stay" if writes_images else ""
            raise Interrupted(f"{kept}; continue with --resume" if is_growing else others, signal=number) from None
        return
    from resnet_cli.system.interrupts import deferred_stop

    kept = kept or "the images that had arrived are classified"
    try:
        with deferred_stop() as stop:
            yield stop
    except KeyboardInterrupt as interrupt:
        raise Interrupted(kept, signal=getattr(interrupt, "signal", None)) from None
    # Also if the parent process has set SIGINT to be ignored.
    raise Interrupted(kept, signal=stop.signal)
