"""A file on the network: where it is, and how its bytes are verified. Nothing here uses the network."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from resnet_cli.network.addresses import redact

OnProgress = Callable[[int, int | None], None]


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file on the network, and how to verify it.

    Attributes:
        name: Name of the file on the disk.
        url: Address where it is published.
        num_bytes: Length of the file, if it is known.
        sha256: SHA-256 in lower-case hex, or its first digits, if it is known.
        sha512: SHA-512 in lower-case hex, if only that is published.
        md5: MD5, if only that is published.
        licence: The terms under which it is published.
        description: What it is, in one line.
    """

    name: str
    url: str
    num_bytes: int | None = None
    sha256: str | None = None
    sha512: str | None = None
    md5: str | None = None
    licence: str = ""
    description: str = ""

    @property
    def checksum(self) -> str:
        """The name and digits of the hash to verify; empty if no hash is known."""
        return next((f"{kind} {digits}" for kind in ("sha256", "sha512", "md5") if (digits := getattr(self, kind))), "")

    def mismatch(self, path: Path) -> str | None:
        """What is wrong with a file's bytes; None if they are right.

        Raises:
            OSError: The file cannot be read.
        """
        kind, _, expected = self.checksum.partition(" ")
        if not kind:
            return None
        with path.open("rb") as file:
            # Not for security: a machine that forbids MD5 (FIPS) can still verify published hashes.
            digest = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
        return None if digest.startswith(expected) else f"expected {self.checksum}, got {digest}"


def by_hand(file: RemoteFile, folder: Path) -> str:
    """A command that downloads the file without this tool, as a hint."""
    target = shlex.quote(str(folder / file.name))
    known = [f"{file.num_bytes} bytes" if file.num_bytes is not None else "", file.checksum]
    about = ", ".join(filter(None, known))
    command = f"curl -L --create-dirs -o {target} {shlex.quote(redact(file.url))}"
    return f"download it by hand: {command}" + (f" ({about})" if about else "")
