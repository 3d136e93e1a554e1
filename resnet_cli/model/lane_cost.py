"""What a precision below float32 costs a model, measured on its validation images."""

from __future__ import annotations

import dataclasses
import json
from typing import Self


@dataclasses.dataclass(frozen=True)
class LaneCost:
    """A model's predictions in another precision, compared with those in float32.

    Attributes:
        precision: The precision.
        num_images: Number of validation images.
        same: What two equal predictions have in common, in words: ``same class`` or ``same labels``.
        agreement: Share of the images with equal predictions.
        score: Name of the score: ``accuracy`` or ``mAP``.
        exact: The score in float32.
        found: The score in this precision.
        max_difference: Largest difference of a probability.
        mean_difference: The mean over the images of the largest difference of a probability.
    """

    precision: str
    num_images: int
    same: str
    agreement: float
    score: str
    exact: float
    found: float
    max_difference: float
    mean_difference: float

    def sentence(self) -> str:
        """One line for the user."""
        return (
            f"{self.precision}: the {self.same} on {100 * self.agreement:.1f} % of {self.num_images:,} validation "
            f"images; {self.score} {100 * self.found:.1f} instead of {100 * self.exact:.1f} %"
        )

    def to_text(self) -> str:
        """The values as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Reads what :meth:`to_text` wrote.

        Raises:
            ValueError: The text is not JSON.
            TypeError: Values are missing.
        """
        return cls(**json.loads(text))
