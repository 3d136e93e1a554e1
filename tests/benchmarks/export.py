"""Measures what `export` makes of a run: pixels against Pillow, int8 against float32, start-up, and all formats.

    python -m tests.benchmarks.export RUN PICTURE

Times of two files are taken in turns, run by run, so that a busy machine slows both; the least and the median of
them are printed. `--formats` also prints what `resnet-cli export RUN --benchmark` prints.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from resnet_cli.exporting.export import export_model
from resnet_cli.exporting.graph import GraphWriter
from resnet_cli.exporting.onnx_model import OnnxModel
from resnet_cli.images import read_image
from resnet_cli.preprocess import Preprocess
from resnet_cli.weights import load_model

SIZES = ((320, 240), (500, 375), (1920, 1080), (4000, 3000))
COMMAND = str(Path(sys.executable).with_name("resnet-cli"))
NUM_TURNS = 25
NUM_STARTS = 9


def main() -> None:
    """Prints a few tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--formats", action="store_true")
    arguments = parser.parse_args()
    model = load_model(arguments.run)
    compare_pixels(model.preprocess)
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.onnx" for name in ("fp32", "fp16", "int8")}
        for name, path in files.items():
            export_model(model, out=path, fp16=name == "fp16", int8=name == "int8")
        compare_times(files, read_image(arguments.picture))
        for name in ("fp32", "int8"):
            time_starts(name, files[name], arguments.picture)
    if arguments.formats:
        subprocess.run([COMMAND, "export", str(arguments.run), "--benchmark"], check=True)


def compare_pixels(preprocess: Preprocess) -> None:
    """The graph's preprocessing against Pillow's, on noise: values that are the same, and milliseconds."""
    import onnxruntime

    from resnet_cli.exporting.geometry import add_preprocessing

    graph = GraphWriter()
    add_preprocessing(graph, "pictures", preprocess, name="images")
    side = preprocess.crop_size
    made = graph.build({"pictures": (np.uint8, ["b", "h", "w", 3])}, {"images": ["b", 3, side, side]})
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    print(f"preprocessing to {side} px, {preprocess.fit}, {preprocess.interpolation}")
    for width, height in SIZES:
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = Image.fromarray(pixels)
        (found,) = session.run(None, {"pictures": pixels[None]})
        std, mean = (255 * np.array(values) for values in (preprocess.std, preprocess.mean))
        same = np.mean(np.round(found[0].transpose(1, 2, 0) * std + mean) == preprocess(image))
        graph_ms = _least_ms(session.run, None, {"pictures": pixels[None]})
        pillow_ms = _least_ms(preprocess, image)
        print(f"  {width} x {height}: {same:.4%} the same, graph {graph_ms:.1f} ms, Pillow {pillow_ms:.1f} ms")


def compare_times(files: dict[str, Path], image: Image.Image) -> None:
    """Milliseconds of one picture at a time, in turns."""
    models = {name: OnnxModel.load(path) for name, path in files.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(NUM_TURNS + 1):
        for name, model in models.items():
            began = time.perf_counter()
            model.answers([image])
            if turn:
                times[name].append(1000 * (time.perf_counter() - began))
    print(f"one picture of {image.width} x {image.height}, {NUM_TURNS} turns")
    for name, found in times.items():
        size = files[name].stat().st_size / 1e6
        ratios = [slow / fast for slow, fast in zip(times["fp32"], found, strict=True)]
        print(
            f"  {name}: {size:.1f} MB, least {min(found):.1f} ms, median {statistics.median(found):.1f} ms, "
            f"{statistics.median(ratios):.2f} times as fast as fp32"
        )


def time_starts(name: str, path: Path, picture: Path) -> None:
    """Seconds of `resnet-cli predict` from process start to end."""
    command = [COMMAND, "predict", str(picture), "--model", str(path)]
    seconds = []
    for _ in range(NUM_STARTS):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    print(f"predict --model {name}.onnx: least {min(seconds):.2f} s, median {statistics.median(seconds):.2f} s")


def _least_ms(call: Callable[..., object], *arguments: object) -> float:
    times = []
    for _ in range(7):
        began = time.perf_counter()
        call(*arguments)
        times.append(time.perf_counter() - began)
    return 1000 * min(times)


if __name__ == "__main__":
    main()
