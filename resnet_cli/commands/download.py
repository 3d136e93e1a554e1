"""The use case of ``download``: lists weights, data sets and runtimes by name, and downloads or verifies them."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from resnet_cli.data.sources.named import registered as named
from resnet_cli.errors import ConfigError, Interrupted
from resnet_cli.network import addresses, hub, web_runtime
from resnet_cli.network import download as fetching
from resnet_cli.network.known_sets import DATASETS
from resnet_cli.network.registry import HUB_WEIGHTS, WEIGHTS, HubWeights
from resnet_cli.network.remote_file import RemoteFile
from resnet_cli.system.paths import checkpoints_dir

LIST_COMMAND = "resnet-cli download --list"
#: Environment variable: a base URL to fetch from instead of each file's own URL.
MIRROR = "RESNET_CLI_MIRROR"

Kind: TypeAlias = Literal["weights", "data", "runtime"]
#: Called with a file's name, the bytes received so far, and the total (None if it is not known).
OnFile = Callable[[str, int, int | None], None]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Weights, a data set or a runtime with a name.

    Attributes:
        name: What the user types.
        kind: Whether it is weights, a data set or a runtime for exported files.
        num_bytes: Size of the download; None if it is not known.
        licence: The terms under which it is published.
        description: What it is, in one line.
        extra: The extra of this package that it needs, if any.
    """

    name: str
    kind: Kind
    num_bytes: int | None = None
    licence: str = ""
    description: str = ""
    extra: str = ""

    def path(self) -> Path | None:
        """Where it is or would be stored; None if a library contains it, or if it is not in the Hub's cache yet."""
        if self.kind == "data":
            return named.local_path(self.name)
        if (placed := _placed(self.name)) is not None:
            file, folder = placed
            return folder / file.name
        return hub.find_cached(hub.parse(self.name))

    def is_here(self) -> bool:
        """Whether it is on this machine, by names and lengths; no bytes are read."""
        if self.kind == "data":
            return named.is_here(self.name)
        path = self.path()
        return path is not None and path.is_file() and self.num_bytes in (None, path.stat().st_size)

    def to_dict(self) -> dict[str, Any]:
        """One item of ``download --list --json``."""
        path = self.path()
        return {
            "name": self.name,
            "kind": self.kind,
            "path": str(path) if path else None,
            "num_bytes": self.num_bytes,
            "is_here": self.is_here(),
            "licence": self.licence,
            "description": self.description,
            "extra": self.extra or None,
        }


@dataclass(frozen=True)
class Downloaded:
    """The result of :func:`download` for one name.

    Attributes:
        entry: The requested weights or data set.
        path: Where it is; None if a library contains it.
        already_here: Whether nothing had to be downloaded.
        is_verified: Whether the hash of every file was checked just now; the files of an unpacked data set are not.
    """

    entry: Entry
    path: Path | None
    already_here: bool
    is_verified: bool

    def to_dict(self) -> dict[str, Any]:
        """One item of ``download --json``."""
        return {
            "name": self.entry.name,
            "kind": self.entry.kind,
            "path": str(self.path) if self.path else None,
            "num_bytes": self.entry.num_bytes,
            "already_here": self.already_here,
            "is_verified": self.is_verified,
        }


def download(
    names: Sequence[str], *, mirror: str | None = None, offline: bool = False, on_file: OnFile | None = None
) -> Iterator[Downloaded]:
    """Downloads weights, data sets and runtimes, or verifies those that are on this machine, one after the other.

    Args:
        names: Names of :func:`entries`, or ``hf:OWNER/NAME[@REVISION]`` of weights.
        mirror: Base URL to fetch from instead of each file's own URL; the hash is still verified.
        offline: Only verify.
        on_file: Called as the bytes of each file arrive.

    Raises:
        ConfigError: An unknown name, or a mirror that has no effect.
        Interrupted: Ctrl-C or SIGTERM.
        NetworkError: It is not on this machine and cannot be downloaded, or has the wrong bytes.
        DataError: An archive is damaged.
        ModelError: Weights on the Hub that are not a ResNet-50.
        UntrustedFileError: Weights on the Hub that are not safetensors.
        SetupError: It needs an extra that is not installed.
        DiskError: The folder cannot be written, or the disk is full.
    """
    chosen = [find(name) for name in dict.fromkeys(names)]
    _check_mirror(mirror, chosen, offline=offline)
    with _mirrored(mirror):
        for entry in chosen:
            try:
                found = _get(entry, offline=offline, on_file=on_file)
            except KeyboardInterrupt as interrupt:
                raise Interrupted(
                    "the bytes received so far are kept, and the same command resumes the download",
                    signal=getattr(interrupt, "signal", None),
                ) from None
            yield found


def entries() -> list[Entry]:
    """All weights, data sets and runtimes with a name, in this order."""
    found = [_entry(name, file) for name, file in WEIGHTS.items()]
    found += [_entry(name, weights) for name, weights in HUB_WEIGHTS.items()]
    found += [
        Entry(name=name, kind="data", num_bytes=known.num_bytes, licence=known.licence, description=known.description)
        for name, known in DATASETS.items()
    ]
    return [*found, _entry(web_runtime.NAME, web_runtime.PACKAGE, "runtime")]


def find(name: str) -> Entry:
    """The entry of a name, or of ``hf:OWNER/NAME[@REVISION]`` for weights.

    Raises:
        ConfigError: The name is unknown; the hint suggests similar names.
    """
    if name.startswith("hf:"):
        return _entry(name, hub.parse(name))
    known = {entry.name: entry for entry in entries()}
    if name not in known:
        close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
        raise ConfigError(
            f"{name[:200]}: unknown name",
            hint=(f"did you mean {' or '.join(close)}? " if close else "") + f"all names: {LIST_COMMAND}",
        )
    return known[name]


def _get(entry: Entry, *, offline: bool, on_file: OnFile | None) -> Downloaded:
    was_here, num_reports = entry.is_here(), 0
    files = _files(entry)
    for file in files:
        fetching.forget(file)

    def report(done: int, total: int | None) -> None:
        nonlocal num_reports
        num_reports += 1
        # A data set reports one file after the other; the length identifies it.
        name = next((file.name for file in files if total and file.num_bytes == total), entry.name)
        if on_file:
            on_file(name, done, total)

    if entry.kind == "data":
        named.fetch_named(entry.name, offline=offline, on_download=report)
        path = named.local_path(entry.name)
    elif (placed := _placed(entry.name)) is not None:
        path = fetching.fetch(*placed, on_progress=report, offline=offline, keep=True)
    else:
        path = hub.fetch_weights(hub.parse(entry.name), on_progress=report, offline=offline).path
        files = (hub.known_bytes(hub.parse(entry.name), path),)
    is_verified = bool(files) and all(fetching.was_verified(file) for file in files)
    return Downloaded(entry, path, was_here and not num_reports, is_verified)


def _check_mirror(mirror: str | None, chosen: Sequence[Entry], *, offline: bool) -> None:
    if mirror is None:
        return
    addresses.parse(mirror)
    if offline:
        raise ConfigError("--mirror has no effect with --offline: choose one")
    on_hub = [entry.name for entry in chosen if entry.extra == "hub"]
    if on_hub:
        raise ConfigError(f"--mirror has no effect on {on_hub[0]}, which is on the Hub", hint="export HF_ENDPOINT=URL")


@contextlib.contextmanager
def _mirrored(url: str | None) -> Iterator[None]:
    """Makes every fetch of this process use the mirror."""
    before = os.environ.get(MIRROR)
    if url is not None:
        os.environ[MIRROR] = url
    try:
        yield
    finally:
        os.environ.pop(MIRROR, None)
        if before is not None:
            os.environ[MIRROR] = before


def _files(entry: Entry) -> tuple[RemoteFile, ...]:
    if entry.kind == "data":
        return DATASETS[entry.name].files
    if (placed := _placed(entry.name)) is not None:
        return placed[:1]
    weights = hub.parse(entry.name)
    path = hub.find_cached(weights)
    return (hub.known_bytes(weights, path),) if path else ()


def _placed(name: str) -> tuple[RemoteFile, Path] | None:
    """A single file with a name, and its folder."""
    if name in WEIGHTS:
        return WEIGHTS[name], checkpoints_dir()
    return (web_runtime.PACKAGE, web_runtime.cache_folder()) if name == web_runtime.NAME else None


def _entry(name: str, source: RemoteFile | HubWeights, kind: Kind = "weights") -> Entry:
    return Entry(
        name=name,
        kind=kind,
        num_bytes=source.num_bytes,
        licence=source.licence,
        description=source.description,
        extra="hub" if isinstance(source, HubWeights) else "",
    )
