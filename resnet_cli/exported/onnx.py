"""Our ``.onnx`` files, answered by ONNX Runtime: no torch, nothing but numpy and Pillow beside it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.errors import ModelError
from resnet_cli.exported.base import ExportedModel
from resnet_cli.exported.metadata import HEAT, IMAGES, NOVELTY, PROBS, PRODUCER, RAW_IMAGES, About
from resnet_cli.images import Pixels
from resnet_cli.prediction import Answers
from resnet_cli.system.threads import num_threads

if TYPE_CHECKING:
    import onnxruntime

#: From so many pixels on, what an image needed is given back to the system: 48 MP take 550 MB.
LARGE_PIXELS = 4_000_000
#: Decoded pixels of one size that go through the graph at once: 32 MB.
MAX_BATCH_PIXELS = 32_000_000 // 3
#: Images that go through it at once.
MAX_BATCH = 64

#: A decoded image, or the square of one.
Seen: TypeAlias = Image.Image | Pixels


class OnnxModel(ExportedModel):
    """An exported model, ready to answer.

    Args:
        session: Of one of our files.
        about: Its metadata.
        path: Where it came from.
    """

    def __init__(self, session: onnxruntime.InferenceSession, about: About, path: Path) -> None:
        super().__init__(about, path)
        self._session = session
        if about.takes == "picture":
            # Each may be 150 MB.
            self.batch_size = 4
        self._outputs: dict[str, list[int]] = {output.name: output.shape[1:] for output in session.get_outputs()}
        self.has_novelty = NOVELTY in self._outputs
        self.has_heat = HEAT in self._outputs

    @classmethod
    def load(cls, path: Path, *, threads: int | None = None, without_preprocessing: bool = False) -> OnnxModel:
        """Opens a file that ``resnet-cli export`` wrote.

        Args:
            path: The ``.onnx`` file.
            threads: To compute with; None for every core that the process may use.
            without_preprocessing: Leave that part of the graph to ``Preprocess``: images of different sizes then fit
                into one batch, and threads of their own resize them. Costs half a second at the start.

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
            source: str | bytes = str(path)
            if without_preprocessing:
                # Takes 0.5 s to import.
                from resnet_cli.exported.onnx_cut import cut_preprocessing

                source = cut_preprocessing(path)
            session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
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

    def see(self, image: Image.Image) -> Seen:
        """The whole image where resizing is part of the file, else the square that the network sees."""
        return image if self.about.takes == "picture" else self._preprocess(image)

    def answer(self, seen: Sequence[Seen]) -> Answers:
        """Answers what :meth:`see` gave; novelty and heat where the file has them."""
        made = {name: np.empty((len(seen), *shape), dtype=np.float32) for name, shape in self._outputs.items()}
        for where in _batches(seen):
            for name, rows in self._run([seen[index] for index in where]).items():
                made[name][where] = rows
        return Answers(made[PROBS], made.get(NOVELTY), heat=made.get(HEAT))

    def _run(self, seen: list[Seen]) -> dict[str, NDArray[np.float32]]:
        arrays = [np.asarray(one) for one in seen]
        # A large image is alone, and need not be copied.
        pixels = arrays[0][None] if len(arrays) == 1 else np.stack(arrays)
        feed = {RAW_IMAGES: pixels} if self.about.takes == "picture" else {IMAGES: self._normalised(pixels)}
        options = None
        if pixels.size >= LARGE_PIXELS * 3:
            import onnxruntime

            options = onnxruntime.RunOptions()
            # Source: onnxruntime_run_options_config_keys.h.
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return dict(zip(self._outputs, self._session.run(list(self._outputs), feed, options), strict=True))

    def _normalised(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[b x s x s x 3] -> [b x 3 x s x s], for files whose graph begins after the preprocessing."""
        mean, std = (
            np.array(x, dtype=np.float32) * np.float32(255) for x in (self._preprocess.mean, self._preprocess.std)
        )
        return np.ascontiguousarray(((pixels.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2))


def _batches(seen: Sequence[Seen]) -> list[list[int]]:
    """Positions of what can go through the graph together: of one size, and not too many pixels."""

    def size(index: int) -> tuple[int, int]:
        one = seen[index]
        return one.size if isinstance(one, Image.Image) else (one.shape[1], one.shape[0])

    batches = []
    for (width, height), group in itertools.groupby(sorted(range(len(seen)), key=size), key=size):
        room = max(1, min(MAX_BATCH, MAX_BATCH_PIXELS // max(1, width * height)))
        positions = list(group)
        batches += [positions[start : start + room] for start in range(0, len(positions), room)]
    return batches


def _check_shape(session: onnxruntime.InferenceSession, about: About, path: Path) -> None:
    """Whether the graph is what the metadata says."""
    inputs = {node.name for node in session.get_inputs()}
    outputs = {node.name: node.shape for node in session.get_outputs()}
    wanted = RAW_IMAGES if about.takes == "picture" else IMAGES
    if (
        about.takes == "pixels"
        or inputs != {wanted}
        or PROBS not in outputs
        or outputs[PROBS][1:] != [len(about.classes)]
        or not outputs.keys() <= {PROBS, NOVELTY, HEAT}
        or not all(isinstance(size, int) for shape in outputs.values() for size in shape[1:])
    ):
        raise ModelError(f"{path}: damaged: its graph does not fit its metadata")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
