"""Writes a model in one format, and compares the file with the model."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.config.export import ExportConfig
from resnet_cli.data.dataset import targets_of
from resnet_cli.errors import ConfigError
from resnet_cli.evaluation.evaluate import evaluate
from resnet_cli.exported.metadata import NOVELTY, OUTPUTS, ExportMetadata, FilePrecision
from resnet_cli.exporting import fresh_answers
from resnet_cli.exporting.decisions import fit_thresholds
from resnet_cli.exporting.formats import open_format
from resnet_cli.exporting.formats.base import Format
from resnet_cli.exporting.parity import compare, predict_all
from resnet_cli.exporting.parity_result import EngineCheck, Parity
from resnet_cli.exporting.recalibration import at_temperature, refit_temperature
from resnet_cli.exporting.replacing import check_replaceable
from resnet_cli.exporting.verification_data import VerificationImages, images_to_calibrate
from resnet_cli.model.facts import MODEL_FILE
from resnet_cli.model.label_reliability import RESULTS
from resnet_cli.model.model_file import Model
from resnet_cli.model.output import ModelOutput
from resnet_cli.model.reliability import ValidationResults, precision_conflict
from resnet_cli.network import registry
from resnet_cli.prediction import Predictor
from resnet_cli.predictor import TorchPredictor
from resnet_cli.system.device import REFERENCE
from resnet_cli.system.events import OnStatus, OnWork, Progress, Work, counted, no_status
from resnet_cli.version import __version__


class Job:
    """One file to write.

    Args:
        model: The model to export.
        config: The format and its options.
    """

    def __init__(self, model: Model, config: ExportConfig) -> None:
        self.model, self.config = model, config
        self._format = open_format(config.format)
        self.metadata = _metadata(model, config, self._format)

    @property
    def precision(self) -> FilePrecision:
        """The precision in which weights are stored."""
        return self.metadata.precision

    @property
    def name(self) -> str:
        """The format in words, such as ``onnx int8``."""
        return self.config.format + ("" if self.precision == "fp32" else f" {self.precision}")

    @property
    def is_folder(self) -> bool:
        """Whether the format is a folder rather than a file."""
        return self._format.is_folder

    @property
    def not_run(self) -> str | None:
        """Why this machine cannot run the file in its own runtime; None if it can."""
        return self._format.cannot_run_here()

    @property
    def room_bytes(self) -> int:
        """The bytes that the disk needs at least while the file is made."""
        weights = 4 * sum(parameter.numel() for parameter in self.model.network.parameters())
        return round(weights * self._format.room[self.precision])

    def check(self) -> None:
        """Refuses what the format cannot hold, before anything is computed.

        Raises:
            ConfigError: The format does not support the model's head, or the model cannot tell an output.
            SetupError: The format needs a program that is not installed.
        """
        if self.config.outputs is not None and NOVELTY in self.config.outputs and self.model.reference is None:
            raise ConfigError(
                "--outputs novelty: the model holds no training features, with which it would compare images",
                hint="leave out novelty, or export a run",
            )
        self._format.require(self.model, self.config)

    def check_replaceable(self, out: Path) -> None:
        """Refuses an output path where there is something else than what an earlier export wrote.

        What has the name that an export chooses itself, beside the model, is replaced, and so is what ``--overwrite``
        names; a folder only with ``--overwrite``.

        Raises:
            ConfigError: It must not be replaced.
        """
        is_named = self.config.out is not None
        check_replaceable(
            out,
            self._format,
            source=self.model.path,
            may_replace=self.config.overwrite or not (is_named or self.is_folder),
            option="--out" if is_named else "",
        )

    def write(self, path: Path, on_work: OnWork | None = None) -> Predictor[Any]:
        """Writes the file, or fills the folder, and opens it in its own runtime.

        Args:
            path: The file or folder.
            on_work: Called with the progress on the images of a quantization.
        """
        calibration = functools.partial(self._calibration, on_work)
        return self._format.write(self.model, self.metadata, self.config, path, calibration=calibration)

    def adapt(
        self,
        path: Path,
        expected: ModelOutput,
        found: ModelOutput,
        targets: NDArray[np.integer[Any]],
        on_work: OnWork | None = None,
    ) -> tuple[ModelOutput, Predictor[Any]]:
        """Writes a file again with what depends on its own probabilities of the validation images.

        These are the temperature of a quantized file, the thresholds of a multi-label file, and the results from which
        operating points are derived.

        Args:
            path: The file or folder.
            expected: The model's output for validation images.
            found: The file's output for them.
            targets: Their targets.
            on_work: Called with the progress on the images of a quantization, if that has to be repeated.

        Returns:
            The output that the file now has for them, and the file, opened.
        """
        model, metadata = self.model, self.metadata
        thresholds = metadata.thresholds
        if thresholds:
            thresholds = fit_thresholds(expected.probs, found.probs, targets, thresholds)
        elif self.precision == "int8":
            temperature = refit_temperature(model.temperature, expected.probs, found.probs, targets.astype(np.int64))
            probs = at_temperature(found.probs, model.temperature, temperature)
            found, model = found._replace(probs=probs), dataclasses.replace(model, temperature=temperature)
        results = measured(found, targets, model)
        self.metadata = dataclasses.replace(
            metadata,
            temperature=model.temperature,
            thresholds=thresholds,
            reliability=results,
            most_novel=None if metadata.most_novel is None else results.most_novel,
        )
        calibration = functools.partial(self._calibration, on_work)
        return found, self._format.rewrite(model, self.metadata, self.config, path, calibration=calibration)

    def default_path(self) -> Path:
        """Beside the model of a run; in the current folder for weights from a cache."""
        path = self.model.path
        folder = path.parent if path is not None and path.name == MODEL_FILE else Path()
        return folder / self.file_name("model" if path is None or self.is_folder else path.stem)

    def file_name(self, stem: str = "model") -> str:
        """A name that contains the options, such as ``model.int8.onnx``; of a folder, such as ``litert.int8``."""
        given = {"int8": self.config.int8, "fp16": self.config.fp16, "tensor": self.config.input == "tensor"}
        options = [kind for kind, is_asked in given.items() if is_asked]
        if self.is_folder:
            return ".".join([self._format.folder or self._format.name, *options])
        return ".".join([stem, *options, self._format.name])

    def _calibration(self, on_work: OnWork | None) -> Iterator[NDArray[np.uint8]]:
        items = images_to_calibrate(self.model, self.config)
        on_progress = _reports("quantize", on_work) or (lambda done, total: None)
        return counted(map(self.model.preprocess.read, items), len(items), on_progress)


def _metadata(model: Model, config: ExportConfig, chosen: Format) -> ExportMetadata:
    wanted = set(config.wanted_outputs)
    if not chosen.has_novelty or model.reference is None:
        wanted.discard(NOVELTY)
    return ExportMetadata(
        classes=model.classes,
        preprocess=model.preprocess.to_dict(),
        temperature=model.temperature,
        input_kind=chosen.input_kind if config.input == "image" else "tensor",
        precision="int8" if config.int8 else "fp16" if config.fp16 else "fp32",
        provenance=model.provenance,
        licence=config.licence or known_licence(model),
        source_sha256=model.sha256,
        version=__version__,
        reliability=model.reliability,
        most_novel=model.reliability.most_novel if model.reliability is not None and NOVELTY in wanted else None,
        task=model.task,
        thresholds=model.thresholds,
        scaling=model.scaling,
        outputs=tuple(name for name in OUTPUTS if name in wanted),
    )


def known_licence(model: Model) -> str:
    """The license of the weights that a model was trained from, if it is known."""
    name = str(model.provenance.get("weights", model.path.name if model.path else ""))
    for known, file in registry.WEIGHTS.items():
        if name in {known, file.name}:
            return f"weights: {file.licence}"
    for known, weights in registry.HUB_WEIGHTS.items():
        if name == known or name.startswith(f"hf:{weights.repo}"):
            return f"weights: {weights.licence}"
    return "not stated"


def model_output(model: Model, images: VerificationImages, on_work: OnWork | None) -> ModelOutput:
    """The predictions of the model itself; features that a training cached are not computed again."""
    scores = evaluate(model, images.items, REFERENCE, on_progress=_reports("evaluate", on_work))
    return ModelOutput(scores.probs, scores.novelty)


def check(
    job: Job,
    path: Path,
    file: Predictor[Any],
    images: VerificationImages,
    expected: ModelOutput,
    *,
    on_work: OnWork | None,
    on_status: OnStatus = no_status,
    tries_engines: bool = True,
) -> Parity:
    """The parity check; see :mod:`resnet_cli.exporting.parity`. A file in another precision is adapted before.

    Args:
        job: The job that wrote the file.
        path: The file or folder.
        file: The same, opened.
        images: The images to check with.
        expected: The model's output for them.
        on_work: Called with the progress on the images.
        on_status: Called with what is being done after that.
        tries_engines: Whether other engines that are installed here run an ONNX file too.

    Raises:
        VerificationError: The file cannot be used in a fresh process.
    """
    model, before = job.model, job.metadata
    found = predict_all(file, images.items, _reports("compare", on_work))
    if job.precision != "fp32" and images.is_validation and before.reliability is not None:
        on_status(f"writing {job.name} with its own results")
        targets = targets_of(images.items, model.task, len(model.classes))
        found, file = job.adapt(path, expected, found, targets, on_work)
    parity = compare(
        TorchPredictor(model, REFERENCE),
        file,
        images.items,
        classes=model.classes,
        expected=expected,
        found=found,
        precision=job.precision,
        max_drop=0.0 if job.precision == "fp32" else job.config.max_drop,
        max_shift=job.config.max_shift if job.precision == "int8" else 1.0,
        thresholds=job.metadata.thresholds or None,
        data=images.description,
        on_status=on_status,
    )
    is_refitted = job.metadata.temperature != before.temperature
    parity = dataclasses.replace(
        parity,
        temperatures=(before.temperature, job.metadata.temperature) if is_refitted else None,
        caveat=precision_conflict(model.provenance, "fp32"),
    )
    if job.not_run is not None:
        # The times would be those of what computed the file instead.
        return dataclasses.replace(parity, not_run=job.not_run, file_ms={})
    on_status("asking a fresh process")
    rows = fresh_answers.choose(len(images.items))
    chosen = [images.items[row].open(model.preprocess.bit_depth) for row in rows]
    own, decisions = found.probs[rows], parity.decisions
    first = fresh_answers.first_answers(
        path, job.metadata, chosen, name=job.name, own=own, expected=expected.probs[rows], decisions=decisions
    )
    engines: tuple[EngineCheck, ...] = ()
    if tries_engines and job.config.format == "onnx":
        on_status("asking other engines")
        engines = fresh_answers.other_engines(
            path, job.metadata, chosen, own=own, expected=expected.probs[rows], decisions=decisions
        )
    return dataclasses.replace(parity, checks=(*parity.checks, first), engines=engines)


def _reports(work: Work, on_work: OnWork | None) -> Progress | None:
    return None if on_work is None else functools.partial(on_work, work)


def measured(output: ModelOutput, targets: NDArray[np.integer[Any]], model: Model) -> ValidationResults:
    """The results of a file itself on the validation split, from which operating points are derived."""
    novel = output.novelty if output.novelty is not None else np.zeros(len(targets), dtype=np.float32)
    return RESULTS[model.task].measure(output.probs, targets, novel.astype(np.float32))
