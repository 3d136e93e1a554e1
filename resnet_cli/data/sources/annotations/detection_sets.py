"""Refuses data for detection, which a classifier cannot use, by name."""

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
    "to classify images, give one folder per class or a table with the columns image,label; to classify the objects, "
    "crop each one to a file of its own"
)


class DetectionSet(DataError):
    """DATA gives boxes and no class for each image."""


def detection_set(survey: Survey) -> DetectionSet | None:
    """The refusal of a folder of images with YOLO's boxes; None if it is not one."""
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
    return bool(lines) and all(_YOLO_LINE.fullmatch(line) for line in lines)


def refuse_detection_file(path: Path) -> None:
    """Refuses the description of a YOLO data set.

    Raises:
        DataError: The file is one.
    """
    if path.suffix.lower() not in (".yaml", ".yml"):
        return
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    if re.search(rb"^train\s*:", head, re.MULTILINE) and re.search(rb"^(?:names|nc)\s*:", head, re.MULTILINE):
        raise DataError(f"{path}: describes data for detection (YOLO), not one class per image", hint=_HINT)
