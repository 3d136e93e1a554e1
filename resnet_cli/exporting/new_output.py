"""The place where an export is written and checked before it gets its name."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

from resnet_cli.system.locks import folder_lock
from resnet_cli.system.paths import disk_errors, refuse_existing


@contextlib.contextmanager
def new_output(out: Path, name: str, *, is_folder: bool) -> Iterator[Path]:
    """A path that is renamed to ``out`` if no error occurs.

    It is in a hidden folder beside ``out``, where it has its own name: some engines recognize a file by how its name
    ends. What processes that were killed have left there is removed first.

    Args:
        out: What will be written; a file may exist and is then replaced.
        name: The name of the file, such as ``model.onnx``.
        is_folder: Whether it is a folder: the path is then an empty one.

    Raises:
        ConfigError: Another process has made the folder since then.
        DiskError: The disk is full, or the folder cannot be written.
    """
    hint = "choose another place with --out, or free some space"
    with disk_errors(out, hint=hint):
        _remove_abandoned(out)
        hidden = out.with_name(f".{out.name}.{uuid.uuid4().hex}.tmp")
        hidden.mkdir()
        try:
            # The lock tells other processes that this one is alive.
            with folder_lock(hidden):
                made = hidden / name
                if is_folder:
                    made.mkdir()
                yield made
                _flush(made)
                if is_folder:
                    refuse_existing(out)
                    made.rename(out)
                else:
                    os.replace(made, out)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


def _remove_abandoned(out: Path) -> None:
    for left in out.parent.glob(f".{glob.escape(out.name)}.*.tmp"):
        with contextlib.suppress(OSError), folder_lock(left) as is_free:
            if is_free:
                shutil.rmtree(left, ignore_errors=True)


def _flush(path: Path) -> None:
    """Waits until the disk has everything, so that a power cut leaves the old file or the new one."""
    if path.is_file():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    elif sys.platform != "win32":
        os.sync()
