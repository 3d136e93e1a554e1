"""Arrays as DATA: .npz, .npy, HDF5 and .mat files with one obvious pair of images and labels for each split."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.arrays.files import ARRAY_FORMATS, StoredArray, open_arrays
from resnet_cli.data.sources.arrays.pixel_arrays import (
    check_shape,
    is_mirror_safe,
    labeled_images,
    num_labels,
    to_labels,
    to_pixels,
)
from resnet_cli.data.sources.arrays.roles import Pair, Roles, assign_roles
from resnet_cli.data.sources.labeled import Ignored, LabeledImage
from resnet_cli.data.sources.reading import Reading
from resnet_cli.data.sources.rows.label_maps import name_classes
from resnet_cli.data.sources.survey import Survey
from resnet_cli.data.sources.tables.formats import is_table_name
from resnet_cli.errors import DataError, ResnetCliError

#: More files of arrays than this are one image each, or something else.
_MAX_FILES = 40
#: Source: http://ufldl.stanford.edu/housenumbers: "Class labels: 1 - 10, digit '0' has label 10".
_SVHN = ("train_32x32.mat", "test_32x32.mat", "extra_32x32.mat")


def read_arrays(survey: Survey, options: DataConfig) -> Reading | None:
    """Reads the given file of arrays, or those of a folder without images.

    Arrays of images without labels are counted as images without a class.

    Raises:
        ConfigError: A flag names an array that does not exist.
        DataError: A file is damaged, or which arrays are images and labels is not obvious.
        SetupError: A file is HDF5, and h5py is not installed.
    """
    if survey.file is not None:
        return _read_file(survey.file, survey, options) if _is_array_file(survey.file) else None
    paths = [] if survey.has_images else [survey.path(name) for name in survey.others(*ARRAY_FORMATS)]
    if not paths:
        return None
    try:
        if len(paths) > _MAX_FILES:
            raise DataError(
                f"{survey.spec}: {len(paths):,} files of arrays such as {paths[0].name}; one array file "
                "per image is not supported",
                hint="write the images as PNG files: PIL.Image.fromarray(numpy.load('a.npy')).save('a.png')",
            )
        arrays = [array for path in paths for array in open_arrays(path)]
        return _read(assign_roles(arrays, survey.root, options), survey)
    except ResnetCliError as error:
        # A model or its features beside a table that lists images do no harm.
        if not any(is_table_name(Path(name)) for name in survey.others()):
            raise
        survey.refusals.append(error)
        return None


def _is_array_file(path: Path) -> bool:
    return path.suffix.lower() in ARRAY_FORMATS


def _read_file(path: Path, survey: Survey, options: DataConfig) -> Reading:
    """Reads one file, and the file beside it that has its labels or its images."""
    arrays = open_arrays(path)
    try:
        roles = assign_roles(arrays, survey.root, options)
    except DataError:
        found = _with_files_beside(path, arrays, survey, options)
        if found is None:
            raise
        roles = found
    return _read(roles, survey)


def _with_files_beside(path: Path, arrays: Sequence[StoredArray], survey: Survey, options: DataConfig) -> Roles | None:
    """The pair of a file's array and one of another file, such as X_train.npy and y_train.npy."""
    files = survey.tree.files_in(survey.root)
    beside = [other for other in files if other.suffix.lower() == path.suffix.lower() and other.name != path.name]
    if len(beside) > _MAX_FILES or options.image_column or options.label_column:
        return None
    try:
        more = [array for other in beside for array in open_arrays(other)]
        roles = assign_roles([*arrays, *more], survey.root, options)
    except DataError:
        return None
    pairs = tuple(pair for pair in roles.pairs if path in (pair.images.path, pair.labels.path))
    return dataclasses.replace(roles, pairs=pairs, unlabelled=(), unused=()) if pairs else None


def _read(roles: Roles, survey: Survey) -> Reading:
    for pair in roles.pairs:
        _check(pair)
    class_names = to_labels(roles.names.load(), str(roles.names)) if roles.names else []
    images: list[LabeledImage] = []
    stored: dict[str, str] = {}
    for pair in roles.pairs:
        labels = to_labels(pair.labels.load(), str(pair.labels), class_names)
        if pair.labels.path.name in _SVHN:
            labels = ["0" if label == "10" else label for label in labels]
        pixels, values = to_pixels(pair.images.load(), len(labels), str(pair.images))
        stored[str(pair.images)] = values
        images += labeled_images(pixels, labels, pair.split or "train")
    if len(set(stored.values())) > 1:
        shown = ", ".join(f"{name}: {values}" for name, values in stored.items())
        raise DataError(f"the splits store brightness differently: {shown}", hint="save all of them as uint8")
    mirror_safe = is_mirror_safe(images, survey.spec)
    images, names_note = name_classes(images, roles.pairs[0].labels.path, survey)
    keys = [array.key for pair in roles.pairs for array in (pair.images, pair.labels)]
    files = sorted({array.path.name for pair in roles.pairs for array in (pair.images, pair.labels)})
    notes = [f"labels are named by the array {roles.names.key}"] if roles.names else []
    if roles.unused:
        notes.append(f"arrays that were not used: {', '.join(array.key for array in roles.unused[:10])}")
    return Reading(
        images,
        f"arrays {', '.join(dict.fromkeys(keys))} of {', '.join(files)}",
        "from the names of the arrays" if any(pair.split for pair in roles.pairs) else "",
        (*notes, *names_note),
        Ignored(unlabelled=sum(array.shape[0] for array in roles.unlabelled)),
        mirror_safe=mirror_safe and not set(files) & set(_SVHN),
        no_effect=("split_column", "image_folder", "on_missing_label", "multi_label"),
    )


def _check(pair: Pair) -> None:
    """Rejects a pair by the headers, before it is read."""
    for array in (pair.images, pair.labels):
        if array.dtype.kind not in "biufUS":
            raise DataError(
                f"{array}: {array.dtype} values, which are not numbers; Python objects are never unpickled",
                hint="save an array of numbers: numpy.savez('data.npz', x_train=numpy.stack(images), y_train=labels)",
            )
    count = num_labels(pair.labels.shape)
    if not count:
        raise DataError(f"{pair.labels}: contains no labels", hint="save images and labels as arrays of equal length")
    if count not in (pair.images.shape[0], pair.images.shape[-1]):
        raise DataError(
            f"{pair.images} has {pair.images.shape[0]:,} images and {pair.labels} {count:,} labels",
            hint="save images and labels as arrays of equal length, in the same order",
        )
    check_shape(pair.images.shape, count, str(pair.images))
