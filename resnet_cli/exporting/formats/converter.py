"""Runs the converter of another engine in a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from resnet_cli.errors import DiskError, SetupError

#: With less free space than this, a converter that fails is assumed to have failed because the disk is full.
_SCARCE_BYTES = 10_000_000


def run_converter(command: Sequence[str], made: Path, *, name: str) -> None:
    """Runs a converter in the folder of the file that it is to make. What it prints is shown only if it fails.

    In a process of its own, because a converter prints from C++, writes into the current folder and may crash.

    Args:
        command: The program and its arguments, with paths relative to that folder.
        made: The file.
        name: Name and version of the converter.

    Raises:
        DiskError: The disk is full.
        SetupError: The converter failed.
    """
    environment = dict(os.environ)
    if given := environment.get("PYTHONPATH"):
        # From another folder, relative paths would name something else.
        environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, filter(None, given.split(os.pathsep))))
    done = subprocess.run(
        command,
        cwd=made.parent,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    is_full = shutil.disk_usage(made.parent).free < _SCARCE_BYTES or done.returncode == -getattr(signal, "SIGXFSZ", 0)
    if done.returncode == 0 and made.is_file() and not is_full:
        return
    if is_full:
        raise DiskError(f"{name} cannot write to {made.parent}", hint="free some space")
    said = next((line.strip() for line in reversed(done.stdout.splitlines()) if line.strip()), "it says nothing")
    raise SetupError(
        f"{name} could not convert the model (exit code {done.returncode}): {said[:200]}",
        hint="update it, or choose another --format",
    )
