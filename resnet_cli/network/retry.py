"""Calls to other filesystems and libraries: retried if that may help, with their errors turned into our own."""

from __future__ import annotations

import errno
import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

from resnet_cli.errors import DiskError, NetworkError, ResnetCliError
from resnet_cli.system.paths import FULL_DISK, MORE_ROOM

# HTTP statuses that a retry may resolve: request timeout, too early, too many requests; and every 5xx.
TRANSIENT_STATUSES = frozenset({408, 425, 429})
GONE_STATUSES = frozenset({404, 410})
_TRIES = 3
_FIRST_PAUSE_S = 0.25
_DISK_ERRORS = FULL_DISK | {errno.ENAMETOOLONG}

T = TypeVar("T")


class Failed(Exception):
    """Carries an error of a remote filesystem through code that would report it as an error of the disk."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def back_off(num_failures: int) -> None:
    """Waits before the next attempt, twice as long after each failure.

    Args:
        num_failures: Number of consecutive failures, from 1.
    """
    # The jitter keeps machines and threads that failed together from retrying together.
    time.sleep(_FIRST_PAUSE_S * 2 ** (num_failures - 1) * random.uniform(0.5, 1.5))


def attempt(call: Callable[[], T], what: str) -> T:
    """Calls a function that may fail temporarily, up to three times.

    Args:
        call: A function that uses a filesystem.
        what: Name of the file or folder, for errors.

    Raises:
        FileNotFoundError: The file or folder does not exist.
        NetworkError: It cannot be downloaded.
        DiskError: The disk is full.
    """
    for num_failures in range(1, _TRIES + 1):
        try:
            return call()
        except FileNotFoundError:
            raise
        except ResnetCliError:
            raise
        except Exception as error:  # every filesystem has its own errors
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
    """Turns an error of a library into one of our own, without secrets in it."""
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
    return NetworkError(f"{what}: {reason[:300]}", hint="run this again: it resumes from the bytes received so far")


def redact(text: str) -> str:
    """A text in which addresses have no user, password and query, which may be secret."""
    return re.sub(r"(\w://[^\s?'\"]*)\?[^\s'\"]*", r"\1", re.sub(r"://[^/\s]*@", "://", text))
