"""``runs/latest``: how it is written, and how a path that a user types becomes that of a real run, once."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from resnet_cli.errors import DiskError
from resnet_cli.system.paths import LATEST, RUNS, make_dir, user_path, write_bytes

#: Bytes that are read of a text file that names the latest run: more than the longest path.
MAX_TARGET_BYTES = 64_000


def real_path(spec: str | os.PathLike[str]) -> Path:
    """The real file or folder that a path means at this moment, with every link followed.

    A command calls this once for each MODEL or RUN, when it starts, and uses the result from then on: another training
    that ends in the meantime changes what ``runs/latest`` means. A path without links is returned as the user typed it;
    the others are relative if the user's was and the real one is below the current folder or ``runs``.

    Args:
        spec: A path as the user typed it; it need not exist.
    """
    path = user_path(spec)
    # A folder that was deleted under this process, or a path with a null character.
    with contextlib.suppress(OSError, ValueError):
        for part in (path, *path.parents):
            # Where links are not allowed (on Windows), it is a text file that names the run.
            if part.name == LATEST.name and part.is_file():
                path = part.parent / _read_target(part) / path.relative_to(part)
                break
        real = Path(os.path.realpath(path))
        if real.suffix != path.suffix and real.is_file():
            # A cache of the Hugging Face Hub links to files without suffixes, but the suffix tells the format.
            real = Path(os.path.realpath(path.parent), path.name)
        if real == Path(os.path.abspath(path)):
            return path
        if path.is_absolute():
            return real
        for short in (Path(), RUNS):
            folder = Path(os.path.realpath(short))
            if real.is_relative_to(folder):
                return short / real.relative_to(folder)
        return real
    return path


def follow_latest(spec: str) -> str:
    """A word of a command line, with the latest run replaced by the run that it is at this moment.

    The command line calls this before it imports torch, which takes seconds in which another training can end. All
    other words stay as they were typed, also those of a latest run that is gone: the command says what is wrong.
    """
    if LATEST.name not in user_path(spec).parts:
        return spec
    real = real_path(spec)
    return str(real) if os.path.isfile(real) or os.path.isfile(real / "config.yaml") else spec


def mark_latest(run: Path) -> None:
    """Points ``runs/latest`` to a run: a link, or a text file where links are not allowed.

    It is replaced in one step, so that a reader sees the old run or the new one. It is a convenience: if ``runs``
    cannot be written, nothing happens.
    """
    # Unique on every machine and in every thread that shares the folder.
    temporary = RUNS / f".latest.{uuid.uuid4().hex}.tmp"
    with contextlib.suppress(DiskError):
        make_dir(RUNS)
        target = os.path.relpath(run.resolve(), RUNS.resolve())
        try:
            temporary.symlink_to(target, target_is_directory=True)
            os.replace(temporary, LATEST)
        except OSError:
            temporary.unlink(missing_ok=True)
            write_bytes(LATEST, target.encode())


def _read_target(file: Path) -> str:
    with file.open("rb") as opened:
        return os.fsdecode(opened.read(MAX_TARGET_BYTES)).strip()
