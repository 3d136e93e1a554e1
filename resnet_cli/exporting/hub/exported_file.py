"""An exported file, as the Hugging Face Hub shows it."""

from __future__ import annotations

import dataclasses

from resnet_cli.exported.metadata import ExportMetadata
from resnet_cli.exporting.parity_result import Parity


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exported:
    """An exported file, as the Hub shows it.

    Attributes:
        repo: ``OWNER/NAME``.
        files: Names in the repository, the largest last.
        format: The value of ``--format``.
        num_bytes: Bytes of all files.
        sha256: SHA-256 of the largest file.
        metadata: The metadata in the file.
        parity: The result of the parity check.
        license: The license that the user named; None for that of the card.
    """

    repo: str
    files: tuple[str, ...]
    format: str
    num_bytes: int
    sha256: str
    metadata: ExportMetadata
    parity: Parity
    license: str | None
