"""Recognizes YOLO detection data, and refuses it by name unless images may have several labels."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from resnet_cli.data.sources.survey import Survey
from resnet_cli.errors import DataError

#: A line of a YOLO label file: class, then a box, an outline or points. Source: docs.ultralytics.com/datasets/detect.
_YOLO_LINE = re.compile(rb"\d+(?:[ \t]+-?(?:\d+(?:\.\d*)?|\.\d+)(?:e-?\d+)?){4,}\s*", re.IGNORECASE)
_HEAD_BYTES = 4096
_NUM_TRIED = 5
_HINT = (
    "to learn which of its classes an image shows: --multi-label; for one label per image, give class folders or "
    "a table with the columns image,label; to classify the objects, crop each one to a file of its own"
)


class DetectionSet(DataError):
    """DATA gives boxes and no class for each image."""


def detection_set(survey: Survey) -> DetectionSet | None:
    """The error for a folder of images with YOLO boxes; None if it is not one.

    Source: docs.ultralytics.com/datasets/detect: one text file per image, with one line per object.
    """
    stems = None
    for folder in survey.folders.values():
        names = [name for name in folder.others if name.lower().endswith(".txt")]
        if not names:
            continue
        if stems is None:
            stems = {PurePosixPath(image).stem for image in survey.images()}
        labels = [name for name in names if PurePosixPath(name).stem in stems]
        if len(labels) * 2 > len(names) and any(
            _is_yolo(survey.path(folder.name) / name) for name in labels[:_NUM_TRIED]
        ):
            where = folder.name or "."
            return DetectionSet(
                f"{survey.spec}: data for detection: {len(labels):,} files in {where} list boxes (YOLO), not one class "
                "per image",
                hint=_HINT,
            )
    return None


def _is_yolo(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    lines = [line for line in head.splitlines()[:-1] or head.splitlines() if line.strip()]
    return bool(lines) and all(map(is_yolo_line, lines))


def is_yolo_line(line: bytes) -> bool:
    """Whether a line of a text is the number of a class and a box, an outline or points."""
    return _YOLO_LINE.fullmatch(line) is not None


def is_yolo_description(path: Path) -> bool:
    """Whether a file describes a YOLO data set, as ``data.yaml`` does.

    Raises:
        DataError: It has the extension of such a file and cannot be read.
    """
    if path.suffix.lower() not in (".yaml", ".yml"):
        return False
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    keys = (rb"^train\s*:", rb"^(?:names|nc)\s*:")
    return all(re.search(key, head, re.MULTILINE) for key in keys)


def refused_description(path: Path) -> DataError:
    """The error for the description of a YOLO data set."""
    return DataError(f"{path}: describes data for detection (YOLO), not one class per image", hint=_HINT)
