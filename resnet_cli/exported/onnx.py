"""An exported ``.onnx`` file, run by ONNX Runtime: no torch, only numpy and Pillow beside it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.engines.base import PRODUCER
from resnet_cli.errors import ModelError
from resnet_cli.exported.base import ExportedModel
from resnet_cli.exported.metadata import HEATMAP, IMAGES, NOVELTY, OUTPUTS, PROBS, RAW_IMAGES, ExportMetadata
from resnet_cli.images import Pixels
from resnet_cli.model.heatmap import STRIDE_PX
from resnet_cli.model.output import ModelOutput
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.no_telemetry import import_onnxruntime
from resnet_cli.system.threads import num_threads

if TYPE_CHECKING:
    import onnxruntime

#: From this many pixels on, the memory that an image needed is returned to the system: 48 MP take 550 MB.
LARGE_PIXELS = 4_000_000
#: Maximum number of decoded pixels per forward pass, all of one image size: 32 MB.
MAX_BATCH_PIXELS = 32_000_000 // 3
#: Maximum number of images per forward pass.
MAX_BATCH = 64

#: A decoded image, or the square that the network sees of one.
Prepared: TypeAlias = Image.Image | Pixels


class OnnxModel(ExportedModel):
    """An exported ``.onnx`` file, opened.

    Args:
        session: The file, loaded by ONNX Runtime.
        metadata: Its metadata.
        path: The file.
    """

    def __init__(self, session: onnxruntime.InferenceSession, metadata: ExportMetadata, path: Path) -> None:
        super().__init__(metadata, path)
        self._session = session
        if metadata.input_kind == "picture":
            # Each image may take 150 MB.
            self.batch_size = 4
        self._outputs: dict[str, list[int]] = {output.name: output.shape[1:] for output in session.get_outputs()}
        self.has_novelty = NOVELTY in self._outputs
        self.has_heatmap = HEATMAP in self._outputs

    @classmethod
    def load(cls, path: Path, *, threads: int | None = None, without_preprocessing: bool = False) -> OnnxModel:
        """Opens a file that ``resnet-cli export`` wrote.

        Args:
            path: The ``.onnx`` file.
            threads: Number of threads that compute; None: every core that the process may use.
            without_preprocessing: Cut the preprocessing out of the graph and leave it to ``Preprocess``: images of
                different sizes then fit into one batch, and other threads resize them. Takes 0.5 s at the start.

        Raises:
            ModelError: It is damaged, or another program wrote it.
        """
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or num_threads()
        # Threads that wait for work by spinning take cores from other processes: three times slower.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Errors only: the runtime's messages belong in the error that is raised below.
        options.log_severity_level = 3
        try:
            source: str | bytes = str(path)
            if without_preprocessing:
                # Takes 0.5 s to import.
                from resnet_cli.exported.onnx_cut import cut_preprocessing

                source = cut_preprocessing(path)
            session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except ModelError:
            raise
        except Exception as error:
            # The file is not trusted, and the runtime's errors have no other common base class.
            raise ModelError(f"{path}: not an ONNX file that can be run: {_first_line(error)}") from error
        found = session.get_modelmeta()
        if found.producer_name != PRODUCER:
            raise ModelError(
                f"{path}: an ONNX file, but not one that this program wrote (its producer is "
                f"{found.producer_name[:40] or 'not named'}): classes and preprocessing are not in it",
                hint="export one: resnet-cli export RUN",
            )
        metadata = ExportMetadata.from_texts(found.custom_metadata_map, str(path))
        _check_shape(session, metadata, path)
        return cls(session, metadata, path)

    def prepare(self, image: Image.Image) -> Prepared:
        """The whole image if the file resizes it itself, else the square that the network sees."""
        return image if self.metadata.input_kind == "picture" else self.preprocess(image)

    def predict(self, inputs: Sequence[Prepared]) -> ModelOutput:
        """Probabilities of prepared images; novelty and heat maps if the file has them."""
        made = {name: np.empty((len(inputs), *shape), dtype=np.float32) for name, shape in self._outputs.items()}
        for where in _batches(inputs):
            for name, rows in self._run([inputs[index] for index in where]).items():
                made[name][where] = rows
        return ModelOutput(made[PROBS], made.get(NOVELTY), heatmap=made.get(HEATMAP))

    def _run(self, inputs: list[Prepared]) -> dict[str, NDArray[np.float32]]:
        arrays = [np.asarray(one) for one in inputs]
        # A large image is alone in its batch, and is not copied.
        pixels = arrays[0][None] if len(arrays) == 1 else np.stack(arrays)
        feed = (
            {RAW_IMAGES: pixels}
            if self.metadata.input_kind == "picture"
            else {IMAGES: normalized(pixels, self.preprocess)}
        )
        options = None
        if pixels.size >= LARGE_PIXELS * 3:
            options = import_onnxruntime().RunOptions()
            # Source: onnxruntime_run_options_config_keys.h.
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return dict(zip(self._outputs, self._session.run(list(self._outputs), feed, options), strict=True))


def normalized(squares: Pixels, preprocess: Preprocess) -> NDArray[np.float32]:
    """The input of graphs without preprocessing: squares uint8 [b x s x s x 3] -> float32 [b x 3 x s x s]."""
    mean, std = (np.array(values, dtype=np.float32) * np.float32(255) for values in (preprocess.mean, preprocess.std))
    return np.ascontiguousarray(((squares.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2))


def _batches(inputs: Sequence[Prepared]) -> list[list[int]]:
    """Positions of inputs that fit into one forward pass: of one size, and not too many pixels."""

    def size(index: int) -> tuple[int, int]:
        one = inputs[index]
        return one.size if isinstance(one, Image.Image) else (one.shape[1], one.shape[0])

    batches = []
    for (width, height), group in itertools.groupby(sorted(range(len(inputs)), key=size), key=size):
        room = max(1, min(MAX_BATCH, MAX_BATCH_PIXELS // max(1, width * height)))
        positions = list(group)
        batches += [positions[start : start + room] for start in range(0, len(positions), room)]
    return batches


def _check_shape(session: onnxruntime.InferenceSession, metadata: ExportMetadata, path: Path) -> None:
    """Refuses a graph that is not what the metadata says."""
    inputs = {node.name: node.shape for node in session.get_inputs()}
    outputs = {node.name: node.shape for node in session.get_outputs()}
    wanted = RAW_IMAGES if metadata.input_kind == "picture" else IMAGES
    side = Preprocess.from_dict(dict(metadata.preprocess)).crop_size
    cells = ["b", *[math.ceil(side / STRIDE_PX)] * 2]
    if (
        metadata.input_kind not in {"picture", "tensor"}
        or inputs.keys() != {wanted}
        or (metadata.input_kind == "tensor" and inputs[wanted][1:] != [3, side, side])
        or PROBS not in outputs
        or outputs[PROBS][1:] != [len(metadata.classes)]
        or not outputs.keys() <= set(OUTPUTS)
        or outputs.get(HEATMAP, cells)[1:] != cells[1:]
        or (metadata.outputs and outputs.keys() != set(metadata.outputs))
        or not all(isinstance(size, int) for shape in outputs.values() for size in shape[1:])
    ):
        raise ModelError(f"{path}: damaged: its graph does not fit its metadata")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
