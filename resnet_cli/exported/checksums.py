"""SHA-256 of what an export wrote: what was swapped, cut or edited since then gives no answers.

Files of version 0.1.0 have none of these checksums.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from resnet_cli.errors import ModelError
from resnet_cli.system.paths import sha256_of

#: Texts of the metadata: names of the files in the folder with their SHA-256, and the SHA-256 of other texts.
FILES, DIGEST = "files", "metadata_sha256"
#: The texts that change answers, which :data:`DIGEST` is made from. Others may be corrected, such as the license.
_ANSWERING = (
    "schema_version",
    "classes",
    "preprocess",
    "temperature",
    "takes",
    "number",
    "outputs",
    "reliability",
    "most_novel",
    "task",
    "thresholds",
    "scaling",
    FILES,
)


def digest(texts: Mapping[str, str]) -> str:
    """SHA-256 of the texts that change answers, in hex."""
    listed = [[name, texts[name]] for name in _ANSWERING if name in texts]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Path of each file, relative to the folder -> its SHA-256 in hex.

    Args:
        folder: The folder.
        names: Names of files in it, and of packages: folders, whose files all count.
    """
    found: dict[str, str] = {}
    for name in names:
        path = folder / name
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        found |= {file.relative_to(folder).as_posix(): sha256_of(file) for file in files}
    return found


def check_files(folder: Path, expected: Mapping[str, str]) -> None:
    """Compares the files of a folder with their checksums.

    Args:
        folder: The folder.
        expected: What :func:`checksums` returned when it was written.

    Raises:
        ModelError: A file is missing, cannot be read, or has another content.
    """
    for name, sha256 in expected.items():
        parts = PurePosixPath(name).parts
        path = folder.joinpath(*parts)
        # Only files of the folder: metadata are not trusted, and a device would be read forever.
        if ".." in parts or PurePosixPath(name).is_absolute() or not path.is_file():
            raise ModelError(f"{folder}: the file {name}, which the export wrote, is missing")
        try:
            found = sha256_of(path)
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
        if found != sha256:
            raise ModelError(
                f"{path}: not the file that the export wrote: its SHA-256 is {found[:16]}…, not {sha256[:16]}…. It was "
                "changed or cut, or belongs to another export"
            )
