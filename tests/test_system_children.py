"""Processes that are started end with the one that started them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from resnet_cli.system.children import tied

#: Starts a process that takes a minute, prints its number and waits for it.
PARENT = """
import subprocess, sys
from resnet_cli.system.children import tied
child = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
subprocess.run(tied([sys.executable, "-c", child]))
"""


def test_a_command_is_the_same_and_so_are_its_arguments_output_and_exit_code() -> None:
    code = "import sys; print(sys.argv[1:]); sys.exit(3)"
    done = subprocess.run(tied([sys.executable, "-c", code, "a b", ""]), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "['a b', '']\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends them")
def test_kill_9_ends_what_a_process_has_started() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 10
    try:
        while _runs(child):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGKILL)


def _runs(process: int) -> bool:
    """Whether it exists and is not merely waiting for somebody to read its exit code."""
    try:
        with open(f"/proc/{process}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
