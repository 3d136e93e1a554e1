"""The gate: a file is kept only if it answers real images as the model does."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.data.dataset import Item
from resnet_cli.errors import VerificationError
from resnet_cli.evaluation.intervals import Interval, wilson
from resnet_cli.exported.metadata import FilePrecision
from resnet_cli.prediction import ModelOutput, Predictor
from resnet_cli.system.events import Progress

#: Largest difference of a probability, by how the numbers are kept; int8 is judged by its accuracy.
TOLERANCE: dict[FilePrecision, float] = {"fp32": 1e-3, "fp16": 2e-2, "int8": 1.0}
#: Largest difference of a novelty; int8 files know the novelty of validation images as they see it.
NOVELTY_TOLERANCE: dict[FilePrecision, float] = {"fp32": 1e-3, "fp16": 1e-2, "int8": 2.0}
#: Where the model's two best classes are closer than this, either answer is right.
TIE = 1e-4
#: Images of one size in a batch; the last is what a small server would use.
BATCHES = (1, 2, 7, 32)
#: Width and height of images that files are known to fail on: odd, tiny, tall, wide, panoramic, large.
ODD_SIZES = ((333, 251), (1, 1), (3, 200), (200, 3), (97, 450), (640, 61), (1200, 100), (90, 1300), (1600, 1201))
#: Images answered between two looks at the progress.
CHUNK = 32
#: Batch size -> runs whose median is the time.
NUM_TIMED = {1: 5, 32: 1}
#: Images that are named where answers differ.
NUM_NAMED = 10


@dataclasses.dataclass(frozen=True)
class Check:
    """The two compared on one group of images.

    Attributes:
        name: What is special about them, for people.
        num_images: How many.
        max_difference: Largest difference of a probability.
        agreement: Share with the same most probable class, ties aside.
        passed: Whether that is close enough.
    """

    name: str
    num_images: int
    max_difference: float
    agreement: float
    passed: bool


@dataclasses.dataclass(frozen=True)
class Difference:
    """An image that the two answer differently.

    Attributes:
        name: Of the image.
        expected: The model's answer.
        expected_prob: Its probability.
        found: The file's answer.
        found_prob: Its probability.
    """

    name: str
    expected: str
    expected_prob: float
    found: str
    found_prob: float


@dataclasses.dataclass(frozen=True)
class Parity:
    """What the gate saw.

    Attributes:
        data: Which images, for people.
        checks: By group of images.
        model_accuracy: Of the model, with its 95 % interval.
        file_accuracy: Of the file, likewise.
        max_drop: Share of right answers that may be lost.
        max_novelty_difference: None where the file tells no novelty.
        is_novelty_close: Whether that is small enough.
        differences: Images answered differently, the model's surest answers first.
        model_ms: Batch size -> milliseconds an image, preprocessing included.
        file_ms: Likewise.
        probs: The file's answers to all labelled images, float32 [n x k].
        novelty: Likewise, float32 [n] or None.
    """

    data: str
    checks: tuple[Check, ...]
    model_accuracy: Interval
    file_accuracy: Interval
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
    def drop(self) -> float:
        """Share of right answers that the file loses; negative where it gains some."""
        return self.model_accuracy.value - self.file_accuracy.value

    @property
    def passed(self) -> bool:
        """Whether the file may be kept."""
        # A difference of two floats: one image of a hundred is exactly a point.
        answers_agree = all(check.passed for check in self.checks)
        return answers_agree and self.is_novelty_close and self.drop <= self.max_drop + 1e-9

    def require(self, what: str) -> None:
        """Refuses a file that differs.

        Raises:
            VerificationError: It does.
        """
        if self.passed:
            return
        failed = [check for check in self.checks if not check.passed]
        reasons = [
            f"{check.name}: largest difference {check.max_difference:.2g}, {check.agreement:.2%} the same class"
            for check in failed
        ]
        if not self.is_novelty_close:
            reasons.append(f"novelty: largest difference {self.max_novelty_difference:.2g}")
        if self.drop > self.max_drop + 1e-9:
            reasons.append(f"accuracy falls by {100 * self.drop:.2f} points, {100 * self.max_drop:g} are allowed")
        raise VerificationError(
            f"{what} does not answer as the model does, and was not written: {'; '.join(reasons)}",
            hint="allow more with --max-drop, or keep more digits: --fp16, or neither"
            if not failed and self.is_novelty_close
            else "export without --int8 and --fp16; if that fails too, it is a bug: please report it",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "data": self.data,
            "passed": self.passed,
            "checks": [dataclasses.asdict(check) for check in self.checks],
            "model_accuracy": self.model_accuracy._asdict(),
            "file_accuracy": self.file_accuracy._asdict(),
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
    data: str = "",
    on_progress: Progress | None = None,
) -> Parity:
    """Answers the same images twice.

    Args:
        model: The model itself.
        file: The exported file, in its own runtime.
        items: Labelled images, at least one, all readable.
        classes: In index order.
        expected: The model's answers to the items.
        precision: How the file keeps its numbers, which says how far it may differ.
        max_drop: Share of right answers that may be lost.
        data: Which images, for people.
        on_progress: Called with (images done, images in all).
    """
    labels = np.array([item.label for item in items])
    found = _answer_all(file, items, on_progress)
    checks = [_check("all images, one by one", expected.probs, found.probs, precision)]
    examples = [item.open() for item in items[: BATCHES[-1]]]
    for size in BATCHES:
        # Cyclic: the largest batch is that large with three images too.
        batch = [image.resize(examples[0].size) for image in itertools.islice(itertools.cycle(examples), size)]
        checks.append(_check(f"a batch of {size}", _probs(model, batch), _probs(file, batch), precision))
    for width, height in ODD_SIZES:
        image = [examples[0].resize((width, height))]
        name = f"{width} x {height} pixels"
        checks.append(_check(name, _probs(model, image), _probs(file, image), precision))
    novel = None
    if expected.novelty is not None and found.novelty is not None:
        novel = float(np.abs(expected.novelty - found.novelty).max())
    return Parity(
        data=data,
        checks=tuple(checks),
        model_accuracy=wilson(int((expected.probs.argmax(axis=1) == labels).sum()), len(labels)),
        file_accuracy=wilson(int((found.probs.argmax(axis=1) == labels).sum()), len(labels)),
        max_drop=max_drop,
        max_novelty_difference=novel,
        is_novelty_close=novel is None or novel <= NOVELTY_TOLERANCE[precision],
        differences=tuple(_differences(items, classes, expected.probs, found.probs)),
        model_ms=milliseconds(model, examples[0]),
        file_ms=milliseconds(file, examples[0]),
        probs=found.probs,
        novelty=found.novelty,
    )


def milliseconds(predictor: Predictor[Any], image: Image.Image) -> dict[int, float]:
    """Batch size -> milliseconds a decoded image, preprocessing included: the median of a few runs."""
    found = {}
    for size, num_runs in NUM_TIMED.items():
        batch = [image] * size
        times = []
        # The first one also allocates.
        for _ in range(num_runs + 1):
            began = time.perf_counter()
            predictor.predict_images(batch)
            times.append(time.perf_counter() - began)
        found[size] = 1000 * float(np.median(times[1:])) / size
    return found


def _answer_all(file: Predictor[Any], items: Sequence[Item], on_progress: Progress | None) -> ModelOutput:
    probs, novel = [], []
    for start in range(0, len(items), CHUNK):
        found = file.predict_images(item.open() for item in items[start : start + CHUNK])
        probs.append(found.probs)
        novel.append(found.novelty)
        if on_progress:
            on_progress(min(start + CHUNK, len(items)), len(items))
    parts = [part for part in novel if part is not None]
    return ModelOutput(np.concatenate(probs), np.concatenate(parts) if parts else None)


def _probs(predictor: Predictor[Any], images: Sequence[Image.Image]) -> NDArray[np.float32]:
    return predictor.predict_images(images).probs


def _check(name: str, expected: NDArray[np.float32], found: NDArray[np.float32], precision: FilePrecision) -> Check:
    difference = float(np.abs(expected - found).max())
    agreement = float(_same(expected, found).mean())
    is_close = difference <= TOLERANCE[precision] and bool(np.isfinite(found).all())
    return Check(name, len(expected), difference, agreement, is_close and (precision != "fp32" or agreement == 1))


def _same(expected: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each image gets the same class, or one that the model finds as probable."""
    best = expected.max(axis=1)
    chosen = expected[np.arange(len(expected)), found.argmax(axis=1)]
    same: NDArray[np.bool_] = best - chosen < TIE
    return same


def _differences(
    items: Sequence[Item], classes: Sequence[str], expected: NDArray[np.float32], found: NDArray[np.float32]
) -> Iterator[Difference]:
    rows = np.flatnonzero(~_same(expected, found))
    for row in rows[np.argsort(-expected[rows].max(axis=1), kind="stable")][:NUM_NAMED]:
        old, new = expected[row].argmax(), found[row].argmax()
        yield Difference(items[row].name, classes[old], float(expected[row, old]), classes[new], float(found[row, new]))
