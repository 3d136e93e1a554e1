"""What a comparison of a file with its model found, and whether the file may be kept."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from resnet_cli.errors import VerificationError
from resnet_cli.evaluation.intervals import Interval
from resnet_cli.exporting.decisions import Decisions, points
from resnet_cli.text import counted, percent


@dataclasses.dataclass(frozen=True)
class Check:
    """Model and file compared on one group of images.

    Attributes:
        name: What is special about the group.
        num_images: Number of images.
        max_difference: Largest difference of a probability.
        agreement: Share of images with the same class, or the same labels, apart from ties.
        passed: Whether the two are close enough.
        group: ``batch`` or ``size`` for one of several batch or image sizes; empty otherwise.
    """

    name: str
    num_images: int
    max_difference: float
    agreement: float
    passed: bool
    group: str = ""


@dataclasses.dataclass(frozen=True)
class EngineCheck:
    """The file in another engine that is installed here, in a fresh process.

    What it gives never rejects the file, which is right in its own runtime, but users of the engine need to know it.

    Attributes:
        name: The engine.
        version: Its version.
        num_images: Number of images.
        max_difference: Largest difference of a probability from the file in its own runtime; None without an answer.
        agreement: Share of images with the model's class or labels, apart from ties; None without an answer.
        passed: Whether the probabilities are as close as the engine's arithmetic allows.
        refused: Why there is no answer, such as an operator that the engine does not have; empty if there is one.
        advice: What to do if it gives other answers; empty if it does not.
    """

    name: str
    version: str
    num_images: int
    max_difference: float | None = None
    agreement: float | None = None
    passed: bool = False
    refused: str = ""
    advice: str = ""

    def warning(self) -> str | None:
        """A sentence for users of the engine, if it loads the file and gives other answers."""
        if self.passed or self.max_difference is None:
            return None
        return (
            f"{self.name} {self.version} gives other answers with this file: probabilities differ by up to "
            f"{self.max_difference:.2g}; {self.advice}"
        )


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
        max_drop: The most that it may lose of each of them, as a share; see :meth:`Decisions.allowed_drop`.
        mean_difference: The mean over the labeled images of the largest difference of a probability.
        max_shift: The most that this may be.
        max_novelty_difference: Largest difference of a novelty; None if the file does not compute it.
        is_novelty_close: Whether that difference is small enough.
        differences: Images with different predictions, those of which the model is most confident first.
        model_ms: Batch size -> milliseconds per image for the model, preprocessing included.
        file_ms: Batch size -> milliseconds per image for the file, preprocessing included.
        temperatures: That of the model, and that of the file if it was fitted again for its precision.
        engines: What other engines that are installed here give for the file.
        caveat: A sentence if the model's own metrics were computed in another precision than the check.
        not_run: Why the file was not run in its own runtime, but computed by something else; None if it was.
    """

    data: str
    checks: tuple[Check, ...]
    decisions: Decisions
    model_accuracy: Interval
    file_accuracy: Interval
    drops: dict[str, float]
    max_drop: float
    mean_difference: float
    max_shift: float
    max_novelty_difference: float | None
    is_novelty_close: bool
    differences: tuple[Difference, ...]
    model_ms: dict[int, float]
    file_ms: dict[int, float]
    temperatures: tuple[float, float] | None = None
    engines: tuple[EngineCheck, ...] = ()
    caveat: str | None = None
    not_run: str | None = None

    @property
    def max_difference(self) -> float:
        """Largest difference of a probability over all groups of images."""
        return max(check.max_difference for check in self.checks)

    def how(self) -> str | None:
        """A sentence on what computed the file, if its own runtime did not."""
        if self.not_run is None:
            return None
        return f"not run on this machine: {self.not_run}; torch computed the file's operators and weights instead"

    @property
    def drop(self) -> float:
        """The most that the file loses of a score; negative if it gains of every one."""
        return max(self.drops.values())

    @property
    def passed(self) -> bool:
        """Whether the file may be kept."""
        predictions_agree = all(check.passed for check in self.checks)
        return predictions_agree and self.is_novelty_close and not self._losses and not self._shifts

    @property
    def num_images(self) -> int:
        """Number of labeled images, on which the scores were measured."""
        return self.checks[0].num_images

    @property
    def _losses(self) -> list[str]:
        """The scores that fall by more than they may, as clauses."""
        return self.decisions.exceeded(self.drops, self.max_drop, self.num_images)

    def few_images(self) -> str | None:
        """A sentence if the images are too few to tell whether the file loses more of its score than it may."""
        allowed = self.decisions.allowed_drop(self.max_drop, self.num_images)
        if allowed <= self.max_drop:
            return None
        return (
            f"{counted(self.num_images, 'image')} cannot show a loss of {points(self.max_drop)}, so one of them may "
            "get another class; check the file on more with --verify-with"
        )

    @property
    def _shifts(self) -> bool:
        """Whether probabilities change by more than they may; also if they are no numbers."""
        return not self.mean_difference <= self.max_shift

    def require(self, what: str) -> None:
        """Rejects a file that differs.

        Args:
            what: Its format and its precision, unless that is float32, such as ``onnx int8``.

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
        reasons += self._losses
        if self._shifts and not failed:
            reasons.append(
                f"probabilities change by {100 * self.mean_difference:.2f} points on average; at most "
                f"{100 * self.max_shift:g} are allowed"
            )
        raise VerificationError(
            f"the predictions of {what} differ from the model's, and it was not written: {'; '.join(reasons)}",
            hint=self._what_helps(what.partition(" ")[2], may_allow=not failed and self.is_novelty_close),
        )

    def _what_helps(self, precision: str, *, may_allow: bool) -> str:
        if not precision:
            return "please report a bug"
        if not may_allow:
            return f"export without --{precision}; if that fails too, please report a bug"
        exceeded = {"--max-drop": bool(self._losses), "--max-shift": self._shifts}
        flags = " and ".join(flag for flag, is_exceeded in exceeded.items() if is_exceeded)
        if precision == "fp16":
            return f"allow more with {flags}, or export without --fp16"
        return (
            f"allow more with {flags}, name images like those it will see with --calibrate-with, or "
            "export with --fp16 or in float32"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        both = self.temperatures
        temperatures = None if both is None else {"model": both[0], "file": both[1]}
        return {
            "data": self.data,
            "passed": self.passed,
            "checks": [dataclasses.asdict(check) for check in self.checks],
            f"model_{self.decisions.key}": as_json(self.model_accuracy),
            f"file_{self.decisions.key}": as_json(self.file_accuracy),
            "max_drop": self.max_drop,
            "max_difference": self.max_difference,
            "mean_difference": self.mean_difference,
            "max_shift": self.max_shift,
            "temperatures": temperatures,
            "max_novelty_difference": self.max_novelty_difference,
            "is_novelty_close": self.is_novelty_close,
            "differences": [dataclasses.asdict(difference) for difference in self.differences],
            "model_ms": {str(size): ms for size, ms in self.model_ms.items()},
            "file_ms": {str(size): ms for size, ms in self.file_ms.items()},
            "not_run": self.not_run,
            "engines": [dataclasses.asdict(engine) for engine in self.engines],
        }


def as_json(score: Interval) -> dict[str, float | None]:
    """An interval as JSON values, which have no NaN."""
    return {name: None if math.isnan(value) else value for name, value in score._asdict().items()}
