"""Which arrays are images and which are their labels, by the names that people give to both."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import SPLITS, Split
from resnet_cli.data.sources.arrays.files import StoredArray
from resnet_cli.data.sources.arrays.pixel_arrays import num_labels
from resnet_cli.data.sources.split_names import split_of
from resnet_cli.errors import ConfigError, DataError

Role: TypeAlias = Literal["images", "labels", "names"]

#: Words in the names of arrays. Sources: Keras' mnist.npz (``x_train``, ``y_train``), MedMNIST (``train_images``,
#: ``train_labels``), PCam (``x``, ``y``), SVHN (``X``, ``y``), astroNN's Galaxy10 (``images``, ``ans``), and
#: deeplearning.ai's cats (``train_set_x``, ``list_classes``).
_WORDS: dict[str, Role] = {
    **dict.fromkeys(("x", "image", "images", "img", "imgs", "data", "pixels"), "images"),
    **dict.fromkeys(("y", "label", "labels", "target", "targets", "class", "classes", "ans", "gt"), "labels"),
    **dict.fromkeys(("names", "classnames"), "names"),
}
_COMPOUND = re.compile(r"(x|y)(train|val|valid|test|dev)|(train|val|valid|test|dev)(x|y)")


@dataclass(frozen=True)
class Pair:
    """Images and their labels.

    Attributes:
        images: The array of images.
        labels: The array of as many labels.
        split: The split that their names denote; None for data without splits.
    """

    images: StoredArray
    labels: StoredArray
    split: Split | None


@dataclass(frozen=True)
class Roles:
    """What the arrays of DATA are.

    Attributes:
        pairs: One pair for each split.
        names: The names of the classes, if they are stored.
        unlabelled: Arrays of images of a split that has no labels.
        unused: Arrays that are neither.
    """

    pairs: tuple[Pair, ...]
    names: StoredArray | None
    unlabelled: tuple[StoredArray, ...]
    unused: tuple[StoredArray, ...]


def assign_roles(arrays: Sequence[StoredArray], root: Path, options: DataConfig) -> Roles:
    """Finds the pairs of images and labels.

    Args:
        arrays: All arrays of DATA.
        root: The folder of DATA: folders below it may denote splits.
        options: ``image_column`` and ``label_column`` name arrays as they name the columns of a table.

    Raises:
        ConfigError: A flag names an array that does not exist.
        DataError: Several arrays may be the images or the labels of a split, or there is no pair.
    """
    asked: dict[Role, str | None] = {"images": options.image_column, "labels": options.label_column, "names": None}
    for role, key in asked.items():
        if key is not None and not any(array.key == key for array in arrays):
            raise ConfigError(
                f"--{role.removesuffix('s')}-column {key}: no array has this name",
                hint=f"choose one of the arrays: {_shown(arrays)}",
            )
    found: dict[tuple[Split | None, Role], list[StoredArray]] = defaultdict(list)
    rest: list[StoredArray] = []
    for array in arrays:
        found_role = next((role for role, key in asked.items() if key == array.key), None) or _role(array)
        if found_role is None or asked[found_role] not in (None, array.key):
            rest.append(array)
        else:
            found[None if found_role == "names" else _split(array, root), found_role].append(array)
    named = _single(found.pop((None, "names"), []), "names")
    splits: tuple[Split | None, ...] = (*SPLITS, None)
    if not any(found[split, "images"] and found[split, "labels"] for split in splits):
        pair = _obvious(arrays)
        return Roles((pair,), named, (), tuple(x for x in rest if x not in (pair.images, pair.labels)))
    pairs: list[Pair] = []
    unlabelled: list[StoredArray] = []
    for split in splits:
        images, labels = _single(found[split, "images"], "images"), _single(found[split, "labels"], "labels")
        # If some arrays denote a split, those that do not are something else.
        if split is None and pairs:
            rest += [x for x in (images, labels) if x]
        elif images and labels:
            pairs.append(Pair(images, labels, split))
        elif images:
            unlabelled.append(images)
        elif labels:
            rest.append(labels)
    return Roles(tuple(pairs), named, tuple(unlabelled), tuple(rest))


def _role(array: StoredArray) -> Role | None:
    """The role that an array's name denotes, or else its file's name."""
    roles = next((roles for text in (array.key, array.path.stem) if (roles := _roles(text))), set())
    is_text = array.dtype.kind in "US"
    if "names" in roles or (is_text and "labels" in roles and _is_plural_of_classes(array.key)):
        return "names" if is_text else None
    if "labels" in roles:
        return "labels" if is_text or array.dtype.kind in "biuf" else None
    return "images" if "images" in roles and array.dtype.kind in "biuf" and len(array.shape) >= 2 else None


def _roles(text: str) -> set[Role]:
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower())
    compounds = (_COMPOUND.fullmatch(word) for word in words)
    parts = [match[1] or match[4] if match else word for match, word in zip(compounds, words, strict=True)]
    return {_WORDS[part] for part in parts if part in _WORDS}


def _is_plural_of_classes(key: str) -> bool:
    return key.lower().endswith("classes")


def _split(array: StoredArray, root: Path) -> Split | None:
    """The split that the array's name, its file's name or a folder denotes, in this order."""
    try:
        folders = array.path.relative_to(root).parts[-2::-1]
    except ValueError:
        folders = ()
    for text in (array.key, array.path.stem, *folders):
        compound = _COMPOUND.fullmatch(re.sub("[^a-z]", "", text.lower()))
        split = split_of(compound.group(2) or compound.group(3)) if compound else split_of(text)
        if split is not None:
            return split
    return None


def _single(arrays: Sequence[StoredArray], role: Role) -> StoredArray | None:
    if len(arrays) < 2:
        return arrays[0] if arrays else None
    files = sorted({array.path for array in arrays})
    flag = {"images": "--image-column", "labels": "--label-column"}.get(role)
    if len(files) > 1:
        hint = f"give one of the files as DATA: {files[0]}"
    elif flag:
        hint = f"choose one: {flag} {arrays[0].key}"
    else:
        hint = "keep one of them"
    raise DataError(f"several arrays may be the {role}: {_shown(arrays)}", hint=hint)


def _obvious(arrays: Sequence[StoredArray]) -> Pair:
    """The only array that can be images and the only one that can be their labels, whatever their names."""
    images = [array for array in arrays if len(array.shape) in (3, 4) and array.dtype.kind in "biuf"]
    counts = {array.shape[0] for array in images}
    labels = [
        array
        for array in arrays
        if array.dtype.kind in "iuUS"
        and array not in images
        and num_labels(array.shape) in counts
        and math.prod(array.shape) == num_labels(array.shape)
    ]
    if len(images) != 1 or len(labels) != 1:
        files = ", ".join(sorted({path.name for path in {array.path for array in arrays}})[:5])
        raise DataError(
            f"{files}: no pair of images and labels, such as x_train and y_train; the arrays: {_shown(arrays)}",
            hint="name them: --image-column ARRAY --label-column ARRAY",
        )
    return Pair(images[0], labels[0], None)


def _shown(arrays: Sequence[StoredArray]) -> str:
    texts = [f"{array.key} ({' x '.join(map(str, array.shape)) or 'one value'})" for array in arrays[:10]]
    return (ascii(", ".join(texts))[1:-1] or "none") + (f" and {len(arrays) - 10} more" if len(arrays) > 10 else "")
