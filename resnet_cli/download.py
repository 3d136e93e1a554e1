"""One verified, resumable fetch.

A file appears under its name only once its hash is right; how its bytes come is in ``transfer.py``.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

from resnet_cli.errors import DiskError, NetworkError
from resnet_cli.paths import atomic_path, make_dir
from resnet_cli.transfer import MORE_ROOM, OnProgress, RemoteFile, Transfer, by_hand


def find_cached(file: RemoteFile, folder: Path) -> Path | None:
    """The file in ``folder`` if it is there and its hash is right, else None.

    Raises:
        DiskError: The file is there but cannot be read.
    """
    path = folder / file.name
    try:
        if not path.is_file() or file.num_bytes not in (None, path.stat().st_size):
            return None
        return path if file.mismatch(path) is None else None
    except OSError as error:
        raise DiskError(
            f"cannot read {path}: {error.strerror or error}", hint="check its owner and permissions"
        ) from error


def fetch(
    file: RemoteFile,
    folder: Path,
    *,
    on_progress: OnProgress | None = None,
    offline: bool = False,
    timeout_s: float = 20,
    retries: int = 4,
) -> Path:
    """Returns the path of a verified copy in ``folder``, downloading or finishing it where needed.

    A file of that name with other bytes stays until a verified one replaces it. Proxies are used as urllib
    finds them. ``RESNET_CLI_MIRROR`` is a base URL to fetch from instead (the hash still decides), and
    ``RESNET_CLI_OFFLINE=1`` is the same as ``offline=True``.

    Args:
        file: What to fetch.
        folder: Where it goes; made if it is not there.
        on_progress: Called with the bytes that are there and the total, None if the server does not say.
        offline: Fail instead of using the network.
        timeout_s: The longest wait for a connection or for the next bytes, in seconds.
        retries: How often to try again after a failure that may pass.

    Raises:
        NetworkError: It could not be had, or its bytes are not the expected ones.
        DiskError: The folder cannot be written or has no room.
    """
    target = folder / file.name
    if find_cached(file, folder):
        return target
    if offline or os.environ.get("RESNET_CLI_OFFLINE", "0") not in ("", "0"):
        state = "is there with other bytes" if target.exists() else "is missing"
        raise NetworkError(f"offline, and {target} {state}", hint=by_hand(file, folder))
    make_dir(folder)
    try:
        with _locked(folder / f"{file.name}.lock"):
            # Another process may have brought it while this one waited for the lock.
            if find_cached(file, folder) is None:
                transfer = Transfer(file, _url(file), folder, on_progress or (lambda *_: None), timeout_s)
                transfer.run(retries)
                with atomic_path(target) as temporary:
                    os.replace(transfer.part, temporary)
                transfer.validator.unlink(missing_ok=True)
    except OSError as error:
        raise DiskError(f"cannot write {target}: {error.strerror or error}", hint=MORE_ROOM) from error
    return target


def _url(file: RemoteFile) -> str:
    mirror = os.environ.get("RESNET_CLI_MIRROR")
    url = f"{mirror.rstrip('/')}/{quote(file.name)}" if mirror else file.url
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise NetworkError(
            f"{url} is not an http(s) address", hint="export RESNET_CLI_MIRROR=https://host/folder, or unset it"
        )
    return url


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the lock of one file; the system frees it when a process dies, so it is never stale."""
    with path.open("ab") as file:
        if sys.platform == "win32":
            import msvcrt

            while True:
                try:
                    msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                    break
                except OSError:
                    time.sleep(0.1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
