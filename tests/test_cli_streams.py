"""Standard output that is full, closed or without a reader: the exit code says so, and nothing is a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.running import COMMAND, Trained, command_environment

pytest_plugins = ["support.small_runs"]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX streams")
full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")

HELP = ("--help",)
#: Commands of every kind of output that need no model: typer's help, rich's tables, plain lines, JSON, a script.
QUICK: dict[str, Sequence[str]] = {
    "no command": (),
    "help": HELP,
    "version": ("--version",),
    "help of a command": ("predict", "--help"),
    "table": ("download", "--list"),
    "completion": ("--show-completion", "bash"),
}


def run(arguments: Sequence[object], redirection: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """The installed command in a shell, which redirects its streams."""
    env = command_environment() | changes
    del env["PYTHONUNBUFFERED"]
    line = ["bash", "-c", f'"$0" "$@" {redirection}', str(COMMAND), *map(str, arguments)]
    return subprocess.run(line, env=env, capture_output=True, text=True, check=False)


def says_full(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 6, done.stderr
    assert done.stderr.count("error: cannot write to standard output: No space left on device") == 1
    assert done.stderr.count("try: ") == 1
    assert not any(word in done.stderr for word in ("Traceback", "Exception ignored"))


@full
@pytest.mark.parametrize("arguments", QUICK.values(), ids=QUICK)
def test_a_full_standard_output_is_one_error_of_the_disk(arguments: Sequence[str]) -> None:
    says_full(run(arguments, ">/dev/full"))


@full
def test_a_full_standard_output_is_an_error_whether_python_buffers_it_or_not() -> None:
    says_full(run(HELP, ">/dev/full", PYTHONUNBUFFERED="1"))
    completion = run((), ">/dev/full", _RESNET_CLI_COMPLETE="source_bash")
    says_full(completion)


@full
@pytest.mark.parametrize("flag", ["--csv", pytest.param("--json", marks=pytest.mark.slow)])
def test_predictions_that_cannot_be_printed_are_an_error(flag: str, full_run: Trained, photos: Path) -> None:
    done = run(["predict", photos / "val", "--model", full_run.run, flag], ">/dev/full")
    if flag == "--csv":
        says_full(done)
    else:
        assert done.returncode == 6
        assert '"code": "disk", "exit_code": 6' in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("trap", ["", "trap '' PIPE; "], ids=["", "SIGPIPE ignored"])
@pytest.mark.parametrize("name", ["help", "version", "table"])
def test_a_reader_that_has_left_ends_a_command_quietly(name: str, trap: str) -> None:
    reader, writer = os.pipe()
    # It has left before the first byte.
    os.close(reader)
    done = subprocess.run(
        ["bash", "-c", f'{trap}"$0" "$@"; exit $?', str(COMMAND), *QUICK[name]],
        env=command_environment(),
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_closed_standard_output_is_an_error_and_no_file_takes_its_place(tmp_path: Path) -> None:
    done = run(HELP, ">&-")
    assert done.returncode == 6
    assert "error: cannot write to standard output: it is closed" in done.stderr and "Traceback" not in done.stderr
    assert run(["predict", tmp_path, "--model", tmp_path], "<&- >&-").returncode == 3


@full
@pytest.mark.parametrize(
    "redirection",
    [
        "2>/dev/full",
        pytest.param("2>&-", marks=pytest.mark.slow),
        pytest.param("2> >(exec <&-)", marks=pytest.mark.slow),
    ],
)
def test_messages_that_cannot_be_written_change_no_result(redirection: str) -> None:
    done = run(("finetune", "nowhere"), redirection)
    assert (done.returncode, done.stdout) == (3, "")


def test_a_terminal_or_pipe_that_does_not_block_loses_nothing() -> None:
    code = """
import fcntl, os, sys, threading, time
from resnet_cli.cli import streams
reader, writer = os.pipe()
os.dup2(writer, 1)
fcntl.fcntl(1, fcntl.F_SETFL, fcntl.fcntl(1, fcntl.F_GETFL) | os.O_NONBLOCK)
streams.prepare_streams()
found = bytearray()
def read():
    time.sleep(0.2)
    while len(found) < 1_000_000:
        found.extend(os.read(reader, 65536))
thread = threading.Thread(target=read)
thread.start()
sys.stdout.write("x" * 1_000_000)
sys.stdout.flush()
thread.join()
sys.exit(len(found) != 1_000_000)
"""
    done = subprocess.run([sys.executable, "-c", code], env=command_environment(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_rows_go_into_a_file_while_a_terminal_shows_progress() -> None:
    program = (
        "import csv, sys\n"
        "from resnet_cli.cli import output\n"
        "from resnet_cli.cli.progress import ProgressView\n"
        "from resnet_cli.system.events import WorkDone\n"
        "with ProgressView() as view:\n"
        "    view(WorkDone('predict', 1, 2))\n"
        "    csv.writer(sys.stdout, lineterminator='\\n').writerow(['1.jpg', 'cat'])\n"
        "    output.warn('a sentence')\n"
    )
    terminal, other_end = os.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=other_end,
            env=command_environment() | {"TERM": "xterm"},
            timeout=60,
            check=False,
        )
        shown = os.read(terminal, 100_000)
    finally:
        os.close(terminal)
        os.close(other_end)
    assert done.returncode == 0, shown
    assert done.stdout == b"1.jpg,cat\n" and b"classifying" in shown and b"cat" not in shown
    # The line of the bar is erased before the warning takes its place.
    assert b"\x1b[2K" in shown[shown.index(b"classifying") : shown.index(b"warning: ")]
