"""Opens a page that was written in the browser, for ``--open``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from resnet_cli.cli import output

#: Seconds after which a browser that has not returned counts as open.
WAIT_S = 5
#: In a process of its own: some browsers print, and some (``lynx``) would take over the terminal.
_PROGRAM = "import sys, webbrowser; sys.exit(not webbrowser.open(sys.argv[1]))"


def open_page(path: Path | str) -> bool:
    """Opens a page in the browser, and says so on stderr, or says that there is no browser.

    Args:
        path: An HTML file.

    Returns:
        Whether a browser was started.
    """
    url = Path(path).absolute().as_uri()
    is_open = open_url(url)
    if is_open:
        output.note(f"opened {path} in the browser")
    else:
        output.warn(f"there is no browser here to open {path}: copy the file to a machine that has one, or open {url}")
    return is_open


def open_url(url: str) -> bool:
    """Opens an address in the browser; False if there is no browser."""
    return has_display() and _open(url)


def has_display() -> bool:
    """Whether a browser has a screen to appear on; Python would otherwise start one that runs in the terminal."""
    if sys.platform in {"win32", "darwin"}:
        return True
    return any(os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"))


def _open(url: str) -> bool:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", _PROGRAM, url], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
    )
    try:
        return process.wait(WAIT_S) == 0
    except subprocess.TimeoutExpired:
        return True
