"""Verified, resumable downloads.

A file gets its name only after its hash has been verified; ``transfer.py`` transfers the bytes.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
from pathlib import Path
from urllib.parse import quote

from resnet_cli.errors import ConfigError, DiskError, NetworkError
from resnet_cli.network import addresses
from resnet_cli.network.remote_file import OnProgress, RemoteFile, by_hand
from resnet_cli.system.caches import place_to_write, warn_unwritable
from resnet_cli.system.locks import locked
from resnet_cli.system.paths import MORE_ROOM, atomic_path, cache_dir, data_dir, disk_errors, make_dir, write_text


def is_offline(asked: bool) -> bool:
    """Whether the network must not be used: ``asked``, or ``RESNET_CLI_OFFLINE=1``."""
    return asked or os.environ.get("RESNET_CLI_OFFLINE", "0") not in ("", "0")


def find_cached(file: RemoteFile, folder: Path) -> Path | None:
    """The file in ``folder`` if it exists and its hash is right, else None.

    A file that was verified and has not changed since is not read again.

    Raises:
        DiskError: The file exists but cannot be read.
    """
    path = folder / file.name
    with disk_errors(path, "read", hint="check its owner and permissions"):
        if not path.is_file() or file.num_bytes not in (None, path.stat().st_size):
            return None
        return path if is_sound(file, path) else None


def is_sound(file: RemoteFile, path: Path) -> bool:
    """Whether the bytes at ``path`` have the file's hash.

    Raises:
        OSError: They cannot be read.
    """
    if not file.checksum:
        return True
    state, record = _state(file, path), _record(path)
    with contextlib.suppress(OSError, ValueError):
        if record.read_text("utf-8") == state:
            return True
    if file.mismatch(path) is not None:
        return False
    if _state(file, path) == state:
        _remember(file, path)
    return True


def forget(file: RemoteFile) -> None:
    """Makes the next check of this file read all its bytes again, in whichever folder it is."""
    for record in _records(file):
        with contextlib.suppress(OSError):
            record.unlink()


def was_verified(file: RemoteFile) -> bool:
    """Whether the file has been verified since :func:`forget`, in whichever folder."""
    return bool(_records(file))


def fetch(
    file: RemoteFile,
    folder: Path,
    *,
    on_progress: OnProgress | None = None,
    offline: bool = False,
    timeout_s: float = 20,
    retries: int = 4,
    mirrored: bool = True,
    keep: bool = False,
) -> Path:
    """Returns the path of a verified copy in ``folder``, downloading or resuming it if needed.

    If ``folder`` cannot be written, the copy is in a temporary folder of this process. A file of that name with other
    bytes is kept until a verified one replaces it. Proxies are used as urllib finds
    them. ``RESNET_CLI_MIRROR`` is a base URL to fetch from instead (the hash is still verified), and
    ``RESNET_CLI_OFFLINE=1`` is the same as ``offline=True``.

    Args:
        file: The file to fetch.
        folder: Folder of the copy; created if it does not exist.
        on_progress: Called with the bytes received so far and the total, None if the server does not state it.
        offline: Fail instead of using the network.
        timeout_s: Longest wait for a connection or for the next bytes, in seconds.
        retries: Number of consecutive retries after temporary failures.
        mirrored: Whether ``RESNET_CLI_MIRROR`` may replace the file's own URL.
        keep: Whether the copy must be in ``folder``, for later commands.

    Raises:
        ConfigError: The mirror is not an http(s) URL.
        NetworkError: The file cannot be downloaded, or has the wrong bytes.
        DiskError: The disk is full; with ``keep``, also if the folder cannot be written.
    """
    target = folder / file.name
    if found := find_cached(file, folder):
        return found
    if is_offline(offline):
        state = "has the wrong bytes" if target.exists() else "is missing"
        raise NetworkError(f"offline, and {target} {state}", hint=by_hand(file, folder))
    url = _mirror_url(file) if mirrored else file.url
    if keep:
        make_dir(folder)
    else:
        target = place_to_write(target)
        folder = target.parent
    # Imported here: most commands find their files in the cache, and urllib's requests take a while to import.
    from resnet_cli.network.transfer import Transfer

    with disk_errors(target, hint=MORE_ROOM), locked(folder / f"{file.name}.lock"):
        # Another process may have downloaded it while this one waited for the lock.
        if find_cached(file, folder) is None:
            transfer = Transfer(file, url, folder, on_progress or (lambda *_: None), timeout_s)
            transfer.run(retries)
            with atomic_path(target) as temporary:
                os.replace(transfer.part, temporary)
            transfer.validator.unlink(missing_ok=True)
            _remember(file, target)
    return target


def fetch_url(url: str, *, offline: bool = False, on_progress: OnProgress | None = None) -> Path:
    """Fetches a file from a user's own address, once; later calls find the copy without the network.

    If ``#sha256=HEX`` is appended to the address, the hash decides, otherwise the length that the server states. A
    mirror is never used, since it cannot know the URL.

    Args:
        url: ``https://``; ``http://`` only for this machine, or with a hash.
        offline: Never use the network.
        on_progress: Called with the bytes received so far and the total, None if the server does not state it.

    Returns:
        The file, under its own name in a separate folder below :func:`resnet_cli.system.paths.data_dir`.

    Raises:
        ConfigError: The URL is invalid.
        NetworkError: The file cannot be downloaded, or has the wrong bytes.
        DiskError: The folder cannot be written, or the disk is full.
    """
    parts, sha256 = addresses.parse(url)
    address = parts.geturl()
    if not (sha256 or addresses.is_private(address)):
        raise NetworkError(
            f"{addresses.redact(address)} is not encrypted, and there is no hash to verify the file; refused",
            hint=addresses.ADD_HASH,
        )
    file = RemoteFile(name=addresses.file_name(parts), url=address, sha256=sha256)
    key = hashlib.sha256(address.encode()).hexdigest()[:16]
    return fetch(file, data_dir() / "urls" / key, on_progress=on_progress, offline=offline, mirrored=False)


def _mirror_url(file: RemoteFile) -> str:
    mirror = os.environ.get("RESNET_CLI_MIRROR")
    if not mirror:
        return file.url
    try:
        base, _ = addresses.parse(mirror)
    except ConfigError as error:
        raise ConfigError(
            f"invalid mirror: {error.message}", hint="export RESNET_CLI_MIRROR=https://host/folder, or unset it"
        ) from error
    return f"{base.geturl().rstrip('/')}/{quote(file.name)}"


def _record(path: Path) -> Path:
    """The record that the file at ``path`` was verified."""
    key = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:16]
    return cache_dir() / "verified" / f"{path.name}-{key}"


def _records(file: RemoteFile) -> list[Path]:
    return list((cache_dir() / "verified").glob(f"{glob.escape(file.name)}-{'?' * 16}"))


def _state(file: RemoteFile, path: Path) -> str:
    """A text that changes whenever the bytes do, even if the modification time is reset."""
    found = path.stat()
    return f"{file.checksum} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"


def _remember(file: RemoteFile, path: Path) -> None:
    if not file.checksum:
        return
    record = _record(path)
    try:
        make_dir(record.parent)
        write_text(record, _state(file, path))
    except DiskError as error:
        warn_unwritable(record.parent, error)
