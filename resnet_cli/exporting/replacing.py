"""What an export may replace: what an earlier export wrote, and nothing else."""

from __future__ import annotations

import mmap
import os
import shlex
from pathlib import Path
from typing import BinaryIO

from resnet_cli.engines.base import PRODUCER
from resnet_cli.errors import ConfigError
from resnet_cli.exported.metadata import METADATA_FILE
from resnet_cli.exporting.formats.base import Format

#: Not "or remove it", as for other outputs: it may be the run itself.
_ANOTHER_NAME = "choose another name"
#: The file that macOS writes into each folder that its Finder shows; nothing of it is worth keeping.
_FINDER_FILE = ".DS_Store"
#: Bytes at the start of an ONNX file that contain the name of the program that wrote it.
_HEAD_BYTES = 64


def check_replaceable(out: Path, to_write: Format, *, source: Path | None, may_replace: bool, option: str) -> None:
    """Refuses an output path that exists, unless an earlier export wrote what is there and may be replaced.

    Args:
        out: The file or folder that will be written.
        to_write: Its format.
        source: The model file that is exported; None if it is in no file.
        may_replace: Whether what an export wrote is replaced.
        option: How messages name the path: ``--out``, or nothing for a path that the user did not choose.

    Raises:
        ConfigError: There is something that must not be replaced.
    """
    if not os.path.lexists(out):
        return
    named = f"{option} {out}".strip()
    foreign = _why_foreign(out, to_write, source)
    if foreign is None:
        if not may_replace:
            raise ConfigError(f"{named}: exists already", hint="choose another name, or add --overwrite")
    elif may_replace:
        raise ConfigError(
            f"{named}: exists and is not replaced: {foreign}",
            hint=_ANOTHER_NAME if option else f"{_ANOTHER_NAME} with --out",
        )
    else:
        raise ConfigError(f"{named}: exists already", hint=_ANOTHER_NAME)


def _why_foreign(out: Path, to_write: Format, source: Path | None) -> str | None:
    """Why a path is not what an earlier export in this format wrote; None if it is."""
    if not out.name or out.name == ".." or out.is_symlink():
        return "it is a link" if out.is_symlink() else "it is the current folder or one above it"
    if source is not None and Path(os.path.realpath(source)).is_relative_to(os.path.realpath(out)):
        return f"the model that is exported, {source}, is there"
    try:
        return _why_foreign_folder(out, to_write) if to_write.is_folder else _why_foreign_file(out, to_write)
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"


def _why_foreign_file(out: Path, to_write: Format) -> str | None:
    if not out.is_file():
        return "it is a folder" if out.is_dir() else "it is not a file"
    with out.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        # The first fields of an ONNX file: the version of the format, and the name of the program.
        is_ours = head.startswith(b"\x08") and bytes([0x12, len(PRODUCER)]) + PRODUCER.encode() in head
        if to_write.name == "pt2":
            is_ours = head.startswith(b"PK") and _contains(file, f"/{METADATA_FILE}".encode())
    return None if is_ours else f"it is not a .{to_write.name} file that export wrote"


def _contains(file: BinaryIO, name: bytes) -> bool:
    # Not zipfile, which reads no archive whose end was cut off.
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(name) >= 0


def _why_foreign_folder(out: Path, to_write: Format) -> str | None:
    if not out.is_dir():
        return "it is a file"
    if not (out / METADATA_FILE).is_file():
        return f"it is not a folder that export wrote: it has no {METADATA_FILE}"
    others = sorted({entry.name for entry in out.iterdir()} - {*to_write.files, *to_write.texts, _FINDER_FILE})
    if others:
        return f"it contains {shlex.quote(others[0])}, which --format {to_write.name} does not write"
    return None
