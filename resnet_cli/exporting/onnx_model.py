"""Our ``.onnx`` files, answered by ONNX Runtime: no torch, nothing but numpy and Pillow beside it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.errors import ModelError
from resnet_cli.exporting.about import IMAGES, NOVELTY, PICTURES, PROBS, PRODUCER, About
from resnet_cli.reliability import Reliability
from resnet_cli.threads import num_threads

if TYPE_CHECKING:
    import onnxruntime

#: From so many pixels on, what a picture needed is given back to the system: 48 MP take 550 MB.
LARGE_PIXELS = 4_000_000
#: Decoded pixels of one size that go through the graph at once: 32 MB.
MAX_BATCH_PIXELS = 32_000_000 // 3
#: Squares of the network's size that go through it at once.
MAX_BATCH_SQUARES = 64


class OnnxModel:
    """An exported model, ready to answer.

    Args:
        session: Of one of our files.
        about: Its metadata.
        path: Where it came from.
    """

    def __init__(self, session: onnxruntime.InferenceSession, about: About, path: Path) -> None:
        self.about = about
        self.path = path
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]

    @classmethod
    def load(cls, path: Path, *, threads: int | None = None) -> OnnxModel:
        """Opens a file that ``resnet-cli export`` wrote.

        Args:
            path: The ``.onnx`` file.
            threads: To compute with; None for every core that the process may use.

        Raises:
            ModelError: It is damaged, or not one of ours.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or num_threads()
        # Threads that wait for work by spinning take the cores from whoever else is on the machine: three times slower.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Errors only: what a file makes the runtime say belongs in an error of ours.
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # The bytes are a stranger's, and the runtime's own errors have no common parent but this.
            raise ModelError(f"{path}: not an ONNX file that can be run: {_first_line(error)}") from error
        found = session.get_modelmeta()
        if found.producer_name != PRODUCER:
            raise ModelError(
                f"{path}: an ONNX file, but none that this program wrote (its producer is "
                f"{found.producer_name[:40] or 'not named'}): classes and preprocessing are not in it",
                hint="export one: resnet-cli export RUN",
            )
        about = About.from_texts(found.custom_metadata_map, str(path))
        _check_shape(session, about, path)
        return cls(session, about, path)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in index order."""
        return self.about.classes

    @property
    def reliability(self) -> Reliability | None:
        """How the model answered its validation split; None for weights that are not ours."""
        return self.about.reliability

    @property
    def preprocess(self) -> dict[str, Any]:
        """How a picture becomes the network's input; the graph does it."""
        return dict(self.about.preprocess)

    @property
    def source_hash(self) -> str:
        """SHA-256 of the model file that this was made from."""
        return self.about.source_sha256

    @property
    def has_novelty(self) -> bool:
        """Whether it tells how unlike the training pictures a picture is."""
        return NOVELTY in self._outputs

    def answers(self, images: Sequence[Image.Image]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Answers decoded pictures; neither order nor company changes an answer.

        Args:
            images: Mode RGB, upright (:func:`resnet_cli.images.decode`), of any sizes.

        Returns:
            Probabilities float32 [b x k], and the novelty float32 [b] or None where the file has none.
        """
        probs = np.empty((len(images), len(self.classes)), dtype=np.float32)
        novelty = np.empty(len(images), dtype=np.float32) if self.has_novelty else None
        for where in _batches(images, whole=self.about.takes == "tensor"):
            found = self._run([images[index] for index in where])
            probs[where] = found[PROBS]
            if novelty is not None:
                novelty[where] = found[NOVELTY]
        return probs, novelty

    def _run(self, images: list[Image.Image]) -> dict[str, NDArray[np.float32]]:
        if self.about.takes == "picture":
            arrays = [np.asarray(image) for image in images]
            # A large picture is alone, and need not be copied.
            feed: dict[str, NDArray[Any]] = {PICTURES: arrays[0][None] if len(arrays) == 1 else np.stack(arrays)}
        else:
            feed = {IMAGES: self._normalised(images)}
        options = None
        if sum(image.width * image.height for image in images) >= LARGE_PIXELS:
            import onnxruntime

            options = onnxruntime.RunOptions()
            # Source: onnxruntime_run_options_config_keys.h.
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return dict(zip(self._outputs, self._session.run(self._outputs, feed, options), strict=True))

    def _normalised(self, images: list[Image.Image]) -> NDArray[np.float32]:
        """[b x 3 x s x s], for files whose graph begins after the preprocessing."""
        from resnet_cli.preprocess import Preprocess

        preprocess = Preprocess.from_dict(self.preprocess)
        mean, std = (np.array(x, dtype=np.float32) * np.float32(255) for x in (preprocess.mean, preprocess.std))
        pixels = np.stack([preprocess(image) for image in images]).astype(np.float32)
        return np.ascontiguousarray(((pixels - mean) / std).transpose(0, 3, 1, 2))


def _batches(images: Sequence[Image.Image], *, whole: bool) -> list[list[int]]:
    """Positions that can go through the graph together: pictures of one size, or all of them."""
    size = (lambda index: (0, 0)) if whole else (lambda index: images[index].size)
    batches = []
    for (width, height), group in itertools.groupby(sorted(range(len(images)), key=size), key=size):
        room = max(1, MAX_BATCH_PIXELS // max(1, width * height)) if not whole else MAX_BATCH_SQUARES
        positions = list(group)
        batches += [positions[start : start + room] for start in range(0, len(positions), room)]
    return batches


def _check_shape(session: onnxruntime.InferenceSession, about: About, path: Path) -> None:
    """Whether the graph is what the metadata says."""
    inputs = {node.name for node in session.get_inputs()}
    outputs = {node.name: node.shape for node in session.get_outputs()}
    wanted = PICTURES if about.takes == "picture" else IMAGES
    if (
        about.takes == "pixels"
        or inputs != {wanted}
        or PROBS not in outputs
        or outputs[PROBS][1:] != [len(about.classes)]
    ):
        raise ModelError(f"{path}: damaged: its graph does not fit its metadata")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
