"""The files of MNIST, and of data sets in the same format: images and labels in the IDX format.

Source: http://yann.lecun.com/exdb/mnist, "FILE FORMATS FOR THE MNIST DATABASE"; EMNIST (Cohen et al., 2017).
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.arrays.pixel_arrays import labeled_images, to_labels, to_pixels
from resnet_cli.data.sources.labeled import LabeledImage
from resnet_cli.data.sources.packed_sizes import unpacked_limit
from resnet_cli.data.sources.reading import ROW_FLAGS, Reading
from resnet_cli.data.sources.rows.label_maps import MAX_MAP_BYTES, name_classes
from resnet_cli.data.sources.split_names import split_of
from resnet_cli.data.sources.survey import Survey
from resnet_cli.errors import DataError

#: ``train-images-idx3-ubyte.gz``, ``t10k-labels.idx1-ubyte``, ``emnist-letters-test-images-idx3-ubyte``.
_NAME = re.compile(
    r"(?P<set>.*?)(?P<split>train|t10k|test|val)[-_.](?P<role>images|labels)[-_.]idx\d-ubyte(\.gz)?", re.IGNORECASE
)
_UBYTE = 0x08


def is_idx_name(name: str) -> bool:
    """Whether a file has the name of an IDX file of images or labels."""
    return _NAME.fullmatch(name) is not None


def read_idx(survey: Survey, options: DataConfig) -> Reading | None:
    """Reads the files of one set, or the given file of images and that of its labels.

    Raises:
        DataError: A file is missing or damaged, or there are several sets.
    """
    if survey.file is not None:
        match = _NAME.fullmatch(survey.file.name)
        if match is None:
            return None
        names = [path.name for path in survey.tree.files_in(survey.root)]
        key = (match["set"].lower(), match["split"].lower())
        names = [
            name for name in names if (m := _NAME.fullmatch(name)) and (m["set"].lower(), m["split"].lower()) == key
        ]
    else:
        if survey.has_images:
            return None
        names = [name for name in survey.others() if is_idx_name(name.rpartition("/")[2])]
        if not names:
            return None
    return _read_sets(survey, names)


def _read_sets(survey: Survey, names: list[str]) -> Reading:
    sets: dict[str, dict[tuple[str, str], Path]] = defaultdict(dict)
    for name in names:
        folder, _, base = name.rpartition("/")
        match = _NAME.fullmatch(base)
        assert match is not None
        # A compressed file and its decompressed copy are the same.
        key = (match["split"].lower(), match["role"].lower())
        earlier = sets[f"{folder}/{match['set']}"].get(key)
        if earlier is None or earlier.suffix.lower() == ".gz":
            sets[f"{folder}/{match['set']}"][key] = survey.path(name)
    if len(sets) > 1:
        raise DataError(
            f"{survey.spec}: IDX files of {len(sets)} sets: {', '.join(sorted(sets))}",
            hint="put the files of each set into a folder of its own, and give one of these folders",
        )
    ((name, files),) = sets.items()
    is_emnist = "emnist" in name.lower()
    class_names = _emnist_mapping(next(iter(files.values()))) if is_emnist else []
    images: list[LabeledImage] = []
    for split in sorted({split for split, _ in files}):
        images += _read_split(split, files, class_names, survey, is_transposed=is_emnist)
    images, names_note = name_classes(images, next(iter(files.values())), survey)
    notes = ["EMNIST stores its images transposed; they are read upright"] if is_emnist else []
    return Reading(
        images,
        "MNIST's IDX files",
        "from the names of the files" if len({image.split for image in images}) > 1 else "",
        (*notes, *names_note),
        # Digits, letters and characters of other scripts, except for the set that imitates their files.
        mirror_safe="fashion" in survey.spec.lower(),
        no_effect=ROW_FLAGS,
    )


def _read_split(
    split: str, files: dict[tuple[str, str], Path], class_names: list[str], survey: Survey, *, is_transposed: bool
) -> list[LabeledImage]:
    missing = [role for role in ("images", "labels") if (split, role) not in files]
    if missing:
        present = next(path for key, path in files.items() if key[0] == split)
        raise DataError(
            f"{present}: the file with its {missing[0]} is missing",
            hint=f"put {present.name.replace('images', 'labels') if missing == ['labels'] else 'the images'} beside it",
        )
    labels = to_labels(_read_array(files[split, "labels"], 1), str(files[split, "labels"]), class_names)
    array = _read_array(files[split, "images"], 3)
    if len(array) != len(labels):
        raise DataError(
            f"{files[split, 'images']}: {len(array):,} images, but {len(labels):,} labels in the file beside it"
        )
    pixels, _ = to_pixels(
        array.transpose(0, 2, 1) if is_transposed else array, len(labels), str(files[split, "images"])
    )
    return labeled_images(pixels, labels, "test" if split == "t10k" else split_of(split) or "train")


def _read_array(path: Path, num_axes: int) -> NDArray[np.uint8]:
    try:
        with path.open("rb") as file:
            is_packed = file.read(2) == b"\x1f\x8b"
        limit = unpacked_limit(path.stat().st_size) if is_packed else path.stat().st_size
        with gzip.open(path) if is_packed else path.open("rb") as stream:
            head = stream.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] != _UBYTE or head[3] != num_axes:
                raise DataError(f"{path}: not an IDX file of unsigned bytes with {num_axes} axes")
            sizes = stream.read(4 * num_axes)
            shape = np.frombuffer(sizes[: len(sizes) // 4 * 4], ">u4").tolist()
            num_bytes = math.prod(shape)
            if len(shape) != num_axes or num_bytes > limit:
                raise DataError(f"{path}: damaged: its header says {' x '.join(map(str, shape))} values")
            data = stream.read(num_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or f'damaged: {error}'}") from error
    if len(data) != num_bytes:
        raise DataError(f"{path}: damaged: its header says {num_bytes:,} values, and it contains a different number")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _emnist_mapping(file: Path) -> list[str]:
    """The characters of EMNIST's labels, from ``emnist-letters-mapping.txt``; empty without a usable one.

    Each line has a label and the codes of its characters: ``1 65 97``.
    """
    found: dict[int, str] = {}
    match = _NAME.fullmatch(file.name)
    path = file.with_name(f"{match['set'] if match else ''}mapping.txt")
    try:
        # A pipe would wait.
        lines = path.read_text("ascii").splitlines() if path.is_file() and path.stat().st_size < MAX_MAP_BYTES else []
        for line in lines[:1000]:
            label, *codes = map(int, line.split())
            found[label] = "".join(map(chr, codes))
    except (OSError, ValueError, OverflowError):
        return []
    if not found or min(found) not in (0, 1) or sorted(found) != list(range(min(found), max(found) + 1)):
        return []
    return [found.get(label, "") for label in range(max(found) + 1)]
