"""Measures what `export` makes of a run: pixels relative to Pillow, int8 relative to float32, start-up.

    RESNET_CLI_ASSETS=... python -m benchmarks.export [RUN IMAGE] [--formats] [--quick]

Without RUN, a run on ants and bees is made first. Two files are timed in turns, so that a busy machine slows both.
`--formats` also prints what `resnet-cli export RUN --benchmark` prints.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from resnet_cli import export as export_model
from resnet_cli.engines.graph import GraphWriter
from resnet_cli.exported.onnx import OnnxModel
from resnet_cli.images import read_image
from resnet_cli.model.weights import load_model
from resnet_cli.preprocess import Preprocess

from .processes import COMMAND, finetune, run
from .setting import Setting, alone
from .table import Row, show, spread

SIZES = ((320, 240), (500, 375), (1920, 1080), (4000, 3000))
NUM_TURNS = 25
NUM_STARTS = 9
#: Number of photos with --quick, which only checks that everything runs.
QUICK_PHOTOS = 48


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("image", type=Path, nargs="?")
    parser.add_argument("--formats", action="store_true")
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    of_run, image = (path.absolute() if path else None for path in (chosen.run, chosen.image))
    with alone(quick=chosen.quick) as setting:
        of_run = of_run or make_run(setting)
        show(measure(setting, of_run=of_run, image=image))
        if chosen.formats:
            subprocess.run([COMMAND, "export", str(of_run), "--benchmark"], check=True)


def make_run(setting: Setting) -> Path:
    """Trains a head on ants and bees, with a frozen backbone."""
    out = setting.empty()
    photos = setting.few_photos(QUICK_PHOTOS) if setting.quick else setting.photos
    finetune(photos, "--mode", "frozen", "--weights", str(setting.weights), env=dict(os.environ), out=out)
    return out


def measure(setting: Setting, *, of_run: Path | None = None, image: Path | None = None) -> Iterator[Row]:
    """Measures pixels, times in turns and start-up for the files of one run."""
    of_run = of_run or make_run(setting)
    image = image or min(setting.photos.glob("val/*/*"))
    model = load_model(of_run)
    yield from compare_pixels(model.preprocess)
    files = {name: setting.scratch / f"{name}.onnx" for name in ("fp32", "fp16", "int8")}
    for name, path in files.items():
        # A few images say little about the loss of accuracy.
        drop: dict[str, Any] = {"max_drop": 0.5} if setting.quick and name != "fp32" else {}
        parity = export_model(model, out=path, fp16=name == "fp16", int8=name == "int8", **drop).parity
        first = parity.checks[0]
        details = {"images": first.num_images, "largest difference": first.max_difference, "accuracy lost": parity.drop}
        yield Row(f"{name}.onnx, same class as the model", 100 * first.agreement, "%", details=details)
    yield from compare_times(files, read_image(image), num_turns=5 if setting.quick else NUM_TURNS)
    for name in ("fp32", "int8"):
        yield time_starts(name, files[name], image, num_starts=3 if setting.quick else NUM_STARTS)


def compare_pixels(preprocess: Preprocess) -> Iterator[Row]:
    """Compares the graph's preprocessing with Pillow's, on noise: share of equal values, and milliseconds."""
    import onnxruntime

    from resnet_cli.exporting.onnx_writer.geometry import add_preprocessing

    graph = GraphWriter()
    add_preprocessing(graph, "pictures", preprocess, name="images")
    side = preprocess.crop_size
    made = graph.build({"pictures": (np.uint8, ["b", "h", "w", 3])}, {"images": ["b", 3, side, side]})
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    for width, height in SIZES:
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = Image.fromarray(pixels)
        (found,) = session.run(None, {"pictures": pixels[None]})
        std, mean = (255 * np.array(values) for values in (preprocess.std, preprocess.mean))
        same = np.mean(np.round(found[0].transpose(1, 2, 0) * std + mean) == preprocess(image))
        graph_ms = _least_ms(session.run, None, {"pictures": pixels[None]})
        details = {"graph_ms": graph_ms, "pillow_ms": _least_ms(preprocess, image), "px": side, "fit": preprocess.fit}
        yield Row(
            f"exported resize of {width} x {height}: values equal to Pillow's", 100 * float(same), "%", details=details
        )


def compare_times(files: dict[str, Path], image: Image.Image, *, num_turns: int) -> Iterator[Row]:
    """Times one image at a time, in turns, relative to float32."""
    models = {name: OnnxModel.load(path) for name, path in files.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(num_turns + 1):
        for name, model in models.items():
            began = time.perf_counter()
            model.predict_images([image])
            if turn:
                times[name].append(1000 * (time.perf_counter() - began))
    for name, found in times.items():
        ratios = [slow / fast for slow, fast in zip(times["fp32"], found, strict=True)]
        details = {"median_ms": statistics.median(found), "MB": files[name].stat().st_size / 1e6} | spread(ratios)
        bar = 2 if name == "int8" else None
        what = f"{name}.onnx, one image, speed relative to fp32"
        yield Row(what, statistics.median(ratios), "x", at_least=bar, details=details)


def time_starts(name: str, path: Path, image: Path, *, num_starts: int) -> Row:
    """Times `resnet-cli predict` from the start of the process to its end."""
    command = ("resnet-cli", "predict", str(image), "--model", str(path))
    seconds = [run(*command, env=dict(os.environ))[0] for _ in range(num_starts)]
    bar = 1.5 if name == "fp32" else None
    what = f"one image with {name}.onnx, whole process"
    return Row(what, statistics.median(seconds), "s", at_most=bar, details=spread(seconds))


def _least_ms(call: Callable[..., object], *arguments: object) -> float:
    times = []
    for _ in range(7):
        began = time.perf_counter()
        call(*arguments)
        times.append(time.perf_counter() - began)
    return 1000 * min(times)


if __name__ == "__main__":
    main()
