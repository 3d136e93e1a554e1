"""Calls into other people's filesystems and libraries: tried again where that may help, their errors made ours."""

from __future__ import annotations

import errno
import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

from resnet_cli.errors import DiskError, NetworkError, ResnetCliError
from resnet_cli.system.paths import MORE_ROOM

# Request timeout, too early, too many requests; and every 5xx.
TRANSIENT_STATUSES = frozenset({408, 425, 429})
GONE_STATUSES = frozenset({404, 410})
_TRIES = 3
_FIRST_PAUSE_S = 0.25
_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.ENAMETOOLONG})

T = TypeVar("T")


class Failed(Exception):
    """Carries an error of the filesystem through code that would take it for one of the disk."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def back_off(num_failures: int) -> None:
    """Waits before the next try: twice as long after each failure.

    Args:
        num_failures: Number of tries in a row that failed, from 1.
    """
    # The jitter keeps machines and threads that failed together from coming back together.
    time.sleep(_FIRST_PAUSE_S * 2 ** (num_failures - 1) * random.uniform(0.5, 1.5))


def attempt(call: Callable[[], T], what: str) -> T:
    """Calls something that may fail for a moment, up to three times.

    Args:
        call: Any call of a filesystem.
        what: Names it in errors.

    Raises:
        FileNotFoundError: It is not there.
        NetworkError: It cannot be had.
        DiskError: The disk is full.
    """
    for num_failures in range(1, _TRIES + 1):
        try:
            return call()
        except FileNotFoundError:
            raise
        except ResnetCliError:
            raise
        except Exception as error:  # every filesystem has errors of its own
            cause = error.error if isinstance(error, Failed) else error
            status = getattr(cause, "status", None)
            if isinstance(cause, FileNotFoundError) or status in GONE_STATUSES:
                raise FileNotFoundError(what) from error
            if num_failures == _TRIES or _is_final(cause, status):
                raise explain(cause, what) from error
        back_off(num_failures)
    raise AssertionError("unreachable")


def _is_final(error: Exception, status: object) -> bool:
    if isinstance(error, PermissionError | ResnetCliError) or getattr(error, "errno", None) in _DISK_ERRORS:
        return True
    return isinstance(status, int) and 400 <= status < 500 and status not in TRANSIENT_STATUSES


def explain(error: Exception, what: str) -> ResnetCliError:
    """Somebody else's error as one of ours; nothing secret is in it."""
    if isinstance(error, ResnetCliError):
        return error
    if getattr(error, "errno", None) in _DISK_ERRORS:
        return DiskError(f"cannot write the copy of {what}: {getattr(error, 'strerror', error)}", hint=MORE_ROOM)
    status = getattr(error, "status", None)
    reason = f"HTTP {status}" if isinstance(status, int) else (redact(str(error)).strip().split("\n")[0])
    reason = reason or type(error).__name__
    if isinstance(error, PermissionError) or status in (401, 403) or "credential" in str(error).lower():
        return NetworkError(
            f"{what}: no permission: {reason}",
            hint="sign in with the service's own tool, or set its environment variables; for a public bucket: "
            "export FSSPEC_S3_ANON=true or FSSPEC_GCS_TOKEN=anon",
        )
    return NetworkError(f"{what}: {reason[:300]}", hint="run it again: what has come is kept")


def redact(text: str) -> str:
    """A text without what may be secret in an address: user, password and query."""
    return re.sub(r"(\w://[^\s?'\"]*)\?[^\s'\"]*", r"\1", re.sub(r"://[^/\s]*@", "://", text))
