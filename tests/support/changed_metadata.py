"""Metadata of exported files as version 0.1.0 wrote them, and with other values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from resnet_cli.exported.checksums import DIGEST, FILES
from resnet_cli.exported.metadata import METADATA_FILE


def change_texts(of: Path | Mapping[str, str], *, crop_size: int | None = None, **texts: str) -> dict[str, str]:
    """The metadata of a folder, or of a file, with other texts, and without checksums, as version 0.1.0 wrote them.

    Args:
        of: A folder, whose metadata are written again, or texts.
        crop_size: The side that the preprocessing names instead.
        texts: The other texts.
    """
    given = json.loads((of / METADATA_FILE).read_text(encoding="utf-8")) if isinstance(of, Path) else dict(of)
    if crop_size is not None:
        texts["preprocess"] = json.dumps(
            json.loads(given["preprocess"]) | {"crop_size": crop_size, "resize_size": crop_size}
        )
    kept = {name: text for name, text in (given | texts).items() if name not in {DIGEST, FILES, "reliability"}}
    if isinstance(of, Path):
        (of / METADATA_FILE).write_text(json.dumps(kept), encoding="utf-8")
    return kept
