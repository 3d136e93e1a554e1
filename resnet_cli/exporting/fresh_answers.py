"""What a file gives in processes that have just started: in its own runtime, and in other engines that are installed.

Some engines compute the first image after compiling a file differently from every later one, which a comparison in the
process that wrote the file never sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.errors import VerificationError
from resnet_cli.exported.metadata import ExportMetadata
from resnet_cli.exporting.decisions import Decisions
from resnet_cli.exporting.other_engines import OWN, ask, installed_engines
from resnet_cli.exporting.parity_result import Check, EngineCheck

#: Number of images; a process predicts each of them alone, and then once more.
NUM_IMAGES = 4
#: Seconds after which a process is killed. Loading a format may compile it.
LONGEST_S = 600
#: Largest difference of a probability from the same file in another process, in whichever precision.
TOLERANCE = 1e-3
#: The same from another engine, for files that are not in float32: engines round in different places.
ROUNDED_TOLERANCE = 5e-2
#: Engine of :mod:`resnet_cli.exporting.other_engines` -> how to get the right answers with it.
ADVICE: Mapping[str, str] = {
    "openvino": "compile it with INFERENCE_PRECISION_HINT f32, or export with --format openvino",
    "openvino-f32": "export with --format openvino, or with --input tensor",
}
_OTHERWISE = "export with --input tensor, or use ONNX Runtime"


def choose(num: int) -> list[int]:
    """Positions of the images to use, out of ``num``: evenly spaced, the first one included."""
    return list(dict.fromkeys(np.linspace(0, num - 1, NUM_IMAGES).round().astype(int).tolist()))


def first_answers(
    path: Path,
    metadata: ExportMetadata,
    images: Sequence[Image.Image],
    *,
    name: str,
    own: NDArray[np.float32],
    expected: NDArray[np.float32],
    decisions: Decisions,
) -> Check:
    """Opens a file in a fresh process and compares what it predicts there, from its first answer on.

    Args:
        path: The file or folder.
        metadata: Its metadata.
        images: Decoded images.
        name: The format in words.
        own: The file's probabilities of the images in this process [n x k].
        expected: The model's probabilities of them [n x k].
        decisions: What counts as the same prediction.

    Raises:
        VerificationError: The file cannot be used there.
    """
    answer = ask(OWN, path, metadata, images, longest_s=LONGEST_S)
    if answer.first is None or answer.again is None:
        raise VerificationError(
            f"{name} cannot be used in a process that has just started, and was not written: {answer.refused}",
            hint="please report a bug",
        )
    difference = answer.difference(own)
    is_close = difference <= TOLERANCE
    agreement = min(float(decisions.are_same(expected, found).mean()) for found in (answer.first, answer.again))
    if is_close:
        # What matters then is the difference from the model.
        difference = answer.difference(expected)
    return Check("in a fresh process", len(images), difference, agreement, is_close)


def other_engines(
    path: Path,
    metadata: ExportMetadata,
    images: Sequence[Image.Image],
    *,
    own: NDArray[np.float32],
    expected: NDArray[np.float32],
    decisions: Decisions,
) -> tuple[EngineCheck, ...]:
    """Runs an ONNX file in every other engine that is installed here.

    Args:
        path: The file.
        metadata: Its metadata.
        images: Decoded images.
        own: The file's probabilities of them in ONNX Runtime [n x k].
        expected: The model's probabilities of them [n x k].
        decisions: What counts as the same prediction.
    """
    checks = []
    for engine in installed_engines():
        if engine.key == "onnxruntime":
            # The file's own runtime, which has been compared already.
            continue
        answer = ask(engine, path, metadata, images)
        if answer.first is None:
            checks.append(EngineCheck(engine.name, answer.version, len(images), refused=answer.refused))
            continue
        difference = answer.difference(own)
        is_close = difference <= (engine.tolerance if metadata.precision == "fp32" else ROUNDED_TOLERANCE)
        agreement = float(decisions.are_same(expected, answer.first).mean())
        advice = "" if is_close else ADVICE.get(engine.key, _OTHERWISE)
        checks.append(
            EngineCheck(engine.name, answer.version, len(images), difference, agreement, is_close, advice=advice)
        )
    return tuple(checks)
