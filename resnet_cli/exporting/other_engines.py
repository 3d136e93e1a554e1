"""Other engines that are installed here, and the first answer of a fresh process: what others will see of a file.

An engine may load a file without a word and compute something else, and it may do so only for the first image after it
compiled the file. Each engine therefore runs in a new process, which also keeps its messages, its crashes and its
memory away from this one.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.machinery import PathFinder
from importlib.metadata import distributions
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.exported.metadata import ExportMetadata
from resnet_cli.exported.onnx import normalized
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.caches import temporary_folder
from resnet_cli.system.children import tied
from resnet_cli.system.extras import is_folder_without_code
from resnet_cli.system.threads import engine_threads

#: An engine that takes longer for a few images is not waited for: tract takes minutes where it emulates float16.
LONGEST_S = 20
#: Largest difference of a probability that float32 explains, and that bfloat16 does: 1e-2 was measured.
_FLOAT32, _BFLOAT16 = 1e-3, 5e-2


@dataclasses.dataclass(frozen=True)
class Engine:
    """An engine that reads ONNX files itself.

    Attributes:
        key: Its name in :data:`resnet_cli.exporting.engine_process.ENGINES`.
        name: Its name in words.
        module: What Python imports.
        distributions: The packages that contain it, any of which may be installed.
        tolerance: Largest difference of a probability that its arithmetic explains, for a file in float32.
    """

    key: str
    name: str
    module: str
    distributions: tuple[str, ...]
    tolerance: float = _FLOAT32

    def version(self, packages: Path | None = None) -> str | None:
        """The version that is installed; None if it is not installed.

        Args:
            packages: A folder of packages that precede the installed ones.
        """
        path = [*([] if packages is None else [str(packages)]), *sys.path]
        spec = PathFinder.find_spec(self.module, path)
        if spec is None or is_folder_without_code(spec):
            return None
        found = (one for name in self.distributions for one in distributions(name=name, path=path))
        return next((one.version for one in found), "of unknown version")


#: The product's own loader, for every format.
OWN = Engine("own", "resnet-cli", "resnet_cli", ("resnet-cli",))
#: The engines that people give ONNX files to, and that Python packages contain.
ENGINES = (
    Engine("onnxruntime", "ONNX Runtime", "onnxruntime", ("onnxruntime", "onnxruntime-gpu")),
    Engine("openvino", "OpenVINO", "openvino", ("openvino",), _BFLOAT16),
    Engine("openvino-f32", "OpenVINO in f32", "openvino", ("openvino",)),
    Engine(
        "opencv",
        "OpenCV",
        "cv2",
        (
            "opencv-python-headless",
            "opencv-python",
            "opencv-contrib-python-headless",
            "opencv-contrib-python",
        ),
    ),
    Engine("tract", "tract", "tract", ("tract",)),
)


@dataclasses.dataclass(frozen=True)
class EngineAnswer:
    """What an engine answered in a fresh process.

    Attributes:
        engine: The engine.
        version: Its version.
        first: Probabilities float32 [n x k], each image once in the given order; None if it refused the file.
        again: The same images once more, with the same loaded file.
        refused: Why there are no probabilities: its message, in one line; empty if there are.
        seconds: Wall time of the process.
        load_s: Seconds for importing the engine and loading the file.
        ms: Milliseconds for each timed run of the first image.
    """

    engine: Engine
    version: str
    first: NDArray[np.float32] | None = dataclasses.field(repr=False)
    again: NDArray[np.float32] | None = dataclasses.field(repr=False)
    refused: str = ""
    seconds: float = 0.0
    load_s: float = 0.0
    ms: tuple[float, ...] = ()

    def difference(self, expected: NDArray[np.float32]) -> float:
        """Largest difference of a probability from the expected ones, over both answers; infinite for NaN."""
        assert self.first is not None and self.again is not None
        difference = max(float(np.abs(found - expected).max()) for found in (self.first, self.again))
        return difference if np.isfinite(difference) else float("inf")


def installed_engines() -> Iterator[Engine]:
    """The engines that are installed here. None of them is imported."""
    return (engine for engine in ENGINES if engine.version() is not None)


def ask(
    engine: Engine,
    path: Path,
    metadata: ExportMetadata,
    images: Sequence[Image.Image],
    *,
    threads: int | None = None,
    num_timed: int = 0,
    twice: bool = True,
    packages: Path | None = None,
    python: str = sys.executable,
    longest_s: float = LONGEST_S,
) -> EngineAnswer:
    """Runs a file on images in a fresh process.

    Args:
        engine: One of :data:`ENGINES` for an ONNX file, or :data:`OWN` for any format.
        path: The file, or the folder.
        metadata: Its metadata.
        images: Decoded images, RGB; at least one.
        threads: Number of threads that compute; None: every core that the process may use.
        num_timed: How often to time the first image afterwards.
        twice: Whether to run all images once more; else ``again`` of the answer is ``first``.
        packages: A folder of packages that precede the installed ones; None: those that are installed.
        python: The Python that runs it.
        longest_s: Seconds after which the process is killed.

    Raises:
        DiskError: No temporary file can be written.
    """
    with temporary_folder() as folder:
        inputs, request, answer = (folder / name for name in ("inputs.npz", "request.json", "answer.npz"))
        whole = engine is OWN or metadata.input_kind == "picture"
        arrays = [np.asarray(image)[None] if whole else _tensor(image, metadata) for image in images]
        np.savez(inputs, *arrays)
        asked = {"engine": engine.key, "path": str(path.absolute()), "inputs": str(inputs)}
        counts = {"threads": threads or engine_threads(), "num_timed": num_timed, "twice": twice}
        request.write_text(json.dumps(asked | counts), encoding="utf-8")
        began = time.monotonic()
        refused = _run(python, request, answer, packages, longest_s)
        seconds = time.monotonic() - began
        version = engine.version(packages) or "not installed"
        if refused:
            return EngineAnswer(engine, version, None, None, refused, seconds)
        with np.load(answer, allow_pickle=False) as found:
            if "refused" in found:
                return EngineAnswer(engine, version, None, None, str(found["refused"]), seconds)
            first, again, ms = (found[name] for name in ("first", "again", "ms"))
            return EngineAnswer(engine, version, first, again, "", seconds, float(found["load_s"]), tuple(ms.tolist()))


def _tensor(image: Image.Image, metadata: ExportMetadata) -> NDArray[np.float32]:
    preprocess = Preprocess.from_dict(dict(metadata.preprocess))
    return normalized(preprocess(image)[None], preprocess)


def _run(python: str, request: Path, answer: Path, packages: Path | None, longest_s: float) -> str:
    """Runs the process; returns why it has no answer, or an empty text."""
    environment = dict(os.environ)
    if packages is not None:
        before = [environment["PYTHONPATH"]] if environment.get("PYTHONPATH") else []
        environment["PYTHONPATH"] = os.pathsep.join([str(packages), *before])
    try:
        done = subprocess.run(
            # -P: a module in the current folder must not be imported in place of another one.
            tied([python, "-P", "-m", "resnet_cli.exporting.engine_process", str(request), str(answer)]),
            stdin=subprocess.DEVNULL,
            # The engines print to both; a file of gigabytes of messages is not to be expected in so short a time.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            timeout=longest_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {longest_s:g} s"
    if done.returncode < 0:
        return f"the process was ended by signal {-done.returncode}"
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
        return lines[-1].strip()[:300]
    return ""
