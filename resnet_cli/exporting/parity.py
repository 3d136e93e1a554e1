"""The parity check: a file is kept only if its predictions on real images match the model's."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.data.dataset import Item, targets_of
from resnet_cli.exported.metadata import FilePrecision
from resnet_cli.exporting.decisions import DECISIONS, Decisions
from resnet_cli.exporting.parity_result import Check, Difference, Parity
from resnet_cli.model.output import ModelOutput
from resnet_cli.prediction import Predictor
from resnet_cli.system.events import OnStatus, Progress, no_status

#: Largest difference of a probability, by precision; for int8, accuracy and the mean difference count. Files in fp16
#: differed by 1.2e-3 on photos of ants and bees, by 4.0e-3 on CIFAR-10, and by 5.2e-3 with 1,000 classes (one of 253).
TOLERANCE: dict[FilePrecision, float] = {"fp32": 1e-3, "fp16": 5e-3, "int8": 1.0}
#: Largest difference of a novelty; int8 files store the novelty that they themselves compute for validation images.
NOVELTY_TOLERANCE: dict[FilePrecision, float] = {"fp32": 1e-3, "fp16": 1e-2, "int8": 2.0}
#: Batch sizes to try with images of one size; the last is typical of a small server.
BATCHES = (1, 2, 7, 32)
#: Width and height of images that exports often fail on: odd, tiny, tall, wide, panoramic, large.
ODD_SIZES = ((333, 251), (1, 1), (3, 200), (200, 3), (97, 450), (640, 61), (1200, 100), (90, 1300), (1600, 1201))
#: Images between two reports of progress.
CHUNK = 32
#: Batch size -> number of runs, whose median is the time.
NUM_TIMED = {1: 5, 32: 1}
#: Images that are named if predictions differ.
NUM_NAMED = 10


def compare(
    model: Predictor[Any],
    file: Predictor[Any],
    items: Sequence[Item],
    *,
    classes: Sequence[str],
    expected: ModelOutput,
    found: ModelOutput | None = None,
    precision: FilePrecision = "fp32",
    max_drop: float = 0.0,
    max_shift: float = 1.0,
    thresholds: tuple[float, ...] | None = None,
    data: str = "",
    on_progress: Progress | None = None,
    on_status: OnStatus = no_status,
) -> Parity:
    """Compares model and file on the same images.

    Args:
        model: The model itself.
        file: The exported file in its own runtime.
        items: Labeled images, at least one, all readable.
        classes: Class names in index order.
        expected: The model's output for the items.
        found: The file's output for them, if it is known; see :func:`predict_all`.
        precision: The file's precision, which determines how much it may differ.
        max_drop: What the file may lose of a score, such as accuracy as a share of the images.
        max_shift: What probabilities may change by: the mean over the items of the largest difference of a probability.
        thresholds: Those of a multi-label file, if they are not the model's.
        data: Description of the images.
        on_progress: Called with (images done, images in all).
        on_status: Called with what is being done after that.
    """
    targets = targets_of(items, model.task, len(classes))
    if found is None:
        found = predict_all(file, items, on_progress)
    decisions = DECISIONS[model.task](classes, model.thresholds, thresholds)

    def check(name: str, expected: NDArray[np.float32], found: NDArray[np.float32], group: str = "") -> Check:
        return dataclasses.replace(_check(name, expected, found, precision, decisions=decisions), group=group)

    checks = [check("all images, one by one", expected.probs, found.probs)]
    on_status("comparing batches and sizes")
    bit_depth = model.preprocess.bit_depth
    examples = [item.open(bit_depth) for item in items[: BATCHES[-1]]]
    for size in BATCHES:
        # Cyclic: the largest batch is that large with three images too.
        batch = [image.resize(examples[0].size) for image in itertools.islice(itertools.cycle(examples), size)]
        checks.append(check(f"a batch of {size}", _probs(model, batch), _probs(file, batch), "batch"))
    for width, height in ODD_SIZES:
        image = [examples[0].resize((width, height))]
        name = f"{width} x {height} pixels"
        checks.append(check(name, _probs(model, image), _probs(file, image), "size"))
    on_status("measuring the speed")
    novel = None
    if expected.novelty is not None and found.novelty is not None:
        novel = float(np.abs(expected.novelty - found.novelty).max())
    return Parity(
        data=data,
        checks=tuple(checks),
        decisions=decisions,
        model_accuracy=decisions.rate(expected.probs, targets),
        file_accuracy=decisions.rate(found.probs, targets),
        drops=decisions.drops(expected.probs, found.probs, targets),
        max_drop=max_drop,
        mean_difference=float(np.abs(expected.probs - found.probs).max(axis=1).mean()),
        max_shift=max_shift,
        max_novelty_difference=novel,
        is_novelty_close=novel is None or novel <= NOVELTY_TOLERANCE[precision],
        differences=tuple(
            Difference(items[row].name, *old, *new)
            for row, old, new in itertools.islice(decisions.differences(expected.probs, found.probs), NUM_NAMED)
        ),
        model_ms=milliseconds(model, examples[0]),
        file_ms=milliseconds(file, examples[0]),
    )


def milliseconds(predictor: Predictor[Any], image: Image.Image) -> dict[int, float]:
    """Batch size -> milliseconds per decoded image, preprocessing included: the median of a few runs."""
    found = {}
    for size, num_runs in NUM_TIMED.items():
        batch = [image] * size
        times = []
        # The first run also allocates memory.
        for _ in range(num_runs + 1):
            began = time.perf_counter()
            predictor.predict_images(batch)
            times.append(time.perf_counter() - began)
        found[size] = 1000 * float(np.median(times[1:])) / size
    return found


def predict_all(file: Predictor[Any], items: Sequence[Item], on_progress: Progress | None = None) -> ModelOutput:
    """Probabilities, and novelty if the file computes it, for all items one after the other."""
    probs, novel = [], []
    bit_depth = file.preprocess.bit_depth
    for start in range(0, len(items), CHUNK):
        found = file.predict_images(item.open(bit_depth) for item in items[start : start + CHUNK])
        probs.append(found.probs)
        novel.append(found.novelty)
        if on_progress:
            on_progress(min(start + CHUNK, len(items)), len(items))
    parts = [part for part in novel if part is not None]
    return ModelOutput(np.concatenate(probs), np.concatenate(parts) if parts else None)


def _probs(predictor: Predictor[Any], images: Sequence[Image.Image]) -> NDArray[np.float32]:
    return predictor.predict_images(images).probs


def _check(
    name: str,
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
    precision: FilePrecision,
    *,
    decisions: Decisions,
) -> Check:
    difference = float(np.abs(expected - found).max())
    agreement = float(decisions.are_same(expected, found).mean())
    is_close = difference <= TOLERANCE[precision] and bool(np.isfinite(found).all())
    return Check(name, len(expected), difference, agreement, is_close and (precision != "fp32" or agreement == 1))
