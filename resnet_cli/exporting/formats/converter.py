"""Runs the converters of other engines: in a process of their own, or in this one."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from resnet_cli.errors import SetupError
from resnet_cli.installation import install_command
from resnet_cli.system.children import tied
from resnet_cli.system.paths import FULL_DISK, is_scarce

#: What a process prints that was started only to import a converter.
IMPORTED = "imported"


@functools.cache
def require_start(command: tuple[str, ...], expected: str, *, name: str, extra: str) -> None:
    """Starts a converter without a model, before anything is computed: it may be installed and broken.

    Args:
        command: A program and its arguments, which end at once.
        expected: What it prints if it works.
        name: The name of the converter.
        extra: The extra that installs it, which is also the value of ``--format``.

    Raises:
        SetupError: It cannot be started, or prints something else.
    """
    try:
        found = _run(command).stdout
    except OSError as error:
        found = error.strerror or str(error)
    if expected not in found:
        raise SetupError(
            f"--format {extra}: {name} is installed but cannot be used: {_last_line(found)}",
            hint=install_command(extra),
        )


def run_converter(command: Sequence[str], made: Path, *, name: str) -> None:
    """Runs a converter in the folder of the file that it is to make. What it prints is shown only if it fails.

    In a process of its own, because a converter prints from C++, writes into the current folder and may crash.

    Args:
        command: The program and its arguments, with paths relative to that folder.
        made: The file.
        name: Name and version of the converter.

    Raises:
        OSError: The disk is full.
        SetupError: The converter failed.
    """
    environment = dict(os.environ)
    if given := environment.get("PYTHONPATH"):
        # From another folder, relative paths would name something else.
        environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, filter(None, given.split(os.pathsep))))
    environment["TMPDIR"] = str(made.parent.absolute())
    done = _run(command, made.parent, environment)
    is_full = is_scarce(made.parent) or done.returncode == -getattr(signal, "SIGXFSZ", 0)
    if done.returncode == 0 and made.is_file() and not is_full:
        return
    if is_full:
        raise _full()
    if done.returncode == -getattr(signal, "SIGKILL", 0):
        raise SetupError(
            f"{name} was killed while it converted the model, as systems do that run out of memory",
            hint="close other programs, or use a machine with more memory",
        )
    raise SetupError(
        f"{name} could not convert the model (exit code {done.returncode}): {_last_line(done.stdout)}",
        hint="update it, or choose another --format",
    )


def _run(
    command: Sequence[str], folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        tied(command),
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def _last_line(printed: str) -> str:
    return next((line.strip() for line in reversed(printed.splitlines()) if line.strip()), "it says nothing")[:200]


@contextlib.contextmanager
def converting(folder: Path) -> Iterator[Path]:
    """A folder for the temporary files of a converter that runs in this process; it is removed after the block.

    It is inside of the folder that is written: if this process is killed, the next export removes both, and a disk
    without room is the disk of that folder.

    Args:
        folder: The folder that the format fills.

    Raises:
        OSError: The disk is full, whatever the converter makes of that.
    """
    before, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as temporary:
        tempfile.tempdir = os.environ["TMPDIR"] = os.path.abspath(temporary)
        try:
            yield Path(temporary)
        except Exception as error:
            if is_scarce(folder) or _tells_full(error):
                raise _full() from error
            raise
        finally:
            tempfile.tempdir = before
            if variable is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = variable


def _tells_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is that of a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            return True
        error = error.__cause__ or error.__context__
    return False


def _full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
