"""From a model to a file that answers as it does, or to no file at all."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.config.base import resolve
from resnet_cli.config.export import ExportConfig
from resnet_cli.data.loading import stack
from resnet_cli.evaluation.evaluate import evaluate
from resnet_cli.exported.metadata import IMAGES, ExportMetadata, FilePrecision
from resnet_cli.exported.onnx import OnnxModel
from resnet_cli.exporting.hub.destination import destination
from resnet_cli.exporting.hub.push import Push, Pushed
from resnet_cli.exporting.onnx_writer import int8
from resnet_cli.exporting.onnx_writer.file import finish, take_images, take_pixels, to_onnx
from resnet_cli.exporting.openvino_folder import write_openvino
from resnet_cli.exporting.parity import Parity, compare
from resnet_cli.exporting.pt2 import write_pt2
from resnet_cli.exporting.timm_folder import write_timm
from resnet_cli.exporting.verification_data import VerificationImages, images_to_calibrate, images_to_verify
from resnet_cli.model.network import Model
from resnet_cli.model.reliability import Reliability
from resnet_cli.model.weights import MODEL_FILE
from resnet_cli.network import registry
from resnet_cli.prediction import ModelOutput, Predictor
from resnet_cli.predictor import TorchPredictor
from resnet_cli.system.device import REFERENCE
from resnet_cli.system.events import OnWork
from resnet_cli.system.paths import atomic_folder, atomic_path, disk_errors, make_dir, refuse_existing, sha256_of
from resnet_cli.version import __version__

#: (What is going on, images done, images in all).
OnParity = Callable[[Parity], None]
_FOLDERS = {"safetensors": "timm", "openvino": "openvino"}


@dataclasses.dataclass(frozen=True)
class ExportResult:
    """What was written.

    Attributes:
        path: A file, or a folder for ``safetensors`` and ``openvino``.
        format: As for ``--format``.
        number: How weights are kept.
        num_bytes: Of all files.
        sha256: Of the file; of a folder, of its largest file.
        source_sha256: Of the model file that it was made from.
        parity: What the gate saw.
        seconds: Wall time.
        pushed: Where it is on the Hub; None if that was not asked for.
    """

    path: Path
    format: str
    number: FilePrecision
    num_bytes: int
    sha256: str
    source_sha256: str
    parity: Parity
    seconds: float
    pushed: Pushed | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        pushed = None if self.pushed is None else dataclasses.asdict(self.pushed)
        return vars(self) | {"path": str(self.path), "parity": self.parity.to_dict(), "pushed": pushed}


def export_model(
    model: Model, *, on_work: OnWork | None = None, on_parity: OnParity | None = None, **values: Any
) -> ExportResult:
    """Writes a model in another format, if that answers real images as the model does.

    Args:
        model: From :func:`resnet_cli.load`.
        on_work: Told how far the images are.
        on_parity: Told what the gate saw, also where it refuses.
        **values: Fields of :class:`~resnet_cli.config.export.ExportConfig`, such as ``format="onnx", int8=True``.

    Raises:
        VerificationError: The file answers otherwise; nothing is written or pushed.
        ResnetCliError: See ``resnet_cli.errors``; nothing half-written is left.
    """
    began = time.monotonic()
    config = resolve(ExportConfig, values).config
    target = destination(config)
    push = None if target is None else Push(target, model, config)
    out = config.out or default_path(model, config)
    if config.format in _FOLDERS:
        refuse_existing(out)
    images = images_to_verify(model, config)
    job = Job(model, config, describe(model, config))
    expected = answers_of(model, images, on_work)
    make_dir(out.parent)
    with _temporary(out, is_folder=config.format in _FOLDERS) as temporary:
        parity = check(job, job.write(temporary), images, expected, on_work)
        if on_parity:
            on_parity(parity)
        parity.require(job.name)
        if job.number != "fp32" and images.is_validation and job.about.reliability is not None:
            job.rewrite(temporary, measured(parity, images))
        files = [temporary] if temporary.is_file() else sorted(temporary.iterdir())
        num_bytes = sum(file.stat().st_size for file in files)
        largest = max(files, key=lambda file: file.stat().st_size)
        sha256 = sha256_of(largest)
    pushed = None
    if push is not None:
        name = _file_name("model", config)
        pushed = push.upload(out, name=name, num_bytes=num_bytes, sha256=sha256, about=job.about, parity=parity)
    return ExportResult(
        path=out,
        format=config.format,
        number=job.number,
        num_bytes=num_bytes,
        sha256=sha256,
        source_sha256=job.about.source_sha256,
        parity=parity,
        seconds=time.monotonic() - began,
        pushed=pushed,
    )


class Job:
    """One file to make.

    Args:
        model: What it is made of.
        config: The format and its options.
        about: What the file says about itself.
    """

    def __init__(self, model: Model, config: ExportConfig, about: ExportMetadata) -> None:
        self.model, self.config, self.about = model, config, about
        self._onnx: Any = None

    @property
    def number(self) -> FilePrecision:
        """How weights are kept."""
        return self.about.precision

    @property
    def name(self) -> str:
        """For people: ``onnx int8``."""
        return self.config.format + ("" if self.number == "fp32" else f" {self.number}")

    def write(self, path: Path) -> Predictor[Any]:
        """Writes the file, or fills the folder, and opens it in its own runtime."""
        if self.config.format == "pt2":
            return write_pt2(self.model, path, self.about, with_novelty=self.config.novelty)
        if self.config.format == "safetensors":
            return write_timm(self.model, path, self.about)
        is_onnx = self.config.format == "onnx"
        made = to_onnx(self.model, number=self.number, with_novelty=self.config.novelty, with_heat=is_onnx)
        if self.number == "int8":
            made = int8.quantise(made, self._calibration())
        if self.about.input_kind != "tensor":
            begin = take_images if self.about.input_kind == "picture" else take_pixels
            made = begin(made, self.model.preprocess)
        self._onnx = made
        data = finish(made, self.about)
        if self.config.format == "openvino":
            return write_openvino(data, path, self.about)
        path.write_bytes(data)
        return OnnxModel.load(path)

    def rewrite(self, path: Path, reliability: Reliability) -> None:
        """Writes an ONNX file again with what is now known about its own answers."""
        self.about = dataclasses.replace(self.about, reliability=reliability)
        path.write_bytes(finish(self._onnx, self.about))

    def _calibration(self) -> Iterator[dict[str, NDArray[np.float32]]]:
        for item in images_to_calibrate(self.model, self.config):
            pixels = stack([self.model.preprocess(item.open())])
            yield {IMAGES: self.model.preprocess.normalize(pixels).contiguous().numpy()}


def describe(model: Model, config: ExportConfig) -> ExportMetadata:
    """What an exported file says about itself."""
    return ExportMetadata(
        classes=model.classes,
        preprocess=model.preprocess.to_dict(),
        temperature=model.temperature,
        input_kind=config.input if config.format == "onnx" or config.input == "tensor" else "pixels",
        precision="int8" if config.int8 else "fp16" if config.fp16 else "fp32",
        provenance=model.provenance,
        licence=config.licence or known_licence(model),
        source_sha256=sha256_of(model.path) if model.path is not None else "",
        version=__version__,
        reliability=model.reliability,
    )


def known_licence(model: Model) -> str:
    """The licence of the weights that a model was trained from, as far as we know it."""
    name = str(model.provenance.get("weights", model.path.name if model.path else ""))
    for known, file in registry.WEIGHTS.items():
        if name in {known, file.name}:
            return f"weights: {file.licence}"
    for known, weights in registry.HUB_WEIGHTS.items():
        if name == known or name.startswith(f"hf:{weights.repo}"):
            return f"weights: {weights.licence}"
    return "not stated"


def answers_of(model: Model, images: VerificationImages, on_work: OnWork | None) -> ModelOutput:
    """The model's own answers; features that a training cached are not computed again."""

    def on_progress(done: int, total: int) -> None:
        if on_work:
            on_work("evaluate", done, total)

    scores = evaluate(model, images.items, REFERENCE, on_progress=on_progress)
    return ModelOutput(scores.probs, scores.novelty)


def check(
    job: Job, file: Predictor[Any], images: VerificationImages, expected: ModelOutput, on_work: OnWork | None
) -> Parity:
    """The gate; see :mod:`resnet_cli.exporting.parity`."""

    def on_progress(done: int, total: int) -> None:
        if on_work:
            on_work("compare", done, total)

    return compare(
        TorchPredictor(job.model, REFERENCE),
        file,
        images.items,
        classes=job.model.classes,
        expected=expected,
        number=job.number,
        max_drop=0.0 if job.number == "fp32" else job.config.max_drop,
        data=images.about,
        on_progress=on_progress,
    )


def measured(parity: Parity, images: VerificationImages) -> Reliability:
    """How the file itself answered the validation split: its thresholds come from its own answers."""
    labels = np.array([item.label for item in images.items])
    novel = parity.novelty if parity.novelty is not None else np.zeros(len(labels), dtype=np.float32)
    return Reliability(
        confidence=parity.probs.max(axis=1).astype(np.float32),
        is_right=parity.probs.argmax(axis=1) == labels,
        novelty=novel.astype(np.float32),
    )


def default_path(model: Model, config: ExportConfig) -> Path:
    """Beside a model of ours; the current folder for weights that lie in a cache."""
    is_ours = model.path is not None and model.path.name == MODEL_FILE
    folder = model.path.parent if model.path is not None and is_ours else Path()
    if config.format in _FOLDERS:
        return folder / _FOLDERS[config.format]
    stem = model.path.stem if model.path is not None else "model"
    return folder / _file_name(stem, config)


def _file_name(stem: str, config: ExportConfig) -> str:
    given = {"int8": config.int8, "fp16": config.fp16, "tensor": config.input == "tensor"}
    return ".".join([stem, *(kind for kind, is_asked in given.items() if is_asked), config.format])


@contextlib.contextmanager
def _temporary(out: Path, *, is_folder: bool) -> Iterator[Path]:
    """A name beside ``out`` that gets its name if all goes well."""
    if not is_folder:
        with atomic_path(out) as temporary:
            yield temporary
        return
    with disk_errors(out, hint="choose another folder with --out"), atomic_folder(out) as temporary:
        yield temporary
