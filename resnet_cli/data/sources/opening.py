"""Opens DATA, of whatever kind, as a :class:`Dataset`."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path

from resnet_cli.config.data import DataConfig
from resnet_cli.config.nearest import did_you_mean
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.sources.fetching import archives, remote
from resnet_cli.data.sources.fetching.wanted_members import is_wanted_member
from resnet_cli.data.sources.folders.layout import Layout
from resnet_cli.data.sources.labeled import build_dataset, group_items
from resnet_cli.data.sources.own_tables import own_kind
from resnet_cli.data.sources.readers import FOLDER_FLAGS, read, refuse_without_effect
from resnet_cli.data.sources.reading import COLUMN_FLAGS, ROW_FLAGS, Reading
from resnet_cli.data.sources.shards.reader import read_shard_files, shard_files
from resnet_cli.data.sources.survey import Survey
from resnet_cli.errors import DataError
from resnet_cli.network.known_sets import DATASETS
from resnet_cli.network.remote_file import OnProgress
from resnet_cli.system.events import OnWork
from resnet_cli.system.paths import user_path


def open_dataset(spec: str, options: DataConfig | None = None, *, on_work: OnWork = lambda *_: None) -> Dataset:
    """Opens a data set with the splits of its source; a source without splits is all ``train``.

    Args:
        spec: A folder, a file, an archive of either, a pattern of shards with braces, the URL of a folder, file or
            archive, or the name of a data set in the registry.
        options: How the data is read.
        on_work: Called with the bytes done and the bytes in all of ``download`` and ``unpack``.

    Raises:
        ConfigError: A flag has no effect on this kind of source.
        DataError: The data does not exist, or its layout is not usable.
        NetworkError: It has to be downloaded and cannot be.
    """
    options = options or DataConfig()
    if not spec.strip():
        raise DataError(
            "DATA is empty", hint="give a folder, a table, an archive or a name; is a shell variable unset?"
        )

    def on_download(done: int, total: int | None) -> None:
        on_work("download", done, total)

    # os.path instead of Path: a name that is too long is a missing folder, not an OSError.
    if spec in DATASETS and not os.path.isdir(user_path(spec)):
        dataset = _open_named(spec, options, on_download)
    elif remote.is_remote(spec):
        path = remote.localize(
            spec,
            columns={field: getattr(options, field) for field in COLUMN_FLAGS},
            offline=options.offline,
            on_progress=on_download,
        )
        dataset = _open_path(path, options, spec=spec, on_work=on_work, within=path if path.is_dir() else path.parent)
        dataset = dataclasses.replace(dataset, name=_short_name(spec))
    else:
        path = user_path(spec)
        shards = [] if os.path.exists(path) else shard_files(spec)
        if not shards and not os.path.exists(path):
            raise DataError(
                f"DATA {spec}: no such folder or file",
                hint=f"{did_you_mean(spec, DATASETS)}give a folder with one subfolder per class, a table, an archive, "
                f"a URL, or a name: {', '.join(DATASETS)}",
            )
        # A table that is a link lists images beside the link.
        absolute = path.resolve() if path.is_dir() else path.parent.resolve() / path.name
        if shards:
            dataset = _open_shards(shards, options, spec=str(absolute))
        else:
            dataset = _open_path(path, options, spec=str(absolute), on_work=on_work, within=None)
    if options.group_by and not any(item.group for item in dataset.items):
        dataset = group_items(dataset, options.group_by)
    return dataset.select(options.classes) if options.classes else dataset


def _open_named(name: str, options: DataConfig, on_download: OnProgress) -> Dataset:
    from resnet_cli.data.sources.named import registered as named

    refuse_without_effect(options, (*ROW_FLAGS, *FOLDER_FLAGS, "multi_label"), f"{name} has its own labels")
    dataset = named.open_named(name, offline=options.offline, on_download=on_download)
    dataset = dataclasses.replace(dataset, reading=f"the data set {name}")
    if options.max_pixels is None:
        return dataset
    limited = tuple(dataclasses.replace(item, max_pixels=options.max_pixels) for item in dataset.items)
    return dataclasses.replace(dataset, items=limited)


def _open_path(path: Path, options: DataConfig, *, spec: str, on_work: OnWork, within: Path | None) -> Dataset:
    """Opens a local path; tables may list nothing outside ``within``."""
    if path.is_file() and archives.is_archive_name(path.name):
        folder = archives.unpacked(path, wanted=is_wanted_member, on_progress=lambda *n: on_work("unpack", *n))
        return dataclasses.replace(
            _open_path(folder, options, spec=spec, on_work=on_work, within=folder), name=_short_name(path.name)
        )
    if within is not None:
        refuse_without_effect(options, ("follow_links",), f"{spec} contains no links")
    survey = Survey(path, spec=spec, follow_links=options.follow_links, within=within)
    own = _own_tables_note(survey)
    try:
        reading = read(survey, options)
    except DataError as error:
        if not own:
            raise
        raise DataError(error.message, hint="; ".join(filter(None, (own, error.hint)))) from error
    name = path.resolve().name if path.is_dir() else path.name.partition(".")[0]
    return _built(reading, options, name=name, spec=spec, notes=[own] if own else [])


def _open_shards(files: Sequence[Path], options: DataConfig, *, spec: str) -> Dataset:
    refuse_without_effect(options, (*ROW_FLAGS, *FOLDER_FLAGS), "DATA is a pattern of shards")
    reading = read_shard_files(files, Survey(files[0].parent, spec=spec))
    return _built(reading, options, name=files[0].parent.resolve().name, spec=spec)


def _built(reading: Reading, options: DataConfig, *, name: str, spec: str, notes: Sequence[str] = ()) -> Dataset:
    return build_dataset(
        reading.images,
        name=name or "data",
        spec=spec,
        max_pixels=options.max_pixels,
        ignored=reading.ignored,
        notes=(*reading.notes, *notes),
        split_note=reading.split_note,
        reading=reading.what,
        mirror_safe=reading.mirror_safe,
        task="multi-label" if options.multi_label else reading.task,
        classes=reading.classes,
    )


def _short_name(spec: str) -> str:
    """``https://host/pets.tar.gz?x=1`` -> ``pets``; ``hf:owner/pets@main`` -> ``pets``."""
    path = re.split("[?#@]", spec.rstrip("/"))[0] if remote.is_remote(spec) else spec
    last = re.split("[/\\\\]", path.rstrip("/"))[-1]
    stem = re.split(r"\.(?:zip|t[a-z]+2?|csv|jsonl|ndjson|parquet)\b", last, flags=re.IGNORECASE)[0]
    # Run folders get this name, and Windows does not allow these characters.
    return re.sub(r'[<>:"|?*\x00-\x1f]', "_", stem).rstrip(". ") or "data"


def _own_tables_note(survey: Survey) -> str:
    """Says which tables of this tool at the top of DATA are not used, and how to use them; empty if there are none."""
    places = {survey.root, survey.path(Layout(survey).unwrapped(""))} if survey.file is None else set()
    files = [path for place in sorted(places) for path in survey.tree.files_in(place)]
    found = [(path, kind) for path in files if (kind := own_kind(path))]
    if not found:
        return ""
    shown = ", ".join(f"{path.name} ({kind})" for path, kind in found)
    return f"labels were not taken from {shown}; to use such a table, give it as DATA: {found[0][0]}"
