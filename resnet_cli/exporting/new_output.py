"""The place where an export is written and checked before it gets its name."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from resnet_cli.errors import DiskError
from resnet_cli.system.locks import abandoned, new_locked_folder
from resnet_cli.system.paths import FULL_DISK

#: What to do about a disk without room.
HINT = "choose another place with --out, or free some space"
#: Where the folder that is replaced keeps its name, until the new one has it.
_REPLACED = "replaced"
#: Characters of a name that the hidden folder's name repeats: names may not be longer than 255 bytes.
_MAX_REPEATED = 50
#: The names of the hidden folders that exports are written in.
_HIDDEN = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")


@contextlib.contextmanager
def new_output(out: Path, name: str, *, is_folder: bool, check: Callable[[], None]) -> Iterator[Path]:
    """A path that is renamed to ``out`` if no error occurs.

    It is in a hidden folder beside ``out``, where it has its own name: some engines recognize a file by how its name
    ends. What processes that were killed have left there is removed first, whatever they were writing.

    Args:
        out: What will be written; what is there already is replaced.
        name: The name of the file, such as ``model.onnx``.
        is_folder: Whether it is a folder: the path is then an empty one.
        check: Refuses to replace what is at ``out``; called before the rename, since the file may have been made since
            the export began.

    Raises:
        ConfigError: ``check`` has refused.
        DiskError: A disk is full, or the folder cannot be written; the error names ``out``.
    """
    with _errors_name(out):
        for left in abandoned(out.parent, _HIDDEN):
            _remove(left)
        # The lock tells other processes that this one is alive.
        with new_locked_folder(lambda: _make_hidden(out)) as hidden:
            try:
                made = hidden / name
                if is_folder:
                    made.mkdir()
                yield made
                _flush(made)
                check()
                if is_folder:
                    _replace_folder(out, made, hidden / _REPLACED / out.name)
                else:
                    os.replace(made, out)
            finally:
                _remove(hidden)


def _make_hidden(out: Path) -> Path:
    hidden = out.with_name(f".{out.name[:_MAX_REPEATED]}.{uuid.uuid4().hex}.tmp")
    hidden.mkdir()
    return hidden


def _replace_folder(out: Path, made: Path, old: Path) -> None:
    """Renames a folder to ``out``; a folder that is there becomes ``old``, until :func:`_remove`."""
    if out.exists():
        old.parent.mkdir()
        out.rename(old)
    made.rename(out)


def _remove(hidden: Path) -> None:
    """Removes a hidden folder; what was to be replaced gets its name back, unless something else has it now."""
    with contextlib.suppress(OSError):
        for old in (hidden / _REPLACED).glob("*"):
            if not os.path.lexists(hidden.parent / old.name):
                old.rename(hidden.parent / old.name)
        shutil.rmtree(hidden, ignore_errors=True)


@contextlib.contextmanager
def _errors_name(out: Path) -> Iterator[None]:
    """Errors of the disk name what was asked for, and the folder that is full; never a temporary name."""
    try:
        yield
    except OSError as error:
        where = f" in {out.absolute().parent}" if error.errno in FULL_DISK else ""
        raise DiskError(f"cannot write {out}: {error.strerror or error}{where}", hint=HINT) from error
    except DiskError as error:
        raise DiskError(f"cannot write {out}: {error.message}", hint=error.hint) from error


def _flush(path: Path) -> None:
    """Waits until the disk has everything, so that a power cut leaves the old file or the new one."""
    if path.is_file():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    elif sys.platform != "win32":
        os.sync()
