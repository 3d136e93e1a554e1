"""What all formats of ``export`` have in common."""

from __future__ import annotations

import abc
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from resnet_cli.config.export import ExportConfig
from resnet_cli.exported.metadata import METADATA_FILE, ExportMetadata, FilePrecision, InputKind
from resnet_cli.model.model_file import Model
from resnet_cli.prediction import Predictor

#: The class names, one per line, beside the model in a folder: phones' example programs read this file.
LABELS_FILE = "labels.txt"
#: Reads the images that value ranges are measured on, as squares uint8 [s x s x 3], with progress.
Calibration: TypeAlias = Callable[[], Iterator[NDArray[np.uint8]]]


class Format(abc.ABC):
    """A value of ``--format``; an instance serves one export.

    Which options have an effect on a format is in ``config/export.py``: the others are refused before.

    Attributes:
        name: The value of ``--format``.
        is_folder: Whether it is a folder rather than a file.
        folder: Name of the folder, if it is not the name of the format.
        files: Of a folder: the files in it that compute, whose SHA-256 are in the metadata.
        texts: Of a folder: all other files in it.
        input_kind: What the graph takes, unless ``--input tensor`` is given.
        has_novelty: Whether the format can hold training features.
        room: Precision -> bytes on the disk while the file is made, temporary ones included, per byte of the network's
            weights in float32. Nothing is computed if the disk has less.
    """

    name: ClassVar[str]
    is_folder: ClassVar[bool] = True
    folder: ClassVar[str] = ""
    files: ClassVar[tuple[str, ...]] = ()
    texts: ClassVar[tuple[str, ...]] = (METADATA_FILE, LABELS_FILE)
    input_kind: ClassVar[InputKind] = "squares"
    has_novelty: ClassVar[bool] = True
    room: ClassVar[Mapping[FilePrecision, float]] = {"fp32": 1.0, "fp16": 0.5, "int8": 0.25}

    def require(self, model: Model, config: ExportConfig) -> None:  # noqa: B027
        """Refuses, before anything is computed, what cannot be written.

        Raises:
            ConfigError: The format does not support the model.
            SetupError: The format needs a package that is not installed, or other versions of it; the error names the
                extra, or the versions that work.
        """

    def cannot_run_here(self) -> str | None:
        """Why no runtime of the format runs on this machine; None if one does.

        What :meth:`write` opens then computes the same operators and weights with something else.
        """
        return None

    @abc.abstractmethod
    def write(
        self, model: Model, metadata: ExportMetadata, config: ExportConfig, path: Path, *, calibration: Calibration
    ) -> Predictor[Any]:
        """Writes the file, or fills the folder, and opens it in its own runtime.

        A folder gets the files of :meth:`write_texts` too. Nothing else is written anywhere but to temporary folders,
        nothing is printed and nothing downloaded.

        Args:
            model: The model; the file contains its temperature.
            metadata: What the file says about itself, including what it computes.
            config: The options.
            path: A file that does not exist yet, or an empty folder; it is renamed once the file has passed its checks.
            calibration: Reads the images to quantize with; it is called only for ``--int8``.

        Raises:
            OSError: The file cannot be written.
        """

    def rewrite(
        self, model: Model, metadata: ExportMetadata, config: ExportConfig, path: Path, *, calibration: Calibration
    ) -> Predictor[Any]:
        """Writes a quantized file again, with another temperature and other metadata.

        A format that remembers the quantized network overrides this and only replaces the temperature.
        """
        if path.is_dir():
            clear(path)
        return self.write(model, metadata, config, path, calibration=calibration)

    def write_texts(self, folder: Path, metadata: ExportMetadata) -> None:
        """Writes the metadata and the class names as text files into a folder that has the files that compute."""
        metadata.write(folder, self.files)
        (folder / LABELS_FILE).write_text(labels_text(metadata.classes), encoding="utf-8")


def clear(folder: Path) -> None:
    """Removes what is in a folder before it is written again.

    Files are not overwritten: the folder may still be open, and its runtime may have mapped the weights into memory.
    """
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def labels_text(classes: Sequence[str]) -> str:
    """The class names in index order, one per line; a line break within a name becomes a space."""
    return "".join(" ".join(name.splitlines()) + "\n" for name in classes)
