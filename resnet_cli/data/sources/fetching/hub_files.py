"""Files of the Hub's cache in a form for the local readers: real files, and the images of Parquet shards."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from resnet_cli.data.sources.fetching.remote_cache import MAX_FILES, cache_folder, exclusive, safe_name
from resnet_cli.data.sources.split_names import SPLIT_NAMES
from resnet_cli.data.sources.tables.table import read_table
from resnet_cli.errors import DataError
from resnet_cli.images.formats import IMAGE_FORMATS, recognize
from resnet_cli.system.caches import place_to_write
from resnet_cli.system.paths import atomic_folder, check_space, make_dir

#: Name of the table of unpacked images.
TABLE_NAME = "images.csv"
_COLUMNS = {"image_column": "image", "label_column": "label", "split_column": "split", "group_column": "group"}


def build_once(key: str, name: str, build: Callable[[Path], None]) -> Path:
    """A cache folder that is built completely or not at all, and only once.

    Args:
        key: Text that identifies the content.
        name: Readable name of the folder.
        build: Fills the empty folder that it is called with.

    Raises:
        DiskError: The cache cannot be written.
    """
    folder = cache_folder(key, name) / safe_name(name)
    if folder.exists():
        return folder
    folder = place_to_write(folder.parent) / folder.name
    with exclusive(folder.parent):
        if folder.exists():
            return folder
        make_dir(folder.parent)
        with atomic_folder(folder) as temporary:
            build(temporary)
    return folder


def link_files(files: Mapping[str, Path], folder: Path) -> None:
    """Adds files to a folder as hard links, or as copies where the file system has no hard links.

    Args:
        files: Path below the folder -> the file, or a link to it.
        folder: An empty folder.
    """
    for name, source in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        real = os.path.realpath(source)
        try:
            os.link(real, target)
        except OSError:
            shutil.copyfile(real, target)


def unpack_shards(shards: Mapping[str, Path], folder: Path, columns: Mapping[str, str | None]) -> None:
    """Writes the images in Parquet files as ``SPLIT/ROW.EXTENSION``, and a table of them.

    The split comes from the name or folder of a shard, else it is ``train``; shards without one are skipped if others
    have one. An image that is missing or of an unknown format is written as it is, and reported when images are
    checked.

    Args:
        shards: Path in the data set -> the file.
        folder: An empty folder.
        columns: As for :func:`~resnet_cli.data.sources.tables.table.read_table`; the table gets the same column names.

    Raises:
        DataError: A shard is damaged, or contains no images.
    """
    check_space(folder, sum(shard.stat().st_size for shard in shards.values()), "unpacking the Parquet files")
    splits = {name: split_of(name) for name in shards}
    header = [columns.get(role) or name for role, name in _COLUMNS.items()]
    rows: Counter[str] = Counter()
    with (folder / TABLE_NAME).open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        table = csv.writer(file)
        table.writerow(header)
        for name, shard in shards.items():
            if any(splits.values()) and not splits[name]:
                continue
            split = splits[name] or "train"
            (folder / split).mkdir(exist_ok=True)
            for row in read_table(shard, **columns).rows:
                data = row.data or b""
                image = f"{split}/{rows[split]:07d}{_extension(data)}"
                rows[split] += 1
                if rows.total() > MAX_FILES:
                    raise DataError(f"{shard}: more than {MAX_FILES:,} images")
                (folder / image).write_bytes(data)
                table.writerow([image, _cell(row.labels or ()), row.split or split, row.group])


def _cell(labels: tuple[str, ...]) -> str:
    """The only label, or a list that is read back as it is, whatever the name of its column."""
    return labels[0] if len(labels) == 1 else json.dumps(labels, ensure_ascii=False)


def split_of(shard: str) -> str:
    """The split in a shard's name or folder, as in ``data/test-00000-of-00001.parquet``; empty if there is none."""
    path = PurePosixPath(shard.lower())
    words = [re.split(r"[^a-z]", path.name)[0], *reversed(path.parent.parts)]
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), "")


def _extension(data: bytes) -> str:
    # The decoder reports anything else; it ignores the name.
    known = recognize(data)
    return known.extensions[0] if known in IMAGE_FORMATS else ".jpg"
