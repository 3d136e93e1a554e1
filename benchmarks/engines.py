"""Compares exported files in the engines that people run them with: the same answers, first answers, time, size.

    RESNET_CLI_ASSETS=... python -m benchmarks --full --only engines --json benchmarks/figures.json

A model of two classes is written in every format without the check of `export`, which would refuse what this table has
to show. Each engine computes a tenth of the photos in each of ten processes that have just started, since some engines
compute the first image differently. Packages that are missing are installed into folders of their own. Converters of
hundreds of megabytes are not: a format is made and run by the Python that RESNET_CLI_ENGINE_PYTHONS names
(`litert=/path/to/python,ncnn=...`), or by this one.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.exported.metadata import ExportMetadata
from resnet_cli.exporting.formats import FORMATS
from resnet_cli.exporting.other_engines import ENGINES, OWN, EngineAnswer, ask
from resnet_cli.images import read_image
from resnet_cli.model.weights import load_model
from resnet_cli.predictor import TorchPredictor
from resnet_cli.system.device import REFERENCE

from .export import make_run
from .setting import Setting
from .table import Row

NUM_THREADS = 2
#: Processes per engine and file, and timed runs of one image.
NUM_FRESH, NUM_TIMED = 10, 15
#: Number of photos with --quick, which only checks that everything runs.
QUICK_PHOTOS = 28
#: Seconds after which an engine is not waited for.
LONGEST_S = 300.0

#: File -> the options of `export` that make it.
FILES: Mapping[str, dict[str, Any]] = {
    "model.onnx": {},
    "model.tensor.onnx": {"input": "tensor"},
    "model.fp16.onnx": {"fp16": True},
    "model.int8.onnx": {"int8": True},
    "openvino": {"format": "openvino"},
    "openvino.fp16": {"format": "openvino", "fp16": True},
    "openvino.int8": {"format": "openvino", "int8": True},
    "executorch": {"format": "executorch"},
    "executorch.int8": {"format": "executorch", "int8": True},
    "litert": {"format": "litert"},
    "litert.int8": {"format": "litert", "int8": True},
    "ncnn": {"format": "ncnn"},
    "ncnn.fp16": {"format": "ncnn", "fp16": True},
    "mnn": {"format": "mnn"},
    "mnn.fp16": {"format": "mnn", "fp16": True},
    "mnn.int8": {"format": "mnn", "int8": True},
    "coreml": {"format": "coreml"},
    "model.pt2": {"format": "pt2"},
    "timm": {"format": "safetensors"},
}


@dataclasses.dataclass(frozen=True)
class Reader:
    """An engine and the files that it is given.

    Attributes:
        name: The engine in words.
        key: Its name in :data:`resnet_cli.exporting.engine_process.ENGINES`.
        files: Names in :data:`FILES`.
        package: What pip installs, with its version; empty if it belongs to this Python or to that of the format.
        how: How it computes, if there is a choice.
        distribution: The package whose version is shown, if ``package`` is empty.
    """

    name: str
    key: str
    files: tuple[str, ...]
    package: str = ""
    how: str = ""
    distribution: str = ""

    @property
    def version_of(self) -> str:
        """The package whose version is shown."""
        return self.package.partition("==")[0] or self.distribution


_OPENVINO, _CV = "openvino==2026.4.1", "opencv-python-headless=="
READERS = (
    Reader(
        "ONNX Runtime",
        "onnxruntime",
        ("model.onnx", "model.tensor.onnx", "model.fp16.onnx", "model.int8.onnx"),
        distribution="onnxruntime",
    ),
    Reader("OpenVINO", "openvino", ("model.onnx", "model.tensor.onnx"), _OPENVINO, "by default"),
    Reader("OpenVINO", "openvino-f32", ("model.onnx", "model.tensor.onnx", "model.int8.onnx"), _OPENVINO, "in f32"),
    Reader("OpenVINO", "own", ("openvino", "openvino.fp16", "openvino.int8"), _OPENVINO, "in f32"),
    Reader("OpenCV", "opencv", ("model.onnx", "model.tensor.onnx"), _CV + "5.0.0.93"),
    Reader("OpenCV", "opencv", ("model.tensor.onnx",), _CV + "4.13.0.92"),
    Reader("OpenCV", "opencv", ("model.tensor.onnx",), _CV + "4.11.0.86"),
    Reader("tract", "tract", ("model.onnx", "model.tensor.onnx"), "tract==0.23.9"),
    Reader("ExecuTorch", "own", ("executorch", "executorch.int8"), distribution="executorch"),
    Reader("LiteRT", "own", ("litert", "litert.int8"), distribution="ai-edge-litert"),
    Reader("ncnn", "own", ("ncnn", "ncnn.fp16"), distribution="ncnn"),
    Reader("MNN", "own", ("mnn", "mnn.fp16", "mnn.int8"), distribution="MNN"),
    Reader("Core ML", "own", ("coreml",), distribution="coremltools"),
    Reader("torch.export", "own", ("model.pt2",), distribution="torch"),
    Reader("timm", "own", ("timm",), distribution="timm"),
)
_VERSION = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
_MAKE = """
import json, sys
from pathlib import Path
from resnet_cli.config.export import ExportConfig
from resnet_cli.exporting.export import Job
from resnet_cli.model.weights import load_model
run, out, options = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
job = Job(load_model(run), ExportConfig(**options))
job.check()
if job.is_folder:
    out.mkdir()
job.write(out)
out.with_name(out.name + ".metadata").write_text(json.dumps(job.metadata.to_texts()))
"""


def measure(setting: Setting) -> Iterator[Row]:
    """One row per engine and file; the file of an engine that refuses it has a row without a time."""
    run = make_run(setting)
    photos = _photos(setting)
    model = load_model(run)
    expected = TorchPredictor(model, REFERENCE).predict_images(photos).probs
    made: dict[str, str] = {}
    for reader in READERS:
        packages = _packages(reader, setting)
        for name in reader.files:
            if FILES[name].get("format", "onnx") not in FORMATS:
                # This version does not write it.
                continue
            path = run / name
            python = _python(FILES[name].get("format", "onnx"))
            if name not in made:
                made[name] = _make(run, path, FILES[name], python, packages)
            if made[name]:
                yield _row(reader, name, "", {"not made": made[name]})
                continue
            texts = json.loads(path.with_name(path.name + ".metadata").read_text())
            metadata = ExportMetadata.from_texts(texts, name)
            comparison = _Comparison(reader, path, metadata, packages, python)
            yield comparison.row(photos, expected, num_fresh=4 if setting.quick else NUM_FRESH)


@dataclasses.dataclass(frozen=True)
class _Comparison:
    """One engine with one file."""

    reader: Reader
    path: Path
    metadata: ExportMetadata
    packages: Path | None
    python: str

    def row(self, photos: Sequence[Image.Image], expected: NDArray[np.float32], *, num_fresh: int) -> Row:
        """Times it, then divides the photos among fresh processes."""
        version = _version(self.reader, self.python, self.packages)
        timed = self._ask(photos[:1], num_timed=NUM_TIMED)
        if timed.refused:
            # It may begin with the path, of which only the name means something elsewhere.
            reason = timed.refused.replace(f"{self.path.absolute()}: ", "")
            return _row(self.reader, self.path.name, version, {"refused": reason})
        parts = np.array_split(np.arange(len(photos)), num_fresh)
        with ThreadPoolExecutor(NUM_THREADS) as pool:
            answers = list(pool.map(lambda part: self._ask([photos[place] for place in part], threads=1), parts))
        if refused := next((answer.refused for answer in answers if answer.refused), ""):
            return _row(self.reader, self.path.name, version, {"refused": refused})
        found = np.concatenate([answer.first for answer in answers if answer.first is not None])
        differences = np.abs(found - expected).max(axis=1)
        details = {
            "same class": int((found.argmax(axis=1) == expected.argmax(axis=1)).sum()),
            "photos": len(photos),
            "largest difference": float(differences.max()),
            "processes": num_fresh,
            "largest difference of a first answer": max(float(differences[part[0]]) for part in parts),
            "MB": _num_bytes(self.path) / 1e6,
        }
        return _row(self.reader, self.path.name, version, details, statistics.median(timed.ms))

    def _ask(self, photos: Sequence[Image.Image], *, num_timed: int = 0, threads: int = NUM_THREADS) -> EngineAnswer:
        engine = next(one for one in (OWN, *ENGINES) if one.key == self.reader.key)
        return ask(
            engine,
            self.path,
            self.metadata,
            photos,
            threads=threads,
            num_timed=num_timed,
            packages=self.packages,
            python=self.python,
            twice=False,
            longest_s=LONGEST_S,
        )


def _row(reader: Reader, file: str, version: str, details: dict[str, Any], ms: float | None = None) -> Row:
    engine = " ".join([reader.name, version]).strip() + (f", {reader.how}" if reader.how else "")
    return Row(f"{engine}, {file}, one image", ms, "ms", details={"engine": engine, "file": file} | details)


def _photos(setting: Setting) -> list[Image.Image]:
    """The validation photos of ants and bees, and photos of other things."""
    paths = sorted(setting.photos.glob("val/*/*")) + sorted((setting.assets / "photos" / "imagenet").glob("*/*"))
    step = max(1, len(paths) // QUICK_PHOTOS) if setting.quick else 1
    return [read_image(path) for path in paths[::step]]


def _python(format_name: str) -> str:
    pairs = (pair.partition("=") for pair in os.environ.get("RESNET_CLI_ENGINE_PYTHONS", "").split(",") if pair)
    return {name: python for name, _, python in pairs}.get(format_name, sys.executable)


def _packages(reader: Reader, setting: Setting) -> Path | None:
    """The folder with the reader's package, which is installed there without what it depends on."""
    if not reader.package:
        return None
    assert setting.peers_dir is not None
    folder = setting.peers_dir / reader.package
    if not folder.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), reader.package]
        subprocess.run(pip, capture_output=True, check=True)
    return folder


def _environment(packages: Path | None) -> dict[str, str]:
    before = [path for path in [os.environ.get("PYTHONPATH")] if path]
    found = [] if packages is None else [str(packages)]
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *found, *before])}


def _make(run: Path, path: Path, options: dict[str, Any], python: str, packages: Path | None) -> str:
    """Writes a file; returns why that failed, or an empty text."""
    command = [python, "-c", _MAKE, str(run), str(path), json.dumps(options)]
    done = subprocess.run(command, env=_environment(packages), capture_output=True, text=True)
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return lines[-1][:200] if done.returncode else ""


def _version(reader: Reader, python: str, packages: Path | None) -> str:
    command = [python, "-c", _VERSION, reader.version_of]
    done = subprocess.run(command, env=_environment(packages), capture_output=True, text=True)
    return done.stdout.strip().partition("+")[0]


def _num_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
