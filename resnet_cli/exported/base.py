"""An exported file of any format, ready to answer. Only what opens a format imports its runtime."""

from __future__ import annotations

import abc
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.errors import ModelError
from resnet_cli.exported.metadata import About
from resnet_cli.images import Pixels
from resnet_cli.model.reliability import Reliability, precision_conflict
from resnet_cli.prediction import Answers
from resnet_cli.preprocess import Preprocess

#: Beside the files of a folder, and inside a ``.pt2``: the texts of :class:`~resnet_cli.exported.metadata.About`.
ABOUT_FILE = "resnet_cli.json"


class ExportedModel(abc.ABC):
    """What every exported file can do, whatever runs it; see :class:`~resnet_cli.prediction.Answerer`.

    Args:
        about: What the file says about itself.
        path: Where it came from: a file or a folder.
    """

    #: Images that are taken at once where nobody says otherwise.
    batch_size = 16
    #: Whether it tells how unlike the training images an image is.
    has_novelty = False
    #: Whether it tells where an image speaks for its class.
    has_heat = False

    def __init__(self, about: About, path: Path) -> None:
        self.about = about
        self.path = path
        self._preprocess = Preprocess.from_dict(dict(about.preprocess))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in index order."""
        return self.about.classes

    @property
    def reliability(self) -> Reliability | None:
        """How the model answered its validation split; None for weights that are not ours."""
        return self.about.reliability

    @property
    def precision_conflict(self) -> str | None:
        """What to say where the model got to know its limits in another precision than the file answers in.

        Files of other numbers than float32 were measured anew when they were written.
        """
        return precision_conflict(self.about.provenance, "fp32") if self.about.number == "fp32" else None

    @property
    def preprocess(self) -> dict[str, Any]:
        """How an image becomes the network's input."""
        return dict(self.about.preprocess)

    @property
    def source_hash(self) -> str:
        """SHA-256 of the model file that this was made from."""
        return self.about.source_sha256

    def answers(self, images: Sequence[Image.Image]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Answers decoded images; neither order nor company changes an answer.

        Args:
            images: Mode RGB, upright (:func:`resnet_cli.images.decode`), of any sizes.

        Returns:
            Probabilities float32 [b x k], and the novelty float32 [b] or None where the file has none.
        """
        found = self.answer([self.see(image) for image in images])
        return found.probs, found.novelty

    def see(self, image: Image.Image) -> Any:
        """The square that the network sees, uint8 [s x s x 3]; or the whole image, where the file resizes it."""
        return self._preprocess(image)

    def square(self, seen: Any) -> Pixels:
        """What the network sees of what :meth:`see` gave, uint8 [s x s x 3]."""
        return self._preprocess(seen) if isinstance(seen, Image.Image) else seen

    @abc.abstractmethod
    def answer(self, seen: list[Any]) -> Answers:
        """Answers at least one image, as :meth:`see` gave it."""


def channels_first(seen: Sequence[Pixels]) -> Pixels:
    """Squares of images as a batch: uint8 [b x 3 x s x s]."""
    return np.ascontiguousarray(np.stack(seen).transpose(0, 3, 1, 2))


def read_about(path: Path) -> About:
    """Reads what stands beside the files of a folder.

    Raises:
        ModelError: It is damaged.
    """
    try:
        texts = json.loads((path / ABOUT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path / ABOUT_FILE}: cannot be read: {type(error).__name__}") from error
    if not isinstance(texts, dict):
        raise ModelError(f"{path / ABOUT_FILE}: not what this program writes")
    return About.from_texts(texts, str(path))


def write_about(path: Path, about: About) -> None:
    """Writes it beside the files of a folder."""
    text = json.dumps(about.to_texts(), indent=2, ensure_ascii=False)
    (path / ABOUT_FILE).write_text(text + "\n", encoding="utf-8")
