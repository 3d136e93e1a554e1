"""Files named after images and classes: names that are safe on every system, and nothing is overwritten."""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from resnet_cli.system.paths import disk_errors

#: File systems allow 255 bytes; some are needed for the mark of a name that is taken already.
MAX_NAME_BYTES = 200
_HINT = "fix its permissions or free some space, or name another"
# Source: Microsoft, "Naming Files, Paths, and Namespaces".
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\.|$)", re.IGNORECASE)


def safe_name(name: str) -> str:
    """A valid name of one file or folder on every system: no separators, device names or only dots, not too long."""
    name = _UNSAFE.sub("_", name).rstrip(". ") or "_"
    if _DEVICES.match(name) or name.startswith("."):
        name = f"_{name}"
    data = os.fsencode(name)
    if len(data) <= MAX_NAME_BYTES:
        return name
    # The extension is kept.
    stem, extension = os.path.splitext(name)
    end = os.fsencode(extension)[:20]
    return os.fsencode(stem)[: MAX_NAME_BYTES - len(end)].decode("utf-8", "ignore") + os.fsdecode(end)


def folder_names(classes: Sequence[str], *, reserved: Sequence[str] = ()) -> dict[str, str]:
    """Class name -> a folder name of its own, also on file systems that ignore case.

    Args:
        classes: Class names in index order.
        reserved: Folder names that no class gets.
    """
    taken = {name.casefold() for name in reserved}
    found = {}
    for name in classes:
        folder, number = safe_name(name), 2
        while folder.casefold() in taken:
            folder, number = f"{safe_name(name)}-{number}", number + 1
        taken.add(folder.casefold())
        found[name] = folder
    return found


def place(folder: Path, name: str, identity: str, write: Callable[[Path], object]) -> Path:
    """Puts a new file into a folder, under its name or, if another file has it, under a name with a mark.

    The same content under the same name stays one file, so that a command can be repeated.

    Args:
        folder: The folder; created if needed.
        name: The desired name; see :func:`safe_name`.
        identity: What the file was made from; its hash is the mark.
        write: Fills a temporary file.

    Returns:
        The path of the file.

    Raises:
        DiskError: It cannot be written.
    """
    with disk_errors(folder, "write in", hint=_HINT):
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary_name = tempfile.mkstemp(dir=folder, prefix=".", suffix=".tmp")
        os.close(handle)
        temporary = Path(temporary_name)
        try:
            write(temporary)
            for candidate in _candidates(name, identity):
                target = folder / candidate
                if _claim(temporary, target) or _is_same(temporary, target):
                    return target
        finally:
            temporary.unlink(missing_ok=True)
    raise AssertionError("there is always a free name")


def place_link(folder: Path, name: str, source: Path) -> Path:
    """Puts a link to a file into a folder, named as :func:`place` names a copy.

    Raises:
        DiskError: It cannot be created.
    """
    with disk_errors(folder, "write in", hint=_HINT):
        folder.mkdir(parents=True, exist_ok=True)
        absolute = os.path.abspath(source)
        for candidate in _candidates(name, absolute):
            target = folder / candidate
            if os.path.islink(target) and os.readlink(target) == absolute:
                return target
            with contextlib.suppress(FileExistsError):
                target.symlink_to(absolute)
                return target
    raise AssertionError("there is always a free name")


def copy_file(source: Path) -> Callable[[Path], None]:
    """Returns a function that writes a copy with the times of the original."""

    def write(temporary: Path) -> None:
        shutil.copyfile(source, temporary)
        shutil.copystat(source, temporary)

    return write


def new_file(data: bytes) -> Callable[[Path], None]:
    """Returns a function that writes bytes as a new file with the user's default permissions."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)
        umask = os.umask(0)
        os.umask(umask)
        # Temporary files are readable by their owner only.
        temporary.chmod(0o666 & ~umask)

    return write


def _candidates(name: str, identity: str) -> Iterator[str]:
    """The name, the name with a mark, and names with the mark and a number."""
    stem, extension = os.path.splitext(name)
    # A hash of the source, not a number: a thousand files with one name do not need a thousand tries.
    mark = hashlib.sha256(os.fsencode(identity)).hexdigest()[:8]
    yield name
    yield f"{stem}-{mark}{extension}"
    number = 2
    while True:
        yield f"{stem}-{mark}-{number}{extension}"
        number += 1


def _claim(temporary: Path, target: Path) -> bool:
    """Gives a finished file its name; False if the name is taken."""
    if os.path.lexists(target):
        return False
    try:
        # Unlike a rename, it fails if another process was faster.
        os.link(temporary, target)
    except FileExistsError:
        return False
    except OSError:
        # The file system has no hard links.
        os.rename(temporary, target)
    return True


def _is_same(temporary: Path, target: Path) -> bool:
    return os.path.isfile(target) and filecmp.cmp(temporary, target, shallow=False)
