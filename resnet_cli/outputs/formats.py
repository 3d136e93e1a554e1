"""The formats of files of answers, and what their names say; nothing heavy is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from resnet_cli.errors import ConfigError

Format: TypeAlias = Literal["csv", "json", "parquet"]
#: JSON is lines of it, whatever the extension.
FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
}


def file_format(path: Path, asked: Format | None) -> Format:
    """What kind of file is written.

    Args:
        path: Its extension decides, where it says anything.
        asked: By a flag.

    Raises:
        ConfigError: Neither says it, or they say different things.
    """
    by_name = FORMATS.get(path.suffix.lower())
    if asked and by_name and asked != by_name:
        raise ConfigError(f"--{asked} and --output {path}: its extension says {by_name}", hint="leave one of them away")
    found = asked or by_name
    if not found:
        hint = f"use {', '.join(FORMATS)}, or say which with --csv, --json or --parquet"
        raise ConfigError(f"--output {path}: its extension says nothing about its format", hint=hint)
    return found
