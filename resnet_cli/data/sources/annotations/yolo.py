"""YOLO's data for detection as labels of whole images: the classes of an image's objects.

Source: docs.ultralytics.com/datasets/detect: a text file per image, beside it or in ``labels`` instead of ``images``;
an image without objects needs no file; ``data.yaml`` names the classes and the folders of the splits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.annotations.detection_sets import is_yolo_description, is_yolo_line
from resnet_cli.data.sources.reading import Reading
from resnet_cli.data.sources.rows.label_maps import class_names
from resnet_cli.data.sources.rows.labeled_rows import read_rows
from resnet_cli.data.sources.rows.row import Row, RowFile
from resnet_cli.data.sources.split_names import SPLIT_NAMES
from resnet_cli.data.sources.survey import Survey
from resnet_cli.errors import DataError
from resnet_cli.text import counted

#: A label file, or a description, is smaller.
_MAX_BYTES = 10_000_000


def read_yolo(survey: Survey, options: DataConfig, *, description: Path | None = None) -> Reading:
    """Reads a folder of images with YOLO's boxes as multi-label data.

    Images without a label file show none of the classes, unless no image of their folder has one.

    Args:
        survey: The content of DATA, or of the folder of the description.
        options: How DATA is read.
        description: The ``data.yaml`` that was given as DATA; None looks for one.

    Raises:
        DataError: A file is damaged, or there are no labels.
    """
    if description is not None:
        survey = Survey(survey.root, spec=survey.spec, follow_links=options.follow_links, within=survey.within)
    places = [description] if description else [survey.path(name) for name in survey.others(".yaml", ".yml")]
    about = next((_read_yaml(path) for path in places if is_yolo_description(path)), {})
    files = set(survey.others(".txt"))
    rows: list[Row] = []
    unlabeled = 0
    for folder in survey.folders.values():
        labels = {image: _labels_file(folder.child(image), files) for image in folder.images}
        if not any(labels.values()):
            unlabeled += len(folder.images)
            continue
        for image, file in labels.items():
            found = tuple(dict.fromkeys(_classes(survey.path(file)))) if file else ()
            name = folder.child(image)
            rows.append(Row(name, found, _split(name, about), line=len(rows) + 1))
    if not rows:
        raise DataError(f"{survey.spec}: no image has a label file", hint="give the folder with images and labels")
    where = description or survey.path(next(iter(sorted(files))))
    names, note = _names(about, {label for row in rows for label in row.labels or ()}, where, survey)
    notes = [note] if note else []
    if unlabeled:
        notes.append(f"{counted(unlabeled, 'image')} in folders without any label file, which were not used")
    listed = RowFile(where, [row.renamed(names) for row in rows], image_folder=survey.root)
    return read_rows([listed], survey, options, what="the classes of YOLO's objects in each image", notes=notes)


def _labels_file(image: str, files: set[str]) -> str:
    """The file of an image's labels; empty if there is none."""
    path = PurePosixPath(image).with_suffix(".txt")
    parts = list(path.parts)
    choices = [path.as_posix()]
    if "images" in parts[:-1]:
        last = len(parts) - 1 - parts[::-1].index("images")
        choices.insert(0, "/".join([*parts[:last], "labels", *parts[last + 1 :]]))
    return next((name for name in choices if name in files), "")


def _classes(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    for number, line in enumerate(data.splitlines(), 1):
        if line.strip():
            if not is_yolo_line(line.strip()):
                raise DataError(f"{path}: line {number}: not the number of a class and a box: {ascii(line)[:60]}")
            yield str(int(line.split()[0]))


def _read_yaml(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            found = yaml.safe_load(file.read(_MAX_BYTES))
    except (OSError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise DataError(f"{path}: not YAML: {str(error)[:200]}") from error
    return found if isinstance(found, dict) else {}


def _names(about: Mapping[str, Any], numbers: set[str], where: Path, survey: Survey) -> tuple[Mapping[str, str], str]:
    """Number -> name of the classes that occur, from the description or from a list beside it."""
    given = about.get("names")
    pairs = enumerate(given) if isinstance(given, list) else given.items() if isinstance(given, dict) else ()
    names = {str(number): str(name).strip() for number, name in pairs if isinstance(name, str | int)}
    if not names:
        return class_names(numbers, where, survey)
    if missing := sorted(numbers - names.keys(), key=int):
        raise DataError(
            f"{where}: objects have the class {missing[0]}, but 'names' has {len(names)} classes",
            hint="complete 'names' in the YAML file",
        )
    return names, ""


def _split(name: str, about: Mapping[str, Any]) -> str:
    """The split whose folder, as the description names it, has an image; empty if none has."""
    for key, value in about.items():
        split = SPLIT_NAMES.get(str(key).lower(), "")
        for entry in value if isinstance(value, list) else [value]:
            # `train: ../train/images` is below the folder of the description all the same.
            folder = entry.replace("\\", "/").lstrip("./").rstrip("/") if split and isinstance(entry, str) else ""
            if folder and f"/{folder}/" in f"/{name}":
                return split
    return ""
