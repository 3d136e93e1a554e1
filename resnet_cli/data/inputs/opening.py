"""Opens the images to predict on, however the user names them: as an iterator, never as a list."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from resnet_cli.data.dataset import Item
from resnet_cli.data.inputs.file_walk import images_below, is_pattern, matching
from resnet_cli.errors import ConfigError, DataError, NetworkError
from resnet_cli.images import MAX_PIXELS, is_image_name
from resnet_cli.system.events import OnWork
from resnet_cli.system.paths import user_path


@dataclasses.dataclass(frozen=True)
class InputOptions:
    """How inputs are read.

    Attributes:
        recursive: Whether a folder includes the images of its subfolders.
        image_column: Column of tables with paths or images; None recognizes it by its name.
        image_folder: Folder with the images of tables; None finds them beside the table, or by name.
        max_pixels: Larger images are reported as unreadable.
        offline: Never use the network.
    """

    recursive: bool = True
    image_column: str | None = None
    image_folder: str | None = None
    max_pixels: int = MAX_PIXELS
    offline: bool = False


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Images without labels, in the order in which they were named.

    Attributes:
        items: One pass over the images, including files that do not exist; these are reported like damaged ones.
        total: Number of images, if it is known without searching for them.
        has_folder: Whether an input may contain folders.
    """

    items: Iterator[Item]
    total: int | None
    has_folder: bool = False


def find_images(
    specs: Sequence[str],
    *,
    stdin: BinaryIO,
    options: InputOptions | None = None,
    on_work: OnWork = lambda *_: None,
) -> Inputs:
    """Finds the images that the user names, in that order.

    A folder means the images below it, a table (``.csv``, ``.tsv``, ``.jsonl``, ``.parquet``, ``.txt``) those in its
    image column, and an archive those in it. A name with ``*``, ``?`` or ``[`` that is not a file is a pattern.
    ``https://...`` is one image, unless it has the extension of an archive or a table. ``-`` is one image on stdin.

    Args:
        specs: Names as the user typed them.
        stdin: Read once for ``-``.
        options: How images are read.
        on_work: Called with the progress of downloads and unpacking before the first image.

    Raises:
        ConfigError: ``--image-column`` or ``--image-folder`` is given, and no input is a table.
        DataError: A folder, pattern, table or archive contains no images; the iterator raises it for problems that
            are found only later.
        NetworkError: An input is an address, and the network must not be used.
    """
    options = options or InputOptions()
    sources = [_open(spec, stdin, options, on_work) for spec in specs]
    for flag, value in (("--image-column", options.image_column), ("--image-folder", options.image_folder)):
        if value is not None and not any(source.is_table for source in sources):
            raise ConfigError(f"{flag} has no effect: no input is a table", hint="remove it")
    total = sum(source.num for source in sources) if all(source.num for source in sources) else None
    has_folder = any(source.is_folder for source in sources)
    return Inputs(itertools.chain.from_iterable(source.items() for source in sources), total, has_folder)


def listed_images(paths: Iterable[str], *, options: InputOptions, base: str = "") -> Iterator[Item]:
    """Yields images from a list of paths or URLs.

    Args:
        paths: Any number of paths or URLs.
        options: How images are read.
        base: Folder to which relative paths refer.
    """
    for path in paths:
        if _is_web(path) and not os.path.lexists(path):
            yield _web_item(path, options)
        else:
            file = os.path.join(base, path)
            yield Item(file, Path(file), max_pixels=options.max_pixels)


@dataclasses.dataclass(frozen=True)
class _Source:
    """One input that the user named.

    Attributes:
        items: Starts a pass over its images.
        num: Number of images; 0 if it is not known.
        is_table: Whether it is a table, so that ``--image-column`` has an effect.
        is_folder: Whether it may contain folders.
    """

    items: Callable[[], Iterator[Item]]
    num: int = 0
    is_table: bool = False
    is_folder: bool = False


def _open(spec: str, stdin: BinaryIO, options: InputOptions, on_work: OnWork) -> _Source:
    if not spec:
        raise DataError("an input is empty", hint="is a shell variable unset?")
    if spec == "-":
        return _Source(lambda: iter([Item("-", stdin.read(), max_pixels=options.max_pixels)]), 1)
    path = user_path(spec)
    if not os.path.lexists(path):
        # Only if there is no such file: its name may begin with `scheme://` or `hf:`.
        if _is_remote(spec):
            return _open_remote(spec, options, on_work)
        if is_pattern(spec):
            return _checked(spec, lambda: listed_images(matching(str(path)), options=options))
    return _open_path(spec, path, options, on_work)


def _open_path(spec: str, path: Path, options: InputOptions, on_work: OnWork, *, within: Path | None = None) -> _Source:
    if os.path.isdir(path):
        walk = lambda: listed_images(images_below(str(path), recursive=options.recursive), options=options)  # noqa: E731
        return dataclasses.replace(_checked(spec, walk, folder=path), is_folder=True)
    if os.path.isfile(path) and not is_image_name(path):
        from resnet_cli.data.sources.fetching.archives import is_archive_name
        from resnet_cli.data.sources.tables.formats import is_table_name

        if is_archive_name(path.name):
            return _open_archive(spec, path, options, on_work)
        if is_table_name(path):
            rows = _checked(spec, lambda: _table_items(path, options, within))
            return dataclasses.replace(rows, is_table=True)
    return _Source(lambda: iter([Item(str(path), path, max_pixels=options.max_pixels)]), 1)


def _checked(spec: str, items: Callable[[], Iterator[Item]], *, folder: Path | None = None) -> _Source:
    """Finds the first image, so that an empty input is reported before anything is computed."""
    if next(items(), None) is None:
        from resnet_cli.data.sources.folders.misnamed import find_misnamed

        misnamed = find_misnamed(folder) if folder else None
        if folder and misnamed:
            raise DataError(f"{spec}: {misnamed.describe(folder)}", hint=misnamed.hint(folder))
        raise DataError(f"{spec}: no images found", hint="name files, folders or patterns such as 'images/*.jpg'")
    return _Source(items)


def _open_archive(spec: str, path: Path, options: InputOptions, on_work: OnWork) -> _Source:
    from resnet_cli.data.sources.fetching.archives import unpacked
    from resnet_cli.data.sources.fetching.wanted_members import is_wanted_member

    folder = str(unpacked(path, wanted=is_wanted_member, on_progress=lambda *counts: on_work("unpack", *counts)))

    def items() -> Iterator[Item]:
        for file in images_below(folder, recursive=options.recursive):
            # Named as in the archive: users do not know the cache folder.
            inside = os.path.relpath(file, folder).replace(os.sep, "/")
            yield Item(f"{spec}/{inside}", Path(file), max_pixels=options.max_pixels)

    return dataclasses.replace(_checked(spec, items), is_folder=True)


def _table_items(path: Path, options: InputOptions, within: Path | None) -> Iterator[Item]:
    from resnet_cli.data.inputs.path_lists import read_image_column
    from resnet_cli.data.inputs.table_images import located

    fence = None if within is None else os.path.join(os.path.realpath(within), "")
    rows = read_image_column(path, options.image_column)
    for row, file in located(path, rows, options.image_folder, is_fenced=fence is not None):
        if row.data is not None:
            yield Item(f"{path}/{row.image}", row.data, max_pixels=options.max_pixels)
        elif _is_web(row.image):
            yield _web_item(row.image, options)
        elif fence and not os.path.realpath(file).startswith(fence):
            raise DataError(f"{path}, line {row.line}: '{row.image}' is outside {path.parent.name}")
        else:
            yield Item(str(file), file, max_pixels=options.max_pixels)


def _is_web(spec: str) -> bool:
    return spec.startswith(("http://", "https://"))


def _is_remote(spec: str) -> bool:
    return "://" in spec or spec.startswith("hf:")


def _open_remote(spec: str, options: InputOptions, on_work: OnWork) -> _Source:
    from resnet_cli.data.sources.fetching import remote
    from resnet_cli.data.sources.fetching.archives import is_archive_name
    from resnet_cli.data.sources.tables.formats import is_table_name
    from resnet_cli.network.download import is_offline

    address = spec.partition("#")[0].partition("?")[0]
    last = address.rstrip("/").rpartition("/")[2]
    if _is_web(spec) and not address.endswith("/") and not is_archive_name(last) and not is_table_name(Path(last)):
        if is_offline(options.offline):
            raise NetworkError(f"offline, and {address} is on the network", hint="remove --offline, or give a file")
        return _Source(lambda: iter([_web_item(spec, options)]), 1)
    columns = {"image_column": options.image_column}
    path = remote.localize(
        spec, offline=options.offline, columns=columns, on_progress=lambda *counts: on_work("download", *counts)
    )
    return _open_path(spec, path, options, on_work, within=path.parent)


def _web_item(url: str, options: InputOptions) -> Item:
    from resnet_cli.data.inputs.web import web_item

    return web_item(url, max_pixels=options.max_pixels, offline=options.offline)
