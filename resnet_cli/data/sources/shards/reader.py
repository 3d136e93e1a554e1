"""WebDataset: tar files in which files of the same key are one sample, ``000012.jpg`` with ``000012.cls``.

Source: https://github.com/webdataset/webdataset, "The WebDataset Format", and tariterators.py: the key ends at the
first dot of a file's name. Shards are unpacked into the cache, as other archives are, and not read by the library,
which checks neither sizes nor names.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Split
from resnet_cli.data.sources.fetching import archives
from resnet_cli.data.sources.fetching.archive_reader import Budget, open_members, readable
from resnet_cli.data.sources.fetching.wanted_members import is_wanted_member
from resnet_cli.data.sources.labeled import Ignored, negatives_note, task_of
from resnet_cli.data.sources.reading import ROW_FLAGS, Reading
from resnet_cli.data.sources.rows.label_maps import name_classes
from resnet_cli.data.sources.shards.samples import LABEL_FIELDS, Samples, samples_in, to_classes
from resnet_cli.data.sources.split_names import split_of
from resnet_cli.data.sources.survey import Survey
from resnet_cli.errors import DataError
from resnet_cli.images import is_image_name
from resnet_cli.system.paths import user_path
from resnet_cli.text import counted

SHARD_EXTENSIONS = (".tar", ".tgz")
_MAX_SHARDS = 20_000
#: Members of a tar that are looked at to find out whether it is a shard.
_NUM_LOOKED_AT = 32
#: ``{000000..000009}`` and ``{train,val}``. Source: Bash's manual, "Brace Expansion".
_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")


def shard_files(spec: str) -> list[Path]:
    """The files of a pattern with braces, ``shards/train-{000000..000009}.tar``; empty if it is no such pattern.

    Raises:
        DataError: A file does not exist, or the pattern denotes too many files.
    """
    if not _BRACES.search(spec) or not spec.lower().endswith(SHARD_EXTENSIONS):
        return []
    names = [spec]
    while match := _BRACES.search(names[0]):
        choices = match[3].split(",") if match[3] is not None else _numbers(match[1], match[2])
        if len(names) * len(choices) > _MAX_SHARDS:
            raise DataError(f"DATA {spec}: denotes more than {_MAX_SHARDS:,} files")
        names = [f"{name[: match.start()]}{choice}{rest}" for name, rest in _around(names) for choice in choices]
    paths = [user_path(name) for name in names]
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise DataError(
            f"DATA {spec}: files that do not exist: {len(missing):,} of {len(paths):,}, such as {missing[0]}",
            hint=f"check the numbers in braces: ls {paths[0].parent}",
        )
    return paths


def _around(names: Sequence[str]) -> list[tuple[str, str]]:
    """Each name with what follows its first braces."""
    return [(name, name[match.end() :]) for name in names if (match := _BRACES.search(name))]


def _numbers(first: str, last: str) -> list[str]:
    start, stop = int(first[:12]), int(last[:12])
    width = max(len(first), len(last)) if first.startswith("0") or last.startswith("0") else 0
    step = 1 if stop >= start else -1
    return [f"{number:0{width}d}" for number in itertools.islice(range(start, stop + step, step), _MAX_SHARDS + 1)]


def read_shards(survey: Survey, options: DataConfig) -> Reading | None:
    """Reads a folder of shards, or the samples of one shard that was unpacked.

    Raises:
        DataError: A shard is damaged, or its labels are not those of one class for each image.
        DiskError: The cache has no room for the unpacked shards.
    """
    if survey.file is not None:
        return None
    if survey.has_images:
        return _read_unpacked(survey)
    paths = [survey.path(name) for name in survey.others(*SHARD_EXTENSIONS)]
    return read_shard_files(paths, survey) if paths and _is_shard(paths[0]) else None


def _is_shard(path: Path) -> bool:
    """Whether a tar begins with images and files of labels that have the same keys."""
    with readable(path):
        budget = Budget(path, path.stat().st_size)
    images, labels = set(), set()
    try:
        with open_members(budget) as members:
            for member in itertools.islice(members, _NUM_LOOKED_AT):
                folder, _, name = member.name.rpartition("/")
                key, _, field = name.partition(".")
                if is_image_name(name):
                    images.add((folder, key))
                elif field.lower().rpartition(".")[2] in LABEL_FIELDS:
                    labels.add((folder, key))
    except DataError:
        return False
    return bool(images & labels)


def _read_unpacked(survey: Survey) -> Reading | None:
    """The samples of a folder: with .cls files anywhere, or with other files of labels in a flat folder."""
    folders = [folder for folder in survey.folders.values() if folder.images]
    has_cls = any(name.lower().endswith(".cls") for folder in folders for name in folder.others)
    is_flat = survey.within is not None and len(folders) == 1 and not folders[0].folders
    if not has_cls and not (is_flat and survey.folders[folders[0].name].others):
        return None
    samples = samples_in(survey)
    if not has_cls and not samples.is_certain:
        return None
    num_unlabelled = samples.num_unlabelled
    return _reading(
        [("", "train", samples)], samples.found[0].image, survey, "WebDataset samples", num_unlabelled=num_unlabelled
    )


def _reading(
    parts: Sequence[tuple[str, Split, Samples]], first: Path, survey: Survey, what: str, *, num_unlabelled: int
) -> Reading:
    found, notes = to_classes(parts)
    images, names_note = name_classes(found, first, survey)
    return Reading(
        images,
        what,
        notes=(*notes, *names_note, *negatives_note(images)),
        ignored=Ignored(unlabelled=num_unlabelled),
        task=task_of(images),
        no_effect=ROW_FLAGS,
    )


def read_shard_files(paths: Sequence[Path], survey: Survey) -> Reading:
    """Reads shards, whose names or folders may denote splits.

    Args:
        paths: The shards.
        survey: The folder that contains them.

    Raises:
        DataError: As :func:`read_shards`.
        DiskError: As :func:`read_shards`.
    """
    if len(paths) > _MAX_SHARDS:
        raise DataError(f"{survey.spec}: more than {_MAX_SHARDS:,} shards")
    splits = [split_of(path.name.partition(".")[0]) or _folder_split(path, survey.root) for path in paths]
    if any(splits) and not all(splits):
        unknown = paths[splits.index(None)]
        raise DataError(
            f"{survey.spec}: the names of some shards denote a split, but that of {unknown.name} does not",
            hint="give the shards of one kind as DATA: 'shards/train-{000000..000009}.tar'",
        )
    parts: list[tuple[str, Split, Samples]] = []
    for path, split in zip(paths, splits, strict=True):
        folder = archives.unpacked(path, wanted=is_wanted_member)
        samples = samples_in(Survey(folder, spec=str(path), within=folder))
        if not samples.found:
            raise DataError(
                f"{path}: contains no images with labels", hint="remove it, or give the other shards by name"
            )
        parts.append((_prefix(path, survey.root), split or "train", samples))
    num_unlabelled = sum(samples.num_unlabelled for _, _, samples in parts)
    reading = _reading(parts, paths[0], survey, counted(len(paths), "WebDataset shard"), num_unlabelled=num_unlabelled)
    return dataclasses.replace(reading, split_note="from the names of the shards" if any(splits) else "")


def _folder_split(path: Path, root: Path) -> Split | None:
    return None if path.parent == root else split_of(path.parent.name)


def _prefix(path: Path, root: Path) -> str:
    """What the names of a shard's images begin with."""
    relative = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    return f"{relative.with_suffix('').as_posix()}/"
