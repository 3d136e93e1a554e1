"""Archives that are not read: other formats, parts of an archive, and archives inside DATA."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from resnet_cli.data.sources.fetching.archives import is_archive_name
from resnet_cli.data.sources.folders.layout import Layout, last
from resnet_cli.errors import DataError
from resnet_cli.text import first_of

_PART = r".*\.(zip|7z|rar|tar|tgz|gz)\.?[0-9]{2,3}|.*\.z[0-9]{2}|.*\.part0*[2-9][0-9]*\.rar"
#: Pattern of a name -> what such a file is, and the command that unpacks it.
_OTHERS: tuple[tuple[str, str, str], ...] = (
    (
        r".*\.(zip|7z|rar|tar|tgz|gz)\.?[0-9]{2,3}|.*\.z[0-9]{2}|.*\.part0*[2-9][0-9]*\.rar",
        "one part of a split archive",
        "",
    ),
    (r".*\.7z", "a 7-Zip archive, which is not read", "7z x {file}"),
    (r".*\.rar", "a RAR archive, which is not read", "unrar x {file}"),
    (r".*\.zipx?", "an archive", "unzip {file}"),
    (r".*\.(lzh|lha|cab|arj|ace|sit|dmg|iso|tar\.lz4?|tar\.z|tlz)", "an archive, which is not read", "7z x {file}"),
    (r".*\.(gz|bz2|xz|zst)", "a compressed file, which is not read", ""),
)
_DECOMPRESS = {".gz": "gunzip -k", ".bz2": "bunzip2 -k", ".xz": "unxz -k", ".zst": "unzstd"}
_MAX_SHOWN = 3


class OnlyArchives(DataError):
    """DATA contains archives and no images."""


def refuse_packed(path: Path) -> None:
    """Refuses a file that is an archive in a format that is not read, or a part of one.

    Raises:
        DataError: It is; the hint says how to unpack it.
    """
    name = path.name.lower()
    for pattern, what, command in _OTHERS:
        if re.fullmatch(pattern, name):
            raise DataError(f"DATA {path}: {what}", hint=_how(path, command))


def _how(path: Path, command: str) -> str:
    file = shlex.quote(str(path))
    if command:
        return f"unpack it, and give the folder: {command.format(file=file)}"
    if tool := _DECOMPRESS.get(path.suffix.lower()):
        return f"decompress it, and give the file: {tool} {file}"
    start = shlex.quote(str(path.with_suffix("")))
    return f"join the parts, and give the archive: cat {start}.* > {start}; or unpack all parts at once: 7z x {file}"


def find_packed(layout: Layout) -> list[str]:
    """The archives in DATA beside which there is no folder with their content."""
    found = []
    for folder in layout.below(""):
        for name in folder.others:
            is_packed = is_archive_name(name) or re.search(r"\.(7z|rar|zip\.?001|z01)$", name, re.IGNORECASE)
            stem = PurePosixPath(name.partition(".")[0]).name
            if is_packed and not (stem in folder.folders and layout.count(folder.child(stem))):
                found.append(folder.child(name))
    return found


def packed_note(layout: Layout) -> list[str]:
    """Says which archives in DATA were not read; empty if there are none."""
    found = find_packed(layout)
    if not found:
        return []
    return [f"archives in DATA were not read: {first_of(found, _MAX_SHOWN)}; to read one, {_command(layout, found)}"]


def refuse_only_packed(layout: Layout) -> None:
    """Refuses DATA without images that contains archives.

    Raises:
        OnlyArchives: It does; the hint names the command that reads one.
    """
    found = find_packed(layout)
    if found:
        raise OnlyArchives(
            f"{layout.survey.spec}: contains no images, but archives: {first_of(found, _MAX_SHOWN)}",
            hint=_command(layout, found),
        )


def _command(layout: Layout, found: Iterable[str]) -> str:
    first = min(found, key=lambda name: (not is_archive_name(name), "train" not in name.lower(), name))
    path = layout.survey.path(first)
    if not is_archive_name(last(first)):
        return _how(path, "7z x {file}")
    return f"give it as DATA: {shlex.quote(str(path))}; or unpack all of them here"
