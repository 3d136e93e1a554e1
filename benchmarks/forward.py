"""Measures ways to run the backbone on the CPU in float32: speed relative to torch's own forward, set-up, and outputs.

    RESNET_CLI_ASSETS=... python -m benchmarks.forward [--threads 2] [--sides 224 128 64] [--batches 1 16 32]
        [--rounds 5] [--photos 200] [--compile] [--spin] [--json FILE]

All ways take turns, a few batches each, in one process; the figure is the median over the rounds of torch's time
divided by theirs. Processor time is given beside it, since wall time says little on a machine that others use too. All
are compared with torch's own forward: BatchNorms folded, channels last. ``openvino`` is measured if it is installed.

Outputs are probabilities of ImageNet's classes for the same batch of real photos.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from resnet_cli import load
from resnet_cli.data.loading import stack
from resnet_cli.engines.graph import GraphWriter
from resnet_cli.engines.layers import add_features
from resnet_cli.engines.onednn import pack
from resnet_cli.images import decode
from resnet_cli.model.model_file import Model
from resnet_cli.preprocess import Preprocess

from .table import Row, head

#: Work per round: about a second of one core.
IMAGES_AT_224 = 8
BASE = "torch"

Forward = Callable[[Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to run the backbone, ready for use.

    Attributes:
        name: Name in the table.
        run: Images float32 [b x 3 x s x s], channels last -> features [b x 2048].
        setup_s: Seconds from the network in memory until it is ready, including the import of another library.
    """

    name: str
    run: Forward
    setup_s: float


def our_forward(model: Model, side: int, batch_size: int) -> Forward:
    """What ``FrozenBackbone`` runs if it can."""
    return pack(model.network.folded(), side, batch_size).features


def torch_forward(model: Model, side: int, batch_size: int) -> Forward:
    """torch, channels last."""
    return model.network.folded().to(memory_format=torch.channels_last).features


def contiguous_forward(model: Model, side: int, batch_size: int) -> Forward:
    """torch, channels first."""
    network = model.network.folded()
    return lambda images: network.features(images.contiguous())


def compiled_forward(model: Model, side: int, batch_size: int) -> Forward:
    """``torch.compile`` with frozen weights, for this batch size."""
    import torch._inductor.config as inductor

    inductor.freezing = True
    network = model.network.folded().to(memory_format=torch.channels_last)
    compiled: Forward = torch.compile(network.features)
    compiled(torch.zeros(batch_size, 3, side, side).contiguous(memory_format=torch.channels_last))
    return compiled


def onnx_bytes(model: Model, side: int) -> bytes:
    """The backbone as an ONNX graph."""
    graph = GraphWriter()
    features = add_features(graph, "images", model.network.folded())
    proto = graph.build({"images": (np.float32, ["b", 3, side, side])}, {features: ["b", 2048]})
    return bytes(proto.SerializeToString())


def runtime_forward(model: Model, side: int, batch_size: int, *, spin: bool = False) -> Forward:
    """ONNX Runtime with as many threads as torch has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    session = onnxruntime.InferenceSession(onnx_bytes(model, side), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.contiguous().numpy()})[0])


def spinning_forward(model: Model, side: int, batch_size: int) -> Forward:
    """ONNX Runtime whose threads spin while they wait for work, which is its default."""
    return runtime_forward(model, side, batch_size, spin=True)


def openvino_forward(model: Model, side: int, batch_size: int) -> Forward:
    """OpenVINO in float32 with as many threads as torch has."""
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(core.read_model(model=onnx_bytes(model, side), weights=b""), "CPU", settings)
    return lambda images: torch.from_numpy(compiled(images.contiguous().numpy())[0])


def make_ways(chosen: argparse.Namespace, model: Model, side: int, batch_size: int) -> list[Way]:
    """All requested ways, torch first."""
    makers = {BASE: torch_forward, "torch, channels first": contiguous_forward, "ours: packed": our_forward}
    makers["ONNX Runtime"] = runtime_forward
    makers |= {"ONNX Runtime, spinning": spinning_forward} if chosen.spin else {}
    makers |= {"openvino": openvino_forward} if find_spec("openvino") else {}
    makers |= {"torch.compile, freezing": compiled_forward} if chosen.compile else {}
    ways = []
    for name, make in makers.items():
        began = time.perf_counter()
        run = make(model, side, batch_size)
        ways.append(Way(name, run, time.perf_counter() - began))
    return ways


def photos(assets: Path, count: int, preprocess: Preprocess) -> Tensor:
    """Photos of many classes as the network's input, [n x 3 x s x s]."""
    ours = sorted((assets / "photos" / "imagenet").rglob("*.jpg")) + sorted((assets / "photos").rglob("val/*/*.jpg"))
    shown = ours[:: max(1, len(ours) // count)][:count]
    return preprocess.normalize(stack([preprocess(decode(path.read_bytes(), str(path))) for path in shown]))


def time_of(way: Way, images: Tensor, num_passes: int) -> tuple[float, float]:
    """Seconds per image: wall time and processor time."""
    way.run(images)
    clock, processor = time.perf_counter(), time.process_time()
    for _ in range(num_passes):
        way.run(images)
    num_images = num_passes * len(images)
    return (time.perf_counter() - clock) / num_images, (time.process_time() - processor) / num_images


def measure(chosen: argparse.Namespace, model: Model, images: Tensor, batch_size: int) -> Iterator[Row]:
    """Measures all ways at one image size and one batch size."""
    side = images.shape[-1]
    ways = make_ways(chosen, model, side, batch_size)
    batch = images[:batch_size].contiguous(memory_format=torch.channels_last)
    num_passes = max(1, round(IMAGES_AT_224 * (224 / side) ** 2 / len(batch)))
    times: dict[str, list[tuple[float, float]]] = {way.name: [] for way in ways}
    for _ in range(chosen.rounds):
        for way in ways:
            times[way.name].append(time_of(way, batch, num_passes))
    parts = [part.contiguous(memory_format=torch.channels_last) for part in torch.split(images, batch_size)]
    features = {way.name: torch.cat([way.run(part) for part in parts]) for way in ways}
    probs = {name: torch.softmax(model.network.fc(found), dim=1) for name, found in features.items()}
    for way in ways:
        pairs = list(zip(times[BASE], times[way.name], strict=True))
        details: dict[str, Any] = {
            "images_per_s": 1 / statistics.median(clock for clock, _ in times[way.name]),
            "processor_ratio": statistics.median(a[1] / b[1] for a, b in pairs),
            "processor_ms": 1e3 * statistics.median(processor for _, processor in times[way.name]),
            "setup_s": way.setup_s,
            "feature_diff": f"{float((features[way.name] - features[BASE]).abs().max() / features[BASE].max()):.1e}",
            "prob_diff": f"{float((probs[way.name] - probs[BASE]).abs().max()):.1e}",
            "top1_agrees": float((probs[way.name].argmax(1) == probs[BASE].argmax(1)).float().mean()),
        }
        ratio = statistics.median(a[0] / b[0] for a, b in pairs)
        yield Row(f"{side} px, batch {batch_size}: {way.name}", ratio, "x", details=details)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="number of threads; all by default")
    parser.add_argument("--sides", type=int, nargs="+", default=[224, 128, 64], help="pixels")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 32], help="images per forward pass")
    parser.add_argument("--rounds", type=int, default=5, help="turns for every way")
    parser.add_argument("--photos", type=int, default=200, help="number of photos whose outputs are compared")
    parser.add_argument("--compile", action="store_true", help="also torch.compile (a minute per batch size)")
    parser.add_argument("--spin", action="store_true", help="also ONNX Runtime with spinning threads")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    chosen = parser.parse_args()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    warnings.simplefilter("ignore")
    assets = Path(os.environ["RESNET_CLI_ASSETS"])
    model = load(next((assets / "weights").glob("*.safetensors")))
    about = head(gpu=False) | {"command": " ".join(["python -m benchmarks.forward", *sys.argv[1:]])}
    print("\n".join(f"{name:<9} {text}" for name, text in about.items()))
    found = []
    with torch.inference_mode():
        for side in chosen.sides:
            preprocess = dataclasses.replace(model.preprocess, resize_size=round(side * 8 / 7), crop_size=side)
            images = photos(assets, chosen.photos, preprocess)
            for batch_size in chosen.batches:
                for row in measure(chosen, model, images, batch_size):
                    found.append(row)
                    print(row, flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps({**about, "rows": [vars(row) for row in found]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
