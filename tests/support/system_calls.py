"""The system calls of a command: which addresses it connects to, and which files it creates."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

#: Calls that reach an address, and calls that create a file or folder.
_CALLS = (
    "connect,sendto,sendmsg,sendmmsg,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,symlink,symlinkat"
)
#: Addresses of this machine alone.
_LOOPBACK = re.compile(r'inet_addr\("127\.|inet_pton\(AF_INET6, "(::1|::ffff:127\.[\d.]+)"')
_CREATES = re.compile(r"O_CREAT|O_TRUNC|^\d+\s+(creat|mkdir|mkdirat|rename\w*|link|symlink\w*)\(")
#: What the system's function for names of hosts reads before it asks a server.
_RESOLVER = "/etc/resolv.conf"


def require_strace() -> None:
    """Skips the test where the calls of a process cannot be watched."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed: apt-get install strace")
    tried = subprocess.run([strace, "-f", "-o", os.devnull, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"strace may not watch processes here: {tried.stderr.strip()[-100:]}")


def watched(log: Path) -> list[str]:
    """The words before a command whose calls, and those of its children, are to be written to ``log``.

    The command stays the child of the caller, which can send it signals.
    """
    return [
        "strace",
        "-D",
        "-f",
        "--seccomp-bpf",
        "-s",
        "400",
        "-e",
        f"trace={_CALLS}",
        "-e",
        "signal=none",
        "-o",
        str(log),
    ]


def calls(log: Path, process: int) -> list[str]:
    """The calls in a log, once the process has ended there."""
    end = re.compile(rf"^{process} +\+\+\+ ", re.MULTILINE)
    for _ in range(600):
        text = log.read_text(errors="replace")
        if end.search(text):
            return text.splitlines()
        time.sleep(0.05)
    raise AssertionError(f"process {process} has not ended in {log}")


def contacts(lines: list[str]) -> list[str]:
    """Calls that reach another machine, or look up the name of one."""
    found = [
        line for line in lines if "sa_family=AF_INET" in line and "bind(" not in line and not _LOOPBACK.search(line)
    ]
    return found + [line for line in lines if _RESOLVER in line]


def created(lines: list[str], cwd: Path) -> Iterator[Path]:
    """Every file and folder that was created, written anew or renamed to."""
    for line in lines:
        if _CREATES.search(line) and " = -1 " not in line:
            names = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
            if names:
                yield Path(os.path.normpath(cwd / names[-1]))
