"""Names of folders, files and table cells that denote a split."""

from __future__ import annotations

import re

from resnet_cli.data.dataset import Split
from resnet_cli.errors import DataError

#: Names (lower case) of folders, files and table cells that denote a split.
SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "training_set": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "validation_set": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "test_set": "test",
}

#: Words inside a longer name that denote a split: ``Training Data``, ``test_images``, ``cars_train``.
_WORDS: dict[str, Split] = SPLIT_NAMES | {
    "trn": "train",
    "eval": "val",
    "evaluation": "test",
    "holdout": "test",
    "tst": "test",
}
#: Parts of a word that are split off: ``trainset``, ``testimages``.
_COMPOUND = re.compile(r"(train|training|val|valid|validation|test|testing)(set|data|images?|labels?|folder|split)")


def split_of(name: str) -> Split | None:
    """The split that a longer name denotes; None if it names none or several.

    Args:
        name: A file's stem or a folder's name, such as ``train1``, ``seg_train``, ``TestImages``, ``Training Data``,
            ``ISIC_2019_Training_Input``.
    """
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    parts = [compound[1] if (compound := _COMPOUND.fullmatch(word)) else word for word in words]
    found = {_WORDS[part] for part in parts if part in _WORDS}
    return found.pop() if len(found) == 1 else None


def read_split(text: str, where: str) -> Split:
    """The split with a given name; ``train`` for an empty name.

    Raises:
        DataError: The name does not denote a split.
    """
    if not text:
        return "train"
    split = SPLIT_NAMES.get(text.lower())
    if split is None:
        raise DataError(f"{where}: the split '{text}' is unknown", hint="write train, val or test")
    return split
