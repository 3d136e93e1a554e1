"""Paths on a terminal that open with a click."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_cli.text import printable

if TYPE_CHECKING:
    from rich.text import Text

#: Terminals that would show an escape sequence they do not know.
PLAIN_TERMINALS = {"", "dumb", "unknown", "linux"}


def link(path: Path | str, text: str | None = None) -> Text:
    """A path for stdout: a hyperlink on a terminal, and the same text everywhere else.

    Args:
        path: A file or folder.
        text: What is shown, if not the path.
    """
    from rich.text import Text

    shown = printable(str(path) if text is None else text)
    return Text(shown, style=f"link {file_url(path)}" if shows_links() else "")


def shows_links() -> bool:
    """Whether stdout is a terminal that draws hyperlinks, or at least ignores them."""
    return (
        sys.stdout.isatty() and os.environ.get("TERM", "" if os.name == "posix" else "windows") not in PLAIN_TERMINALS
    )


def file_url(path: Path | str) -> str:
    """The address of a file for a terminal: with the host, since the terminal may run on another one.

    Windows Terminal opens only files without a host, and those of WSL.

    Source: https://gist.github.com/egmontkob/eb114294efbcd5adb1944c9f3cb5feda and
    https://github.com/microsoft/terminal/issues/10188.
    """
    import socket
    from urllib.parse import quote

    environ = os.environ
    absolute = os.path.abspath(path)
    if os.name == "nt":
        return Path(absolute).as_uri()
    # Bytes that are not UTF-8, escape characters and semicolons become %XX.
    escaped = quote(os.fsencode(absolute))
    if "WT_SESSION" in environ:
        distribution = environ.get("WSL_DISTRO_NAME", "")
        return f"file://wsl.localhost/{quote(distribution)}{escaped}" if distribution else f"file://{escaped}"
    return f"file://{quote(socket.gethostname())}{escaped}"
