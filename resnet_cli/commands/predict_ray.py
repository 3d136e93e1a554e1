"""The use case of ``predict --engine ray``: the same predictions from all cores of a cluster, in parts."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from resnet_cli.commands.predict import PredictResult, note_unfamiliar, open_inputs, rows_of
from resnet_cli.commands.predict_model import (
    OnEvent,
    Started,
    check_model_flags,
    is_exported,
    name_model,
    open_model,
    open_rule,
)
from resnet_cli.config.predict import TOPK, PredictConfig
from resnet_cli.errors import ConfigError, Interrupted
from resnet_cli.images import MAX_PIXELS
from resnet_cli.network.download import is_offline
from resnet_cli.outputs import ray_blocks, ray_cluster, shards
from resnet_cli.outputs.counts import Counts
from resnet_cli.outputs.opening import check_parents
from resnet_cli.prediction import Predictor
from resnet_cli.predictor import TorchPredictor
from resnet_cli.system.caches import temporary_folder
from resnet_cli.system.events import Status, WorkDone
from resnet_cli.version import SCHEMA_VERSION

if TYPE_CHECKING:
    from resnet_cli.model.model_file import Model
    from resnet_cli.system.device import Precision


@dataclasses.dataclass(frozen=True)
class LoadTorch:
    """Puts a model that came through Ray on the device of the machine that it came to.

    Attributes:
        model: The model, on the CPU.
        device: The device as the user chose it; a worker sees only what Ray gives it.
        precision: The precision as the user chose it.
    """

    model: Model
    device: str
    precision: Precision

    def __call__(self, num_threads: int) -> Predictor[Any]:
        """The opened model."""
        import torch

        from resnet_cli.system.device import choose_compute

        torch.set_num_threads(num_threads)
        return TorchPredictor(self.model, choose_compute(self.device, self.precision))


@dataclasses.dataclass(frozen=True)
class LoadOnnx:
    """Opens an exported model whose file came through Ray.

    Attributes:
        data: The file's bytes.
    """

    data: bytes

    def __call__(self, num_threads: int) -> Predictor[Any]:
        """The opened model."""
        from resnet_cli.exported.onnx import OnnxModel

        with temporary_folder() as folder:
            path = folder / "model.onnx"
            path.write_bytes(self.data)
            return OnnxModel.load(path, threads=num_threads)


def predict_on_ray(config: PredictConfig, *, stdin: BinaryIO, on_event: OnEvent = lambda _: None) -> PredictResult:
    """Classifies images on a Ray cluster, into a folder of parts.

    Args:
        config: What to do.
        stdin: Read once for ``--files-from -``.
        on_event: Called with each event; images are reported as counts.

    Raises:
        ResnetCliError: See ``resnet_cli.errors``; unreadable images are not errors.
        Interrupted: Ctrl-C; the finished parts are kept.
    """
    config = name_model(config)
    check_model_flags(config)
    if is_exported(config.model) and Path(str(config.model)).suffix.lower() != ".onnx":
        raise ConfigError(
            f"--model {config.model}: the only exported files that --engine ray takes are .onnx files",
            hint="use the run it came from",
        )
    _check_folders(config)
    on_event(Status("loading Ray"))
    ray_cluster.load_ray()
    inputs = open_inputs(config, stdin, on_event)
    # Opened here only to read the model: this machine may have no GPU where the others have one.
    predictor = open_model(config.model_copy(update={"device": "cpu", "precision": "fp32"}), on_event, in_torch=True)
    note_unfamiliar(predictor, on_event)
    task = _task(config, predictor, on_event)
    _begin(config, task)
    task.writer.tidy()
    skipped: list[Counts] = []
    new = Counts()
    with _kept(config), ray_cluster.cluster(config.ray_address) as ray:
        on_event(Started(inputs.total))
        for counts in ray_blocks.predict_blocks(
            ray,
            shards.unfinished(shards.blocks(inputs.items, block_size=shards.BLOCK_SIZE), task.writer, skipped),
            load=_load(predictor, config),
            task=task,
            device=_device(config, predictor),
        ):
            new += counts
            on_event(WorkDone("predict", new.num, inputs.total))
    task.writer.tidy()
    before = sum(skipped, Counts())
    num, num_failed = new.num + before.num, new.num_failed + before.num_failed
    assert config.output is not None
    return PredictResult(
        num=num,
        num_failed=num_failed,
        num_unknown=new.num_unknown,
        num_none=new.num_none,
        num_unfamiliar=new.num_unfamiliar,
        false_alarms=predictor.reliability.false_alarms if predictor.reliability else None,
        num_written=num - num_failed,
        num_before=before.num - before.num_failed if skipped else None,
        failed=config.output / shards.FAILED_FOLDER,
    )


def _check_folders(config: PredictConfig) -> None:
    check_parents(config)
    for flag, path in (("--out", config.output), ("--embeddings", config.embeddings)):
        if path is not None and path.exists() and not path.is_dir():
            raise ConfigError(f"{flag} {path}: with --engine ray it is a folder", hint="choose another name")


def _task(config: PredictConfig, predictor: Predictor[Any], on_event: OnEvent) -> ray_blocks.Task:
    from resnet_cli.outputs.prediction_files import made_by

    assert config.output is not None and predictor.path is not None
    rule = open_rule(config, predictor, on_event)
    topk = min(config.topk or TOPK, len(predictor.classes))
    kind: shards.PartFormat = "json" if config.format == "json" else "parquet"
    layout = rows_of(config, predictor).in_file()
    name = made_by(predictor.path, (topk, rule), layout)
    writer = shards.PartWriter(config.output.absolute(), kind, name, layout=layout)
    if config.embeddings is not None:
        from resnet_cli.model.output import NUM_FEATURES

        writer = dataclasses.replace(writer, features=config.embeddings.absolute(), num_features=NUM_FEATURES)
    return ray_blocks.Task(
        writer,
        topk,
        config.max_pixels or MAX_PIXELS,
        batch_size=config.batch_size,
        rule=rule,
        all_probs=config.all_probs,
        offline=is_offline(config.offline),
    )


def _begin(config: PredictConfig, task: ray_blocks.Task) -> None:
    settings = {
        "schema_version": SCHEMA_VERSION,
        "made_by": task.writer.made_by,
        "precision": config.precision,
        "max_pixels": task.max_pixels,
        "block_size": shards.BLOCK_SIZE,
    }
    assert config.output is not None
    shards.begin(config.output, "--out", {**settings, "format": task.writer.kind})
    if config.embeddings is not None:
        shards.begin(config.embeddings, "--embeddings", {**settings, "format": "features"})


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
def _kept(config: PredictConfig) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as interrupt:
        kept = f"the finished parts are in {config.output}; the same command continues with them"
        raise Interrupted(kept, signal=getattr(interrupt, "signal", None)) from None
