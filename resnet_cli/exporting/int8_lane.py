"""Quantizes the backbone of a model once, checks it on the model's validation images, and keeps it beside the model."""

from __future__ import annotations

import dataclasses
import functools
import shlex
from pathlib import Path

import numpy as np
from onnx import ModelProto

from resnet_cli.config.export import ExportConfig
from resnet_cli.data.dataset import targets_of
from resnet_cli.engines.backbone_file import MAX_ENGINES_BYTES
from resnet_cli.engines.int8_file import INT8_FILE, int8_places, open_int8
from resnet_cli.engines.int8_writer import quantize_backbone, write_int8
from resnet_cli.errors import ConfigError, DiskError, ResnetCliError, VerificationError
from resnet_cli.evaluation.evaluate import evaluate
from resnet_cli.exporting.decisions import DECISIONS, fit_thresholds
from resnet_cli.exporting.export import Job, model_output
from resnet_cli.exporting.verification_data import VerificationImages, images_to_calibrate, images_to_verify
from resnet_cli.int8_predictor import COST, about_int8
from resnet_cli.model.label_reliability import RESULTS
from resnet_cli.model.lane_cost import LaneCost
from resnet_cli.model.model_file import Model
from resnet_cli.model.network import backbone_hash
from resnet_cli.model.output import ModelOutput
from resnet_cli.system.caches import evict, temporary_folder
from resnet_cli.system.device import Quantized, choose_compute
from resnet_cli.system.events import OnWork, Progress, counted
from resnet_cli.system.paths import engines_dir, make_dir

#: Most that a score may fall, as a share; the same limit as the default for exports.
MAX_DROP = 0.01
#: Most that probabilities may change: the mean over the images of the largest difference. A ResNet-50 with 1,000
#: classes had 0.03, one with two classes 0.004 (253 and 153 photos).
MAX_MEAN_DIFFERENCE = 0.1


def keep_int8(model: Model, *, offline: bool = False, on_work: OnWork | None = None) -> LaneCost:
    """Quantizes the backbone of a model, calibrated on its training images, and writes it with what it costs.

    Args:
        model: The model, loaded from a file.
        offline: Whether downloads are forbidden.
        on_work: Called with the progress on the images.

    Raises:
        ConfigError: The images of the model's run cannot be found.
        VerificationError: It costs too much; nothing is written.
        DiskError: The file cannot be written.
    """
    job = Job(model, ExportConfig(int8=True, offline=offline))
    about = about_int8(backbone_hash(model.network), model.preprocess, model.provenance, model.sha256)
    try:
        images = images_to_verify(model, job.config)
        calibration = images_to_calibrate(model, job.config)
    except ResnetCliError as error:
        raise ConfigError(
            f"--precision int8 needs the images that the model was trained on: {error.message}",
            hint="name others, and use the file that is made: resnet-cli export "
            f"{shlex.quote(str(model.path))} --int8 --calibrate-with DATA --verify-with LABELED_DATA; or use "
            "--precision bf16",
        ) from error
    on_work = on_work or (lambda work, done, total: None)
    exact = model_output(model, images, on_work)
    squares = counted(map(model.preprocess.read, calibration), len(calibration), functools.partial(on_work, "quantize"))
    proto = quantize_backbone(model.network, squares, model.preprocess)
    found = _compute(model, proto, about, images, on_progress=functools.partial(on_work, "compare"))
    targets = targets_of(images.items, model.task, len(model.classes))
    thresholds = model.thresholds
    if thresholds:
        thresholds = fit_thresholds(exact.probs, found.probs, targets, thresholds)
    cost = measure_cost(model, images, exact, found, precision="int8", thresholds=thresholds)
    decisions = DECISIONS[model.task](model.classes, model.thresholds, thresholds or None)
    drops = decisions.drops(exact.probs, found.probs, targets)
    _require(cost, decisions.exceeded(drops, MAX_DROP, len(targets)))
    novelty = found.novelty if found.novelty is not None else np.zeros(len(targets), dtype=np.float32)
    results = RESULTS[model.task].measure(found.probs, targets, novelty.astype(np.float32))
    metadata = dataclasses.replace(job.metadata, reliability=results, thresholds=thresholds)
    _write(model, proto, about, metadata.to_texts() | {COST: cost.to_text()})
    return cost


def measure_cost(
    model: Model,
    images: VerificationImages,
    exact: ModelOutput,
    found: ModelOutput,
    *,
    precision: str,
    thresholds: tuple[float, ...] = (),
) -> LaneCost:
    """Compares predictions in some precision with those in float32.

    Args:
        model: The model.
        images: Its validation images.
        exact: The output for them in float32.
        found: The output in the other precision.
        precision: The name of the precision.
        thresholds: Multi-label: the thresholds in the other precision, if they differ.
    """
    decisions = DECISIONS[model.task](model.classes, model.thresholds, thresholds or None)
    targets = targets_of(images.items, model.task, len(model.classes))
    differences = np.abs(exact.probs - found.probs).max(axis=1)
    return LaneCost(
        precision=precision,
        num_images=len(targets),
        same=decisions.same,
        agreement=float(decisions.are_same(exact.probs, found.probs).mean()),
        score=decisions.score,
        exact=decisions.rate(exact.probs, targets).value,
        found=decisions.rate(found.probs, targets).value,
        max_difference=float(differences.max()),
        mean_difference=float(differences.mean()),
    )


def _compute(
    model: Model, proto: ModelProto, about: str, images: VerificationImages, *, on_progress: Progress
) -> ModelOutput:
    """The model's output in int8; its features stay in the cache."""
    with temporary_folder() as folder:
        path = folder / INT8_FILE
        write_int8(proto, path, about, {})
        opened = open_int8(path, about)
        assert opened is not None
        compute = dataclasses.replace(choose_compute("cpu", "int8"), quantized=Quantized(path, opened.sha256))
        scores = evaluate(model, images.items, compute, on_progress=on_progress)
    return ModelOutput(scores.probs, scores.novelty)


def _require(cost: LaneCost, reasons: list[str]) -> None:
    if not cost.mean_difference <= MAX_MEAN_DIFFERENCE:
        reasons = [*reasons, f"probabilities change by {cost.mean_difference:.2f} on average"]
    if reasons:
        raise VerificationError(
            f"the quantized model is too different from the model itself ({cost.sentence()}): {'; '.join(reasons)}",
            hint="use --precision bf16, or remove --precision",
        )


def _write(model: Model, proto: ModelProto, about: str, texts: dict[str, str]) -> Path:
    error: DiskError | None = None
    for path in int8_places(model.path, about):
        try:
            write_int8(proto, make_dir(path.parent) / path.name, about, texts)
        except DiskError as caught:
            error = error or caught
            continue
        if path.parent == engines_dir():
            evict(engines_dir().glob("*.onnx"), MAX_ENGINES_BYTES)
        return path
    assert error is not None
    raise error
