"""Programs in a terminal of their own."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

if sys.platform == "win32":  # pragma: no cover
    pytest.skip("there are no pseudo-terminals on Windows", allow_module_level=True)
else:
    import fcntl
    import struct
    import termios

from support.running import COMMAND, command_environment

#: What tells one terminal from another; a test sets those of its terminal.
TERMINAL_VARIABLES = (
    *("TERM", "TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID", "KONSOLE_VERSION", "WT_SESSION", "TMUX", "STY"),
    *("RESNET_CLI_IMAGES", "NO_COLOR", "FORCE_COLOR", "COLORTERM", "COLUMNS", "LINES", "WSL_DISTRO_NAME"),
)


class Screen(NamedTuple):
    """What a program wrote.

    Attributes:
        code: Its exit code.
        stdout: Bytes on the terminal, or in the pipe.
        stderr: The same for stderr.
    """

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Stdout, with the line breaks that were written."""
        return self.stdout.decode().replace("\r\n", "\n")


def on_terminal(
    *arguments: object,
    columns: int = 80,
    env: Mapping[str, str] | None = None,
    program: str | None = None,
    cwd: Path | None = None,
    timeout: float = 120,
) -> Screen:
    """Runs the command with stdout and stderr on two terminals.

    Args:
        arguments: The words after ``resnet-cli``.
        columns: Width of the terminals.
        env: Variables that are set, besides ``TERM=xterm-256color``.
        program: Python code that is run instead of the command.
        cwd: Folder to run in.
        timeout: Seconds after which the program counts as hanging.
    """
    words = [str(COMMAND)] if program is None else [sys.executable, "-c", program]
    environment = {name: value for name, value in command_environment().items() if name not in TERMINAL_VARIABLES}
    ends = [os.openpty(), os.openpty()]
    for _, inner in ends:
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("4H", 40, columns, 0, 0))
    process = subprocess.Popen(
        [*words, *map(str, arguments)],
        cwd=cwd,
        env=environment | {"TERM": "xterm-256color"} | dict(env or {}),
        stdin=subprocess.DEVNULL,
        stdout=ends[0][1],
        stderr=ends[1][1],
    )
    written = [bytearray(), bytearray()]
    readers = [
        threading.Thread(target=_drain, args=(outer, into)) for (outer, _), into in zip(ends, written, strict=True)
    ]
    for reader in readers:
        reader.start()
    for _, inner in ends:
        os.close(inner)
    try:
        code = process.wait(timeout)
    finally:
        process.kill()
        for reader in readers:
            reader.join()
        for outer, _ in ends:
            os.close(outer)
    return Screen(code, bytes(written[0]), bytes(written[1]))


def _drain(terminal: int, into: bytearray) -> None:
    """Reads until the last process at the other end has closed it."""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError as error:
            if error.errno == errno.EIO:
                return
            raise
        if not data:
            return
        into += data
