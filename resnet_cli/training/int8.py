"""The quantized backbone of a training with ``--precision int8``: all its features come from one file."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from resnet_cli.engines.int8_file import INT8_FILE, describe_int8, open_int8
from resnet_cli.errors import ConfigError, ModelError
from resnet_cli.exporting.verification_data import spread
from resnet_cli.model.network import ResNet50, backbone_hash
from resnet_cli.runs import RunFolder
from resnet_cli.system.device import Quantized
from resnet_cli.system.events import WorkDone, counted
from resnet_cli.system.paths import atomic_path
from resnet_cli.training.distributed import Distributed
from resnet_cli.training.events import OnEvent
from resnet_cli.training.plan import Plan


def with_quantized(
    plan: Plan, network: ResNet50, folder: RunFolder, distributed: Distributed, *, on_event: OnEvent
) -> Plan:
    """A plan in int8 with the run's quantized backbone, which is made unless the run has it; other plans as they are.

    With ``--add`` it is a copy of that of the other run: new features are used beside those that its model holds.

    Args:
        plan: The plan.
        network: Its backbone is quantized, with value ranges of training images.
        folder: The run folder, which keeps the file.
        distributed: The processes that share the training; the main one writes the file.
        on_event: Called with the progress on the images that the quantization measures.

    Raises:
        ModelError: With ``--add``: the other run has no such file.
        DiskError: The file cannot be written.
    """
    if plan.compute.precision != "int8":
        return plan
    path = folder.path / INT8_FILE
    about = describe_int8(backbone_hash(network), plan.preprocess, "")
    expected = plan.start.quantized if plan.config.add and plan.start is not None else None
    if distributed.is_main and open_int8(path, about, expected) is None:
        if plan.config.add:
            _copy(plan.weights.path, path, about, expected)
        else:
            _make(plan, network, path, about, on_event=on_event)
    distributed.wait()
    found = open_int8(path, about)
    assert found is not None
    quantized = Quantized(path, found.sha256)
    return dataclasses.replace(plan, compute=dataclasses.replace(plan.compute, quantized=quantized))


def _make(plan: Plan, network: ResNet50, path: Path, about: str, *, on_event: OnEvent) -> None:
    try:
        from resnet_cli.engines.int8 import NUM_CALIBRATION
        from resnet_cli.engines.int8_writer import quantize_backbone, write_int8
    except ImportError as error:
        raise ConfigError(
            f"--precision int8 needs onnx and onnxruntime: {error}", hint="use --precision bf16, or remove --precision"
        ) from error
    items = spread(plan.dataset.split("train"), NUM_CALIBRATION)

    def on_progress(done: int, total: int) -> None:
        on_event(WorkDone("quantize", done, total))

    squares = counted(map(plan.preprocess.read, items), len(items), on_progress)
    write_int8(quantize_backbone(network, squares, plan.preprocess), path, about, {})


def _copy(model_path: Path | None, path: Path, about: str, sha256: str | None) -> None:
    source = None if model_path is None else model_path.resolve().with_name(INT8_FILE)
    if source is None or open_int8(source, about, sha256) is None:
        raise ModelError(
            f"--add: {source or 'the quantized backbone'} is missing, damaged or that of another run, and the features "
            "in the model were computed with that of its own run",
            hint="copy the whole run folder of the model, or train a new model: remove --add",
        )
    with atomic_path(path) as temporary:
        shutil.copyfile(source, temporary)
