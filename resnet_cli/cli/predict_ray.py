"""``resnet-cli predict --engine ray``: the same answers from every core of a cluster, in parts."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import typer

from resnet_cli.cli import output
from resnet_cli.cli.predict_models import check_exported, choose_model, is_exported, rule_of
from resnet_cli.cli.predict_outputs import Counting
from resnet_cli.cli.predict_request import TOPK, Request
from resnet_cli.cli.predict_run import EXIT_SOME_UNREADABLE, open_inputs
from resnet_cli.config.base import Resolved
from resnet_cli.config.predict import PredictConfig
from resnet_cli.errors import ConfigError, DiskError, Interrupted
from resnet_cli.images import MAX_PIXELS
from resnet_cli.network.download import is_offline
from resnet_cli.outputs import ray_blocks, ray_cluster, shards
from resnet_cli.prediction import Predictor
from resnet_cli.predictor import TorchPredictor
from resnet_cli.version import SCHEMA_VERSION

if TYPE_CHECKING:
    from resnet_cli.model.network import Model
    from resnet_cli.system.device import Precision

DEVICES = ("auto", "cpu", "cuda")


@dataclasses.dataclass(frozen=True)
class LoadTorch:
    """Makes a model that has come through Ray ready, on the machine that it has come to.

    Attributes:
        model: On the CPU.
        device: As asked for; what Ray gives a worker is all that it sees.
        precision: As asked for.
    """

    model: Model
    device: str
    precision: Precision

    def __call__(self, num_threads: int) -> Predictor[Any]:
        """The network."""
        import torch

        from resnet_cli.system.device import choose_compute

        torch.set_num_threads(num_threads)
        return TorchPredictor(self.model, choose_compute(self.device, self.precision))


@dataclasses.dataclass(frozen=True)
class LoadOnnx:
    """Opens an exported model whose file has come through Ray.

    Attributes:
        data: The file's bytes.
    """

    data: bytes

    def __call__(self, num_threads: int) -> Predictor[Any]:
        """The model."""
        from resnet_cli.exported.onnx import OnnxModel

        with tempfile.TemporaryDirectory(prefix="resnet-cli-") as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(self.data)
            return OnnxModel.load(path, threads=num_threads)


def run_on_ray(request: Request, resolved: Resolved[PredictConfig], model: str | None, *, stdin: BinaryIO) -> None:
    """Answers images on a cluster.

    Raises:
        ResnetCliError: As the core does.
        typer.Exit: Some images could not be read.
    """
    config = resolved.config
    if is_exported(model):
        check_exported(config, needs_torch={"--embeddings": request.embeddings}, origins=resolved.origins)
        if Path(str(model)).suffix.lower() != ".onnx":
            raise ConfigError(
                f"--model {model}: of what was exported --engine ray takes .onnx files", hint="or the run it came from"
            )
    _check_folders(request, config)
    with output.status("loading Ray", quiet=request.quiet):
        ray_cluster.load_ray()
    inputs = open_inputs(request, config, stdin)
    # Only to know the model: this machine may have no GPU where the others do.
    predictor = choose_model(
        model, config.model_copy(update={"device": "cpu", "precision": "fp32"}), quiet=request.quiet
    )
    task = _task(request, config, predictor)
    _begin(request, config, task)
    task.writer.tidy()
    skipped: list[shards.Counts] = []
    with (
        _kept(request),
        ray_cluster.cluster(request.ray_address) as ray,
        Counting(inputs.total, quiet=request.quiet, is_shown=False) as counting,
    ):
        answered = ray_blocks.answer_blocks(
            ray,
            shards.unfinished(shards.blocks(inputs.items, block_size=shards.BLOCK_SIZE), task.writer, skipped),
            load=_load(predictor, config),
            task=task,
            device=_device(config, predictor),
        )
        for counts in answered:
            counting.num += counts.num
            counting.num_failed += counts.num_failed
            counting.num_unknown += counts.num_unknown
            counting.show(counting.num)
    task.writer.tidy()
    _finish(request, counting, skipped)


def _check_folders(request: Request, config: PredictConfig) -> None:
    assert request.output is not None
    if config.device not in DEVICES:
        raise ConfigError(
            f"--device {config.device}: with --engine ray it is one of {', '.join(DEVICES)}",
            hint="Ray says which worker has which device",
        )
    for flag, path in (("--output", request.output), ("--embeddings", request.embeddings)):
        if path is None:
            continue
        if not path.parent.is_dir():
            raise DiskError(f"{flag} {path}: there is no folder {path.parent}", hint=f"mkdir -p {path.parent}")
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{flag} {path}: with --engine ray it is a folder", hint="name another")
    if request.embeddings is not None and request.embeddings.absolute() == request.output.absolute():
        raise ConfigError(f"--embeddings {request.embeddings}: holds the answers", hint="name another folder")


def _task(request: Request, config: PredictConfig, predictor: Predictor[Any]) -> ray_blocks.Task:
    from resnet_cli.outputs.prediction_files import made_by

    assert request.output is not None
    assert predictor.path is not None
    rule = rule_of(predictor, config)
    topk = min(request.topk or TOPK, len(predictor.classes))
    writer = shards.PartWriter(
        request.output.absolute(),
        "json" if request.kind == "json" else "parquet",
        made_by(predictor.path, (topk, rule)),
    )
    if request.embeddings is not None:
        from resnet_cli.model.network import NUM_FEATURES

        writer = dataclasses.replace(writer, features=request.embeddings.absolute(), num_features=NUM_FEATURES)
    return ray_blocks.Task(
        writer,
        topk,
        config.max_pixels or MAX_PIXELS,
        batch_size=request.batch_size,
        rule=rule,
        offline=is_offline(config.offline),
    )


def _begin(request: Request, config: PredictConfig, task: ray_blocks.Task) -> None:
    settings = {
        "schema_version": SCHEMA_VERSION,
        "made_by": task.writer.made_by,
        "precision": config.precision,
        "max_pixels": task.max_pixels,
        "block_size": shards.BLOCK_SIZE,
    }
    assert request.output is not None
    shards.begin(request.output, "--output", {**settings, "format": task.writer.kind})
    if request.embeddings is not None:
        shards.begin(request.embeddings, "--embeddings", {**settings, "format": "features"})


def _load(predictor: Predictor[Any], config: PredictConfig) -> ray_blocks.Load:
    if isinstance(predictor, TorchPredictor):
        return LoadTorch(predictor.model, config.device, config.precision)
    assert predictor.path is not None
    return LoadOnnx(predictor.path.read_bytes())


def _device(config: PredictConfig, predictor: Predictor[Any]) -> ray_cluster.Device:
    if not isinstance(predictor, TorchPredictor) or config.device == "cpu":
        return "cpu"
    return "cuda" if config.device == "cuda" else "auto"


@contextlib.contextmanager
def _kept(request: Request) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as interrupt:
        kept = f"the finished parts are in {request.output}; the same command goes on with them"
        raise Interrupted(kept, signal=getattr(interrupt, "signal", None)) from None


def _finish(request: Request, counting: Counting, skipped: list[shards.Counts]) -> None:
    failed_before = sum(counts.num_failed for counts in skipped)
    num_before = sum(counts.num for counts in skipped)
    num, num_failed = counting.num + num_before, counting.num_failed + failed_before
    if not request.quiet:
        unknown = f", {counting.num_unknown:,} of them unknown" if counting.num_unknown else ""
        before = f", {num_before - failed_before:,} of them from before" if skipped else ""
        output.note(f"{num - num_failed:,} answers in {request.output}{unknown}{before}")
        if num_failed:
            where = f"{request.output}/{shards.FAILED_FOLDER}"
            output.note(f"{num_failed:,} of {num:,} images could not be read: {where} says why")
    if num_failed:
        raise typer.Exit(EXIT_SOME_UNREADABLE)
