"""Runs a file in one engine, as a process of its own: other programs open a file in a process that has just started.

    python -m resnet_cli.exporting.engine_process REQUEST ANSWER

REQUEST is a JSON file: ``engine`` (a key of :data:`ENGINES`), ``path`` of the file, ``inputs`` (an ``.npz`` file),
``threads``, ``num_timed`` and ``twice``. ANSWER is the ``.npz`` file that is written: ``first`` and ``again``, the
probabilities float32 [n x k] of the inputs in their order, computed twice with the same loaded file (both are the same
array unless ``twice`` is true); ``load_s``, the seconds for importing the engine and loading the file; ``ms``, the
milliseconds of each of ``num_timed`` runs of the first input. If the engine raises an error, it is ``refused``, its
message.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from resnet_cli.exported.metadata import PROBS
from resnet_cli.system.no_telemetry import import_onnxruntime

#: Characters of an engine's message that are kept.
MAX_REASON = 300
#: One input, with its batch dimension of one -> probabilities [1 x k].
Run: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]


def load_own(path: str, threads: int) -> Run:
    """An exported file or folder of any format in its own loader; the input is an image, uint8 [1 x h x w x 3]."""
    from PIL import Image

    from resnet_cli.exported.opening import open_exported

    # The parent process has just written it.
    model = open_exported(Path(path), trusted=True)
    return lambda array: model.predict_images([Image.fromarray(array[0])]).probs


def load_onnxruntime(path: str, threads: int) -> Run:
    """ONNX Runtime on the CPU, with its own defaults except for the number of threads."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (only,) = session.get_inputs()
    return lambda array: np.asarray(session.run([PROBS], {only.name: array})[0])


def load_openvino(path: str, threads: int, precision: str | None = None) -> Run:
    """OpenVINO, which reads ONNX files itself; by default it computes in bfloat16 on processors that have it."""
    import openvino

    options: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads}
    if precision:
        options["INFERENCE_PRECISION_HINT"] = precision
    compiled = openvino.Core().compile_model(path, "CPU", options)
    probs = compiled.output(PROBS)
    return lambda array: np.array(compiled([array])[probs])


def load_opencv(path: str, threads: int) -> Run:
    """OpenCV's ``cv2.dnn``."""
    import cv2

    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromONNX(path)

    def run(array: NDArray[Any]) -> NDArray[Any]:
        net.setInput(array)
        return np.array(net.forward(PROBS))

    return run


def load_tract(path: str, threads: int) -> Run:
    """tract: each size of the input is a program of its own."""
    import tract

    programs: dict[tuple[int, ...], tuple[Any, int]] = {}
    kinds = {"float32": "f32", "uint8": "u8"}

    def program(array: NDArray[Any]) -> tuple[Any, int]:
        model = tract.onnx().load(path)
        names = [model.output_name(place) for place in range(model.output_count())]
        model.set_input_fact(0, ",".join([*map(str, array.shape), kinds[array.dtype.name]]))
        return model.into_model().into_runnable(), names.index(PROBS)

    def run(array: NDArray[Any]) -> NDArray[Any]:
        made = programs.get(array.shape)
        if made is None:
            made = programs[array.shape] = program(array)
        return np.array(made[0].run([array])[made[1]].to_numpy())

    return run


#: Name -> what loads a file: (path, number of threads) -> :data:`Run`.
ENGINES: Mapping[str, Callable[[str, int], Run]] = {
    "own": load_own,
    "onnxruntime": load_onnxruntime,
    "openvino": load_openvino,
    "openvino-f32": lambda path, threads: load_openvino(path, threads, "f32"),
    "opencv": load_opencv,
    "tract": load_tract,
}


def main(request: str, answer: str) -> None:
    """Answers a request."""
    asked = json.loads(Path(request).read_text(encoding="utf-8"))
    with np.load(asked["inputs"], allow_pickle=False) as stored:
        inputs = [stored[name] for name in stored.files]
    try:
        found = _answer(asked, inputs)
    # The engines' errors have no common base class.
    except Exception as error:  # noqa: BLE001
        found = {"refused": _reason(error)}
    np.savez(answer, **found)


def _answer(asked: Mapping[str, Any], inputs: Sequence[NDArray[Any]]) -> dict[str, Any]:
    began = time.perf_counter()
    run = ENGINES[asked["engine"]](asked["path"], asked["threads"])
    load_s = time.perf_counter() - began
    first = _probs(run, inputs)
    again = _probs(run, inputs) if asked["twice"] else first
    times = []
    for _ in range(asked["num_timed"]):
        began = time.perf_counter()
        run(inputs[0])
        times.append(1000 * (time.perf_counter() - began))
    return {"first": first, "again": again, "load_s": load_s, "ms": times}


def _probs(run: Run, inputs: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    return np.concatenate([run(array) for array in inputs]).astype(np.float32)


def _reason(error: Exception) -> str:
    """The message in one line, without the stack that some engines put into it."""
    text = str(error).partition("Stack backtrace")[0]
    return " ".join(text.split())[:MAX_REASON] or type(error).__name__


if __name__ == "__main__":
    main(*sys.argv[1:])
