"""All that can be had by a name, weights and data sets alike: what there is, what is here, and how to get it."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from resnet_cli.data.sources import named
from resnet_cli.errors import ConfigError
from resnet_cli.network import download, hub
from resnet_cli.network.registry import DATASETS, HUB_WEIGHTS, WEIGHTS, HubWeights
from resnet_cli.network.transfer import RemoteFile
from resnet_cli.system.paths import checkpoints_dir

LIST_COMMAND = "resnet-cli download --list"

#: Called with a file's name, its bytes that are there, and the total if that is known.
OnFile = Callable[[str, int, int | None], None]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Something that can be had by a name.

    Attributes:
        name: What the user types.
        kind: Whether it is weights or a data set.
        num_bytes: What has to be downloaded; None where that is not known.
        licence: Under which terms it is published.
        description: What it is, in one line.
        extra: The extra of this package that it needs, if any.
    """

    name: str
    kind: Literal["weights", "data"]
    num_bytes: int | None = None
    licence: str = ""
    description: str = ""
    extra: str = ""

    def place(self) -> Path | None:
        """Where it lies or would lie; None for what a library brings along, or if the Hub's cache has to say."""
        if self.kind == "data":
            return named.place(self.name)
        if self.name in WEIGHTS:
            return checkpoints_dir() / WEIGHTS[self.name].name
        return hub.find_cached(hub.parse(self.name))

    def is_here(self) -> bool:
        """Whether it is here; lengths are looked at, not bytes."""
        if self.kind == "data":
            return named.is_here(self.name)
        path = self.place()
        return path is not None and path.is_file() and self.num_bytes in (None, path.stat().st_size)


@dataclass(frozen=True)
class Got:
    """What :func:`get` has done.

    Attributes:
        entry: What was asked for.
        path: Where it is; None for what a library brings along.
        already_here: Nothing had to be downloaded.
        is_verified: The hash of every file was right just now; an unpacked data set is not looked through again.
    """

    entry: Entry
    path: Path | None
    already_here: bool
    is_verified: bool


def entries() -> list[Entry]:
    """Everything that has a name, weights first."""
    found = [_entry(name, file) for name, file in WEIGHTS.items()]
    found += [_entry(name, weights) for name, weights in HUB_WEIGHTS.items()]
    return found + [
        Entry(name=name, kind="data", num_bytes=known.num_bytes, licence=known.licence, description=known.description)
        for name, known in DATASETS.items()
    ]


def find(name: str) -> Entry:
    """What a user means by a name, or by ``hf:OWNER/NAME[@REVISION]`` of weights.

    Raises:
        ConfigError: Nothing has that name; the hint has the names that are like it.
    """
    if name.startswith("hf:"):
        return _entry(name, hub.parse(name))
    known = {entry.name: entry for entry in entries()}
    if name not in known:
        close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
        raise ConfigError(
            f"{name[:200]}: nothing has this name",
            hint=(f"did you mean {' or '.join(close)}? " if close else "") + f"all names: {LIST_COMMAND}",
        )
    return known[name]


def get(entry: Entry, *, offline: bool = False, on_progress: OnFile | None = None) -> Got:
    """Brings something to its place, or finds that it is there, and verifies it.

    Args:
        entry: From :func:`find`.
        offline: Only look.
        on_progress: Called as the bytes of each file come.

    Raises:
        NetworkError: It is not here and cannot be had, or has the wrong bytes.
        DataError: An archive is damaged.
        ModelError: Weights of the Hub that are no ResNet-50.
        UntrustedFileError: Weights of the Hub that are no safetensors.
        SetupError: It needs an extra that is not installed.
        DiskError: The place cannot be written or has no room.
    """
    was_here, num_reports = entry.is_here(), 0
    files = _files(entry)
    for file in files:
        download.forget(file)

    def report(done: int, total: int | None) -> None:
        nonlocal num_reports
        num_reports += 1
        # A data set reports one file after the other: its length tells which.
        name = next((file.name for file in files if total and file.num_bytes == total), entry.name)
        if on_progress:
            on_progress(name, done, total)

    if entry.kind == "data":
        named.fetch_named(entry.name, offline=offline, on_download=report)
        path = named.place(entry.name)
    elif entry.name in WEIGHTS:
        path = download.fetch(WEIGHTS[entry.name], checkpoints_dir(), on_progress=report, offline=offline)
    else:
        path = hub.fetch_weights(hub.parse(entry.name), on_progress=report, offline=offline).path
        files = (hub.known_bytes(hub.parse(entry.name), path),)
    is_verified = bool(files) and all(download.was_verified(file) for file in files)
    return Got(entry, path, was_here and not num_reports, is_verified)


def _files(entry: Entry) -> tuple[RemoteFile, ...]:
    if entry.kind == "data":
        return DATASETS[entry.name].files
    if entry.name in WEIGHTS:
        return (WEIGHTS[entry.name],)
    weights = hub.parse(entry.name)
    path = hub.find_cached(weights)
    return (hub.known_bytes(weights, path),) if path else ()


def _entry(name: str, source: RemoteFile | HubWeights) -> Entry:
    return Entry(
        name=name,
        kind="weights",
        num_bytes=source.num_bytes,
        licence=source.licence,
        description=source.description,
        extra="hub" if isinstance(source, HubWeights) else "",
    )
