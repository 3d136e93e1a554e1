"""The parity check: a file is kept only if its predictions on real images match the model's."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.data.dataset import Item, targets_of
from resnet_cli.errors import VerificationError
from resnet_cli.evaluation.intervals import Interval
from resnet_cli.exported.metadata import FilePrecision
from resnet_cli.exporting.decisions import DECISIONS, Decisions, fit_thresholds
from resnet_cli.model.output import ModelOutput
from resnet_cli.prediction import Predictor
from resnet_cli.system.events import OnStatus, Progress, no_status
from resnet_cli.text import percent

#: Largest difference of a probability, by precision; for int8 only the accuracy counts.
TOLERANCE: dict[FilePrecision, float] = {"fp32": 1e-3, "fp16": 2e-2, "int8": 1.0}
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


@dataclasses.dataclass(frozen=True)
class Check:
    """Model and file compared on one group of images.

    Attributes:
        name: What is special about the group.
        num_images: Number of images.
        max_difference: Largest difference of a probability.
        agreement: Share of images with the same class, or the same labels, apart from ties.
        passed: Whether the two are close enough.
    """

    name: str
    num_images: int
    max_difference: float
    agreement: float
    passed: bool


@dataclasses.dataclass(frozen=True)
class Difference:
    """An image for which model and file predict different classes or labels.

    Attributes:
        name: Name of the image.
        expected: Class, or labels, predicted by the model.
        expected_prob: Probability of that class; of labels, that of the class for which they differ most.
        found: Class, or labels, predicted by the file.
        found_prob: Probability of that class.
    """

    name: str
    expected: str
    expected_prob: float
    found: str
    found_prob: float


@dataclasses.dataclass(frozen=True)
class Parity:
    """The result of the parity check.

    Attributes:
        data: Description of the images.
        checks: Results by group of images.
        decisions: How the task of the model decides and scores.
        model_accuracy: Accuracy of the model with its 95 % interval; macro mAP of a multi-label model.
        file_accuracy: The same for the file.
        drops: What the file loses: the name of a score -> the difference; negative where it gains.
        max_drop: The most that it may lose of each of them: for accuracy, as a share of the images.
        max_novelty_difference: Largest difference of a novelty; None if the file does not compute it.
        is_novelty_close: Whether that difference is small enough.
        differences: Images with different predictions, those of which the model is most confident first.
        model_ms: Batch size -> milliseconds per image for the model, preprocessing included.
        file_ms: Batch size -> milliseconds per image for the file, preprocessing included.
        probs: Probabilities from the file for all labeled images, float32 [n x k].
        novelty: Novelty from the file for all labeled images, float32 [n]; None if it does not compute it.
        caveat: A sentence if the model's own metrics were computed in another precision than the check.
    """

    data: str
    checks: tuple[Check, ...]
    decisions: Decisions
    model_accuracy: Interval
    file_accuracy: Interval
    drops: dict[str, float]
    max_drop: float
    max_novelty_difference: float | None
    is_novelty_close: bool
    differences: tuple[Difference, ...]
    model_ms: dict[int, float]
    file_ms: dict[int, float]
    probs: NDArray[np.float32] = dataclasses.field(repr=False)
    novelty: NDArray[np.float32] | None = dataclasses.field(repr=False)
    caveat: str | None = None

    @property
    def max_difference(self) -> float:
        """Largest difference of a probability over all groups of images."""
        return max(check.max_difference for check in self.checks)

    @property
    def drop(self) -> float:
        """The most that the file loses of a score; negative if it gains of every one."""
        return max(self.drops.values())

    @property
    def passed(self) -> bool:
        """Whether the file may be kept."""
        # A difference of two floats: one image of a hundred is exactly a point.
        predictions_agree = all(check.passed for check in self.checks)
        return predictions_agree and self.is_novelty_close and self.drop <= self.max_drop + 1e-9

    def require(self, what: str) -> None:
        """Rejects a file that differs.

        Raises:
            VerificationError: The file differs from the model.
        """
        if self.passed:
            return
        failed = [check for check in self.checks if not check.passed]
        reasons = [
            f"{check.name}: largest difference {check.max_difference:.2g}, {self.decisions.same} for "
            f"{percent(check.agreement)}"
            for check in failed
        ]
        if not self.is_novelty_close:
            reasons.append(f"novelty: largest difference {self.max_novelty_difference:.2g}")
        reasons += [
            f"{name} falls by {100 * drop:.2f} points; at most {100 * self.max_drop:g} are allowed"
            for name, drop in self.drops.items()
            if drop > self.max_drop + 1e-9
        ]
        raise VerificationError(
            f"the predictions of {what} differ from the model's, and it was not written: {'; '.join(reasons)}",
            hint="allow more with --max-drop, or export with --fp16 or in float32"
            if not failed and self.is_novelty_close
            else "export without --int8 and --fp16; if that fails too, please report a bug",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "data": self.data,
            "passed": self.passed,
            "checks": [dataclasses.asdict(check) for check in self.checks],
            f"model_{self.decisions.key}": as_json(self.model_accuracy),
            f"file_{self.decisions.key}": as_json(self.file_accuracy),
            "max_drop": self.max_drop,
            "max_novelty_difference": self.max_novelty_difference,
            "is_novelty_close": self.is_novelty_close,
            "differences": [dataclasses.asdict(difference) for difference in self.differences],
            "model_ms": {str(size): ms for size, ms in self.model_ms.items()},
            "file_ms": {str(size): ms for size, ms in self.file_ms.items()},
        }


def compare(
    model: Predictor[Any],
    file: Predictor[Any],
    items: Sequence[Item],
    *,
    classes: Sequence[str],
    expected: ModelOutput,
    precision: FilePrecision = "fp32",
    max_drop: float = 0.0,
    fits_thresholds: bool = False,
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
        precision: The file's precision, which determines how much it may differ.
        max_drop: What the file may lose of a score, such as accuracy as a share of the images.
        fits_thresholds: Whether a multi-label file gets thresholds of its own, see
            :func:`~resnet_cli.exporting.decisions.fit_thresholds`; the items are then validation images.
        data: Description of the images.
        on_progress: Called with (images done, images in all).
        on_status: Called with what is being done after that.
    """
    targets = targets_of(items, model.task, len(classes))
    found = _predict_all(file, items, on_progress)
    own = None
    if fits_thresholds and model.thresholds:
        own = fit_thresholds(expected.probs, found.probs, targets, model.thresholds)
    decisions = DECISIONS[model.task](classes, model.thresholds, own)

    def check(name: str, expected: NDArray[np.float32], found: NDArray[np.float32]) -> Check:
        return _check(name, expected, found, precision, decisions=decisions)

    checks = [check("all images, one by one", expected.probs, found.probs)]
    on_status("comparing batches and sizes")
    bit_depth = model.preprocess.bit_depth
    examples = [item.open(bit_depth) for item in items[: BATCHES[-1]]]
    for size in BATCHES:
        # Cyclic: the largest batch is that large with three images too.
        batch = [image.resize(examples[0].size) for image in itertools.islice(itertools.cycle(examples), size)]
        checks.append(check(f"a batch of {size}", _probs(model, batch), _probs(file, batch)))
    for width, height in ODD_SIZES:
        image = [examples[0].resize((width, height))]
        name = f"{width} x {height} pixels"
        checks.append(check(name, _probs(model, image), _probs(file, image)))
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
        max_novelty_difference=novel,
        is_novelty_close=novel is None or novel <= NOVELTY_TOLERANCE[precision],
        differences=tuple(
            Difference(items[row].name, *old, *new)
            for row, old, new in itertools.islice(decisions.differences(expected.probs, found.probs), NUM_NAMED)
        ),
        model_ms=milliseconds(model, examples[0]),
        file_ms=milliseconds(file, examples[0]),
        probs=found.probs,
        novelty=found.novelty,
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


def _predict_all(file: Predictor[Any], items: Sequence[Item], on_progress: Progress | None) -> ModelOutput:
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


def as_json(score: Interval) -> dict[str, float | None]:
    """An interval as JSON values, which have no NaN."""
    return {name: None if math.isnan(value) else value for name, value in score._asdict().items()}
