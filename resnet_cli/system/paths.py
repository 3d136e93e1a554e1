"""Where files are stored, and how they are written so that a crash never leaves an incomplete one.

Weights are stored in torch.hub's own cache (``TORCH_HOME``), so that other tools share them. Everything that only this
tool uses (data archives, cached features, prepared backbones) is under ``RESNET_CLI_CACHE``, else in the platform's
user cache folder. ``caches.py`` does without them where they cannot be written.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from resnet_cli.errors import ConfigError, DiskError, SetupError
from resnet_cli.text import size

#: Default folder of the runs, and the name of the newest one.
RUNS = Path("runs")
LATEST = RUNS / "latest"
#: Placeholder for the home folder of a user who has none, as in a container with an unknown user: it is not a folder,
#: so nobody can create anything below it.
NO_HOME = Path(os.devnull)
#: Numbers of the errors of a disk that is full, a quota or limit of file size that is reached, or a read-only disk.
FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
#: Hint for a full disk.
MORE_ROOM = "free some space, or point RESNET_CLI_CACHE (data) or TORCH_HOME (weights) elsewhere"


def cache_dir() -> Path:
    """The folder of this tool's caches: ``RESNET_CLI_CACHE``, else the platform's.

    It is below :data:`NO_HOME` for a user without a home folder.
    """
    override = os.environ.get("RESNET_CLI_CACHE")
    if override:
        return user_path(override)
    import platformdirs

    try:
        folder = platformdirs.user_cache_path("resnet-cli")
    except RuntimeError:
        folder = Path("~")
    # Older versions of platformdirs keep the tilde, which would become a folder of this name.
    return NO_HOME / "resnet-cli" if folder.parts[0] == "~" else folder


def data_dir() -> Path:
    """The folder of downloaded and unpacked data sets."""
    return cache_dir() / "data"


def features_dir() -> Path:
    """The folder of cached features."""
    return cache_dir() / "features"


def engines_dir() -> Path:
    """The folder of backbones that are prepared for engines other than torch."""
    return cache_dir() / "engines"


def checkpoints_dir() -> Path:
    """torch.hub's checkpoint folder, located as torch.hub does; without a home folder, a folder in our own cache.

    Source: ``torch.hub.get_dir``: ``$TORCH_HOME``, else ``$XDG_CACHE_HOME/torch``, else ``~/.cache/torch``.
    """
    xdg = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = Path(os.path.expanduser(os.environ.get("TORCH_HOME", os.path.join(xdg, "torch"))))
    return (cache_dir() / "torch" if home.parts[:1] == ("~",) else home) / "hub" / "checkpoints"


def user_path(text: str | os.PathLike[str]) -> Path:
    """A path as the user typed it, with ``~`` expanded if it names a home folder.

    Raises:
        SetupError: This user has no home folder; a folder called ``~`` would be a surprise.
    """
    path = Path(os.path.expanduser(text))
    if path.parts[:1] == ("~",):
        raise SetupError(f"{text}: this user has no home folder", hint="write the path without ~, or set HOME")
    return path


def shorten_home(text: str) -> str:
    """A text in which ``~`` replaces the user's home folder, which often contains the user's name.

    A quoted path of a command stays one that a shell understands: ``'/home/me/my pets'`` becomes ``~/'my pets'``.
    """
    pattern = _home_pattern(os.path.expanduser("~"))
    return text if pattern is None else pattern.sub(lambda found: f"~{found[2]}{found[1]}", text)


@functools.cache
def _home_pattern(home: str) -> re.Pattern[str] | None:
    home = home.rstrip("/\\")
    if len(Path(home).parts) < 2:
        # No home folder, or the root of a disk.
        return None
    # The home folder alone, or what begins with it; never a part of a longer name.
    return re.compile(rf"(?<![\w.~/\\-])('?){re.escape(home)}([/\\]|(?![\w-]|\.\w))")


@contextlib.contextmanager
def disk_errors(path: Path, doing: str = "write", *, hint: str | None = None) -> Iterator[None]:
    """Turns an ``OSError`` inside the block into a :class:`DiskError` that names the path.

    Args:
        path: The file or folder that the block works on.
        doing: What the block does with it, as in ``cannot write PATH``.
        hint: What the user can do about it.

    Raises:
        DiskError: The block raised an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise DiskError(f"cannot {doing} {path}: {error.strerror or error}", hint=hint) from error


def check_space(folder: Path, num_bytes: int, purpose: str, *, hint: str = MORE_ROOM) -> None:
    """Checks that the disk has room before something is written.

    Args:
        folder: The target folder; it and its parents need not exist yet.
        num_bytes: Number of bytes that will be written.
        purpose: What needs them, for the message.
        hint: What the user can do about it.

    Raises:
        DiskError: The disk has less free space, or its free space is unknown.
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with disk_errors(folder, "use", hint=hint):
        free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise DiskError(f"{folder} has {size(free)} free, but {purpose} needs {size(num_bytes)}", hint=hint)


def is_scarce(folder: Path) -> bool:
    """Whether the disk of a folder has less than 10 MB left: what fails there has probably failed for that reason."""
    return shutil.disk_usage(folder).free < 10_000_000


def folder_bytes(folder: Path) -> int:
    """The size of all files in a folder and below it; links are not followed, and what cannot be read is left out."""
    total, waiting = 0, [os.fspath(folder)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total


def check_writable(path: Path) -> None:
    """Checks, before anything is computed, that a file or folder can be created.

    Args:
        path: What will be written; its parents need not exist yet.

    Raises:
        DiskError: It cannot be created.
    """
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    # Tried, since permissions alone do not tell: the file system may be read-only.
    with disk_errors(path, hint="choose another place with --out"), tempfile.TemporaryFile(dir=folder):
        with contextlib.suppress(FileNotFoundError):
            # Fails for a name that is too long.
            path.lstat()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_version(path: Path) -> tuple[int, int, int]:
    """What changes when a file is replaced or written again: its number, its size and its time of modification.

    Raises:
        OSError: There is no such file.
    """
    about = path.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns


def make_dir(path: Path) -> Path:
    """Creates a folder and its parents.

    Raises:
        DiskError: The folder cannot be created, or a file of that name is in the way.
    """
    with disk_errors(path, "create the folder"):
        path.mkdir(parents=True, exist_ok=True)
    return path


def refuse_existing(out: Path | None) -> None:
    """Rejects an output path that exists.

    Args:
        out: The path; None for a name that will be new.

    Raises:
        ConfigError: ``out`` exists.
    """
    if out is not None and os.path.lexists(out):
        raise ConfigError(f"--out {out}: exists already", hint="choose another name, or remove it first")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside ``path``; a clean exit renames it, anything else removes it.

    The data is flushed to the disk before the rename, so a reader sees the old file, the new file or
    no file, even after ``kill -9`` or a power cut.

    Raises:
        DiskError: The folder cannot be written or the disk is full.
    """
    with disk_errors(
        path.parent, "write in", hint="choose another folder with --out, or fix its permissions or free some space"
    ):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
    temporary = Path(name)
    try:
        with disk_errors(path, hint="free some space or choose another folder"):
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _fsync_dir(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder beside ``path``; a clean exit renames it to ``path``, anything else removes it.

    The caller holds a lock, so that a temporary folder that an earlier process left can be removed.

    Args:
        path: The folder to make.

    Raises:
        OSError: The folder cannot be created, or ``path`` exists already.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    if os.path.lexists(temporary):
        shutil.rmtree(temporary)
    temporary.mkdir()
    try:
        yield temporary
        # Once for all files: an fsync of each file would take longer than the rest. Windows has no such call.
        if sys.platform != "win32":
            os.sync()
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a whole file atomically.

    Raises:
        DiskError: The folder cannot be written or the disk is full.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Writes a whole UTF-8 file atomically, with Unix line ends on every system.

    File names that are not UTF-8 are written as their bytes.

    Raises:
        DiskError: The folder cannot be written or the disk is full.
    """
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def _fsync_dir(path: Path) -> None:
    # Windows cannot open a folder; there the rename has to suffice.
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
