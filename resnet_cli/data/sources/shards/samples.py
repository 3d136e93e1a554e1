"""Samples of WebDataset in a folder: an image and the files that label it, under one key."""

from __future__ import annotations

import contextlib
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_cli.data.dataset import Split
from resnet_cli.data.sources.labeled import LabeledImage
from resnet_cli.data.sources.survey import Survey
from resnet_cli.errors import DataError
from resnet_cli.images import is_image_name

#: Fields that may have the label, the most definite first. Source: the decoders of webdataset, autodecode.py.
LABEL_FIELDS = ("cls", "json", "txt")
#: Keys of a sample's JSON that have its class: a name is preferred to a number.
_JSON_KEYS = ("class_name", "label_name", "classname", "class", "label", "cls", "category", "target", "class_id")
#: Keys that have a list of classes; each of the others may have one, too.
_LIST_KEYS = ("class_names", "label_names", "classes", "labels", "categories", "tags", "targets", "class_ids")
#: Several numbers of classes on one line.
_NUMBERS = re.compile(r"\d+(?:\s*[\s,]\s*\d+)+")
_MAX_LABEL_BYTES = 1_000_000
#: A label is shorter, and on average at least two images have it; other texts are captions.
_MAX_LABEL_CHARS = 100


@dataclass(frozen=True)
class Sample:
    """One image and the files of its key.

    Attributes:
        name: Path of the image below the folder.
        image: The image.
        fields: Field -> file, for the fields that may have the label.
    """

    name: str
    image: Path
    fields: dict[str, Path]


@dataclass(frozen=True)
class Samples:
    """The samples of one folder.

    Attributes:
        found: The samples with a label, in the order of their keys.
        num_unlabelled: Number of images without a file of labels.
        is_certain: Whether every image has a file of labels, and each of these a usable label.
        notes: Observations for the user.
    """

    found: tuple[Sample, ...]
    num_unlabelled: int
    is_certain: bool
    notes: tuple[str, ...] = ()


def samples_in(survey: Survey) -> Samples:
    """The samples in a folder.

    Raises:
        DataError: A sample has several images, and which of them is meant is not obvious.
    """
    found: list[Sample] = []
    num_unlabelled = num_dotted = 0
    for folder in survey.folders.values():
        groups: dict[str, list[str]] = defaultdict(list)
        for name in (*folder.images, *folder.others):
            groups[name.partition(".")[0]].append(name)
        for key, names in groups.items():
            parts = _parts(key, names, f"{survey.spec}, sample {folder.name}/{key}".replace(" /", " "))
            num_dotted += len(parts) if len(parts) > 1 else 0
            for image, labels in parts:
                if labels:
                    path = f"{folder.name}/{image}" if folder.name else image
                    beside = {field: survey.path(folder.name) / name for field, name in labels.items()}
                    found.append(Sample(path, survey.path(path), beside))
                else:
                    num_unlabelled += 1
    notes = []
    if num_dotted:
        notes.append(
            f"images whose keys have a dot, which webdataset would merge into fewer samples: {num_dotted:,}; their "
            "keys end at the last dot of their names"
        )
    is_certain = bool(found) and not num_unlabelled and all(_is_usable(sample) for sample in found[:20])
    return Samples(tuple(found), num_unlabelled, is_certain, tuple(notes))


def _parts(key: str, names: Sequence[str], where: str) -> list[tuple[str, dict[str, str]]]:
    """The images of one key, each with its files of labels: usually one image."""
    images = [name for name in names if is_image_name(name)]
    plain = [name for name in images if name.count(".") == 1]
    if len(images) > 1 and len(plain) == 1:
        images = plain
    if len(images) < 2:
        labels = {field: name for name in reversed(names) if (field := _field(name))}
        return [(images[0], labels)] if images else []
    by_stem = {image.rpartition(".")[0]: image for image in images}
    parts = [
        (image, {field: name for name in names if name.rpartition(".")[0] == stem and (field := _field(name))})
        for stem, image in by_stem.items()
    ]
    if len(by_stem) < len(images) or not all(labels for _, labels in parts):
        raise DataError(
            f"{where}: has {len(images)} images: {', '.join(images[:5])}",
            hint="keep one image for each key: the part of the name before its first dot",
        )
    return parts


def _field(name: str) -> str:
    field = name.rpartition(".")[2].lower()
    return field if field in LABEL_FIELDS else ""


def _is_usable(sample: Sample) -> bool:
    try:
        return any(_labels(path, field) is not None for field, path in sample.fields.items())
    except DataError:
        return False


def to_classes(parts: Sequence[tuple[str, Split, Samples]]) -> tuple[list[LabeledImage], list[str]]:
    """The labeled images of all samples, and notes about them.

    Lists that all have the same length, and contain nothing but 0, 1 and -1, have one value per class: -1 is unknown.

    Args:
        parts: What the images' names begin with, the split, and the samples.

    Raises:
        DataError: A label is missing, or the labels are captions.
    """
    every = [sample for _, _, samples in parts for sample in samples.found]
    field = next((field for field in LABEL_FIELDS if every and all(field in sample.fields for sample in every)), None)
    if field is None:
        fields = sorted({field for sample in every for field in sample.fields})
        raise DataError(
            f"no kind of label is in all samples: {', '.join(fields) or 'there are no labels'}",
            hint="give each sample a file KEY.cls with the number or name of its class",
        )
    images = []
    for prefix, split, samples in parts:
        for sample in samples.found:
            labels = _labels(sample.fields[field], field)
            if labels is None:
                raise DataError(
                    f"{sample.fields[field]}: contains no label",
                    hint="give each sample a file KEY.cls with the number or name of its class",
                )
            images.append(LabeledImage(prefix + sample.name, sample.image, labels, split))
    images = _from_marks(images)
    notes = list(dict.fromkeys(note for _, _, samples in parts for note in samples.notes))
    classes = {label for image in images for label in image.labels}
    if field == "txt" and len(images) < 2 * len(classes):
        raise DataError(
            f"the .txt files of {len(images):,} samples have {len(classes):,} different texts: captions, not classes",
            hint="give each sample a file KEY.cls with the number or name of its class",
        )
    return images, notes


def _from_marks(images: list[LabeledImage]) -> list[LabeledImage]:
    """The images with the classes that they mark, if each has one mark per class; else as they are, each label once."""
    lengths = {len(image.labels) for image in images}
    are_marks = len(lengths) == 1 and max(lengths, default=0) > 1
    are_marks = are_marks and all({"0", "1", "-1"}.issuperset(image.labels) for image in images)
    # Numbers of classes do not repeat in a list.
    if not are_marks or all(len(set(image.labels)) == len(image.labels) for image in images):
        return [image._replace(labels=tuple(dict.fromkeys(image.labels))) for image in images]
    return [image._replace(labels=_at(image.labels, "1"), unknown=_at(image.labels, "-1")) for image in images]


def _at(marks: Sequence[str], value: str) -> tuple[str, ...]:
    return tuple(str(number) for number, mark in enumerate(marks) if mark == value)


def _labels(path: Path, field: str) -> tuple[str, ...] | None:
    """The labels in a file; None unless they are short, and on one line or, in ``.cls``, each on one."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_LABEL_BYTES + 1)
        text = data.decode("utf-8-sig").strip()
        value = json.loads(text) if field == "json" else text
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: damaged: {str(error)[:200]}") from error
    if field == "json":
        return _from_json(value)
    if text.startswith("["):
        with contextlib.suppress(ValueError, RecursionError):
            return _list(json.loads(text))
    if _NUMBERS.fullmatch(text):
        return _list(re.split(r"[\s,]+", text))
    return _list(text.splitlines()) if field == "cls" and "\n" in text else _only(text)


def _from_json(value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, dict):
        return _list(value) if isinstance(value, list) else _only(value)
    by_name = {str(key).lower(): entry for key, entry in value.items()}
    found = [label for key in _JSON_KEYS if (label := _only(by_name.get(key))) is not None]
    # Without a label of their own, images have lists of them.
    lists = (_list(by_name[key]) for key in (*_LIST_KEYS, *_JSON_KEYS) if key in by_name)
    found = found or [labels for labels in lists if labels is not None]
    return next((labels for labels in found if not all(map(str.isdigit, labels))), found[0] if found else None)


def _list(values: Any) -> tuple[str, ...] | None:
    """The labels of a list; None if it contains anything else."""
    labels = [_plain(value) for value in values] if isinstance(values, list) else [None]
    return tuple(label for label in labels if label is not None) if None not in labels else None


def _only(value: Any) -> tuple[str, ...] | None:
    label = _plain(value)
    return None if label is None else (label,)


def _plain(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value).strip() if isinstance(value, str) or abs(value) < 10**15 else ""
    is_label = 0 < len(text) <= _MAX_LABEL_CHARS and text.isprintable()
    return text if is_label else None
