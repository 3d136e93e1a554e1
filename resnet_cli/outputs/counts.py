"""Counts of predicted images, for the summary of a call."""

from __future__ import annotations

import dataclasses

from resnet_cli.prediction import Prediction


@dataclasses.dataclass(frozen=True)
class Counts:
    """Numbers of images.

    Attributes:
        num: All images.
        num_failed: Images that cannot be read.
        num_unknown: Images that are labeled "unknown".
        num_none: Images for which a multi-label model chose no label.
        num_unfamiliar: Images that are unlike the training images, regardless of their labels.
    """

    num: int = 0
    num_failed: int = 0
    num_unknown: int = 0
    num_none: int = 0
    num_unfamiliar: int = 0

    @classmethod
    def of(cls, prediction: Prediction) -> Counts:
        """The counts of one image."""
        is_decided = prediction.error is None and prediction.unknown is None
        return cls(
            1,
            int(prediction.error is not None),
            int(prediction.unknown is not None),
            int(is_decided and not prediction.chosen),
            int(prediction.is_unfamiliar is True),
        )

    def __add__(self, other: Counts) -> Counts:
        """The sums of two."""
        return Counts(
            self.num + other.num,
            self.num_failed + other.num_failed,
            self.num_unknown + other.num_unknown,
            self.num_none + other.num_none,
            self.num_unfamiliar + other.num_unfamiliar,
        )


class UsedBits:
    """The bits that the 16-bit images of one call use: one dark image proves nothing, but all of them do.

    Args:
        bit_depth: Bits that the model reads of 16-bit images.
    """

    def __init__(self, bit_depth: int) -> None:
        self._bit_depth, self._num, self._needed = bit_depth, 0, 0

    def add(self, bits: int) -> None:
        """Counts an image whose values need this many bits; 0 for images that are not 16-bit ones."""
        self._num += bits > 0
        self._needed = max(self._needed, bits)

    def warning(self) -> str | None:
        """A sentence about images that are nearly black to the model; None if there are none."""
        if not self._num or self._needed > self._bit_depth - 4:
            return None
        which = "the only 16-bit image has" if self._num == 1 else f"all {self._num:,} 16-bit images have"
        return (
            f"{which} values below {2**self._needed:,}, but the model reads such images as {self._bit_depth}-bit ones, "
            "so they are nearly black to it: convert them as its training images were, or train it on such images"
        )
