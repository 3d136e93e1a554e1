"""The first minutes of somebody who has cloned the repository: install, tour, 40 photos, a prediction, the studio.

    RESNET_CLI_ASSETS=... python -m benchmarks --full --only first-minutes

Everything runs from a new clone in a new virtual environment, on a terminal of 80 columns, with an empty cache. A step
is one command that the screen before it named; each counts the commands that its own screen names for the next step.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from .processes import CommandError
from .setting import Setting
from .table import Row

COLUMNS, LINES = 80, 24
PHOTOS = 40
#: Seconds until the studio's page must answer.
MAX_OPENING_S = 60
ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|\][^\x07\x1b]*(\x07|\x1b\\))")
REPOSITORY = Path(__file__).resolve().parents[1]


class Screen(NamedTuple):
    """What a command wrote on a terminal, and how long it took."""

    text: str
    seconds: float

    @property
    def num_next(self) -> int:
        """Number of commands that its last lines name."""
        last = [line for line in self.text.splitlines() if line.strip()][-LINES:]
        return sum("resnet-cli " in line or "http://127.0.0.1" in line for line in last)


def measure(setting: Setting) -> Iterator[Row]:
    """Walks through all steps."""
    home, clone = setting.empty().parent, setting.empty()
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", REPOSITORY.as_uri(), str(clone)], check=True)
    # The terminal's own Python, not the environment of the benchmark.
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    env |= {"HOME": str(home), "RESNET_CLI_CACHE": str(home / "cache"), "TERM": "xterm-256color", "BROWSER": "true"}
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "venv", str(home / "venv")], check=True)
    bin_dir = home / "venv" / "bin"
    pip = [str(bin_dir / "python"), "-m", "pip", "install", "--quiet", f"{clone}[serve]"]
    subprocess.run(pip, check=True, env=env)
    yield Row("first minutes: install into a new environment", time.perf_counter() - began, "s")
    env["PATH"] = f"{bin_dir}{os.pathsep}{env['PATH']}"
    shutil.copytree(setting.few_photos(PHOTOS), home / "photos")
    photo = next((home / "photos" / "val").glob("*/*"))
    steps = (
        ("the bare command", ()),
        ("demo", ("demo",)),
        (f"finetune on {PHOTOS} photos", ("finetune", "photos", "--weights", str(setting.weights), "--open")),
        ("predict", ("predict", str(photo))),
        ("runs", ("runs",)),
    )
    dead_ends = []
    for name, words in steps:
        screen = _on_terminal(words, home, env)
        dead_ends += [] if screen.num_next else [name]
        yield Row(f"first minutes: {name}", screen.seconds, "s", details={"commands named at the end": screen.num_next})
    yield Row("first minutes: the studio's page is open", _seconds_to_studio(home, env), "s")
    yield Row("first minutes: steps without a next step", len(dead_ends), "", at_most=0, details={"in": dead_ends})


def _on_terminal(words: Sequence[str], home: Path, env: dict[str, str]) -> Screen:
    """Runs the installed command on a terminal of 80 columns.

    Raises:
        CommandError: It failed.
    """
    chief, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    began = time.perf_counter()
    process = subprocess.Popen(
        ["resnet-cli", *words], cwd=home, env=env, stdin=terminal, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    # The tour asks whether to open its report.
    os.write(chief, b"n\n")
    written = bytearray()
    # Reading fails when the last process has closed the terminal.
    with contextlib.suppress(OSError):
        while part := os.read(chief, 65536):
            written += part
    os.close(chief)
    code, seconds = process.wait(), time.perf_counter() - began
    text = ESCAPES.sub("", written.decode(errors="replace")).replace("\r", "\n")
    # Without words, the command shows its help and ends as a wrong call.
    if code not in ({0} if words else {0, 2}):
        raise CommandError(f"resnet-cli {' '.join(words[:1])} ended with {code}: {text[-500:]}")
    return Screen(text, seconds)


def _seconds_to_studio(home: Path, env: dict[str, str]) -> float:
    began = time.perf_counter()
    with subprocess.Popen(
        ["resnet-cli", "studio", "--port", "0"], cwd=home, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            assert process.stdout is not None
            for line in iter(process.stdout.readline, b""):
                if match := re.search(rb"http://\S+", line):
                    with urllib.request.urlopen(match[0].decode(), timeout=MAX_OPENING_S) as page:
                        page.read()
                    return time.perf_counter() - began
        finally:
            process.send_signal(signal.SIGINT)
    raise CommandError("resnet-cli studio named no address")
