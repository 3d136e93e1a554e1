"""A model as an ONNX file for a server, made in a process of its own: the server never loads torch."""

from __future__ import annotations

import contextlib
import multiprocessing
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from resnet_cli.errors import ModelError, ResnetCliError, SetupError, VerificationError
from resnet_cli.exported.base import ExportedModel
from resnet_cli.exported.metadata import HEATMAP, NOVELTY, ExportMetadata
from resnet_cli.exported.onnx import OnnxModel
from resnet_cli.exported.opening import exported_kind, open_exported
from resnet_cli.system.paths import user_path

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from resnet_cli.model.model_file import Model
    from resnet_cli.prediction import Predictor

#: The name that ``resnet-cli export`` gives to the file beside a model.
_EXPORTED = "model.onnx"


def open_for_serving(model: str, scratch: Path, *, offline: bool = False, trusted: bool = False) -> ExportedModel:
    """Opens a model of any kind for preprocessed images, in ONNX Runtime unless it was exported for another runtime.

    Args:
        model: An exported file or folder, or what :func:`resnet_cli.model.weights.load_model` reads. The ``model.onnx``
            beside such a model is used if it was made from that model in float32; else one is made.
        scratch: An empty folder, which may be deleted once this returns.
        offline: Never download weights.
        trusted: Whether an exported file may run the code in it.

    Raises:
        ResnetCliError: See ``resnet_cli.errors``.
    """
    path = user_path(model)
    if exported_kind(path):
        return open_exported(path, trusted=trusted, without_preprocessing=True)
    made = _make_in_new_process(model, scratch / _EXPORTED, offline=offline)
    return OnnxModel.load(made, without_preprocessing=True)


def _make_in_new_process(model: str, made: Path, *, offline: bool) -> Path:
    # Not forked, since torch and ONNX Runtime have threads. Not an executor, whose semaphores need shared memory.
    spawning = multiprocessing.get_context("spawn")
    receiver, sender = spawning.Pipe(duplex=False)
    process = spawning.Process(target=_send_made, args=(sender, model, made, offline))
    process.start()
    # Only the other process has this end now: if it is killed, the pipe is closed.
    sender.close()
    try:
        outcome: Path | ResnetCliError = receiver.recv()
    except EOFError:
        process.join()
        raise SetupError(
            f"the process that makes an ONNX file of {model} ended with exit code {process.exitcode}",
            hint=f"is there enough memory? Or export it first: resnet-cli export {shlex.quote(model)}",
        ) from None
    finally:
        # After an interrupt, there is nobody to make the file for.
        process.terminate()
        process.join()
        receiver.close()
    if isinstance(outcome, ResnetCliError):
        raise outcome
    return outcome


def _send_made(sender: Connection, model: str, made: Path, offline: bool) -> None:
    # A terminal's Ctrl-C interrupts both processes; the other one says so.
    with contextlib.suppress(KeyboardInterrupt):
        try:
            sender.send(_make(model, made, offline=offline))
        except ResnetCliError as error:
            sender.send(error)


def _make(model: str, made: Path, *, offline: bool) -> Path:
    """The path of the file to open; runs in the other process."""
    from resnet_cli.config.export import ExportConfig
    from resnet_cli.exporting.export import Job
    from resnet_cli.model.weights import load_model

    loaded = load_model(model, offline=offline)
    job = Job(loaded, ExportConfig())
    beside = loaded.path.with_name(_EXPORTED) if loaded.path is not None else made
    if beside.is_file() and _is_of(beside, job.metadata):
        return beside
    _require_parity(loaded, job.write(made))
    return made


def _require_parity(model: Model, made: Predictor[Any]) -> None:
    """A parity check that needs no real images: it uses noise of a few sizes."""
    from resnet_cli.exporting.parity import TOLERANCE
    from resnet_cli.predictor import TorchPredictor
    from resnet_cli.system.device import REFERENCE

    rng = np.random.default_rng(0)
    sizes = [(300, 200), (64, 64), (1, 40)]
    images = [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]
    expected = TorchPredictor(model, REFERENCE).predict_images(images)
    difference = float(np.abs(expected.probs - made.predict_images(images).probs).max())
    if not difference <= TOLERANCE["fp32"]:
        raise VerificationError(
            f"the ONNX file made for this server differs from the model: probabilities by up to {difference:.2g}",
            hint="serve with --runtime torch, and please report a bug",
        )


def _is_of(path: Path, wanted: ExportMetadata) -> bool:
    try:
        found = OnnxModel.load(path)
    except ModelError:
        return False
    # A file that was exported with fewer outputs would hide from users of the server what the model knows.
    is_complete = (found.has_novelty, found.has_heatmap) == tuple(name in wanted.outputs for name in (NOVELTY, HEATMAP))
    return found.sha256 == wanted.source_sha256 and found.precision == "fp32" and is_complete
