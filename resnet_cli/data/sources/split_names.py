"""Names of folders, files and table cells that denote a split."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

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

#: Words inside a longer name that denote a split: ``Training Data``, ``test_images``, ``cars_train``. Accents are
#: removed. In other languages: Spanish, Portuguese, French, Italian, German, Chinese, Japanese.
_WORDS: dict[str, Split] = (
    SPLIT_NAMES
    | dict.fromkeys(("trn", "trainval", "entrenamiento", "treino", "treinamento", "entrainement"), "train")
    | dict.fromkeys(("apprentissage", "addestramento", "trainingsdaten", "训练", "训练集", "訓練", "学習"), "train")
    | dict.fromkeys(("eval", "validacion", "validacao", "validazione", "validierung", "验证", "验证集", "検証"), "val")
    | dict.fromkeys(("evaluation", "holdout", "tst", "prueba", "pruebas", "teste", "testdaten"), "test")
    | dict.fromkeys(("测试", "测试集", "テスト"), "test")
)
#: Parts of a word that are split off: ``trainset``, ``testimages``.
_COMPOUND = re.compile(
    r"(train|training|val|valid|validation|test|testing)(set|data|dataset|images?|imgs?|labels?|folder|split|dir)"
)
#: Words beside the split that say nothing about the content.
_FILLERS = frozenset(
    "all and class classes classification clean crop cropped crops data dataset datasets dir final folder folders "
    "full image images img imgs input inputs jpeg jpg labeled labelled labels large mini new of original part photo "
    "photos pic pics picture pictures png processed public private raw resized sample samples set sets simple small "
    "split splits subset the version datos imagenes daten bilder dados donnees".split()
)


class SplitName(NamedTuple):
    """A longer name that denotes a split.

    Attributes:
        split: The split.
        rest: Its other words that say something about the content, in order: ``seg`` of ``seg_train``.
    """

    split: Split
    rest: tuple[str, ...]


def words_of(name: str) -> list[str]:
    """The words of a name in lower case, without accents, digits and separators: ``TestImages_2`` -> test, images."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    plain = "".join(char for char in unicodedata.normalize("NFKD", spaced) if not unicodedata.combining(char))
    return re.findall(r"[^\W\d_]+", plain.lower())


def parse_split(name: str) -> SplitName | None:
    """Reads a longer name; None if it denotes no split or several.

    Args:
        name: A file's stem or a folder's name, such as ``train1``, ``seg_train``, ``TestImages``, ``Training Data``,
            ``ISIC_2019_Training_Input``.
    """
    parts = [compound[1] if (compound := _COMPOUND.fullmatch(word)) else word for word in words_of(name)]
    found = {_WORDS[part] for part in parts if part in _WORDS}
    if len(found) != 1:
        return None
    # Single letters count parts, as digits do.
    said = [part for part in parts if part not in _WORDS and part not in _FILLERS and not re.fullmatch("[a-z]", part)]
    return SplitName(found.pop(), tuple(said))


def split_of(name: str) -> Split | None:
    """The split that a longer name denotes, as for :func:`parse_split`; None if it denotes none or several."""
    found = parse_split(name)
    return found and found.split


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
