"""Measures start-up: help, version, a wrong flag and shell completion, relative to a Typer program of two commands.

    python -m benchmarks.startup [--quick]

Both run in their own processes and take turns; the figure is the median of the ratios. The small program has the same
work to do: it, too, shows a version, refuses an unknown flag, and completes its commands. Commands that load torch
report it first: measured is how much later this is than the small program's first output on a terminal.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

from .processes import COMMAND, CommandError, Ended, launch
from .setting import Setting, alone
from .table import Row, show, spread

HELLO = """
import typer
app = typer.Typer()

def show_version(wanted: bool) -> None:
    if wanted:
        print("1.0")
        raise typer.Exit

@app.callback()
def main(version: bool = typer.Option(False, "--version", callback=show_version, is_eager=True)) -> None: ...
@app.command()
def hello(name: str) -> None: print(name)
@app.command()
def bye(name: str) -> None: print(name)
app(prog_name="hello")
"""
#: Start-up may take this many times as long.
BAR = 1.2
#: Milliseconds between the end of the small program's output and the report that something is loading.
MAX_SILENCE_MS = 100
#: Each of these loads torch; there is nothing for them to work on, which they notice afterwards.
LOADING = (("finetune", "nowhere"), ("eval", "nowhere"), ("predict", "nowhere.jpg"), ("export", "nowhere"))


class Case(NamedTuple):
    """One call of a program: its words, its exit code, and whether it is the shell asking for completions."""

    name: str
    words: tuple[str, ...]
    exit_code: int = 0
    is_completion: bool = False


CASES = (
    Case("--help", ("--help",)),
    Case("--version", ("--version",)),
    Case("a usage error", ("--nonsense",), 2),
    # 'PROGRAM he<TAB>' in bash.
    Case("completion", (), is_completion=True),
)


def ask(program: tuple[str, ...], name: str, case: Case) -> Ended:
    """Runs a program once.

    Args:
        program: Words that start it.
        name: Name of the program, which its completion variable contains.
        case: What to run.
    """
    asked = {
        f"_{name.upper().replace('-', '_')}_COMPLETE": "complete_bash",
        "COMP_CWORD": "1",
        "COMP_WORDS": f"{name} ",
    }
    env = os.environ | (asked if case.is_completion else {})
    ended = launch(*program, *case.words, env=env, exit_code=case.exit_code)
    assert ended.stdout or case.exit_code, f"{name}: {case.name} shows nothing"
    return ended


def measure(setting: Setting) -> Iterator[Row]:
    """One row per case."""
    script = setting.scratch / "hello.py"
    script.write_text(HELLO)
    programs = {"resnet-cli": ("resnet-cli",), "hello": (sys.executable, str(script))}
    num_pairs = 3 if setting.quick else 21
    for case in CASES:
        ended: dict[str, list[Ended]] = {name: [] for name in programs}
        for index in range(num_pairs + 1):
            # The order alternates, too.
            for name in sorted(programs, reverse=index % 2 == 1):
                ended[name].append(ask(programs[name], name, case))
        # The first pair fills the disk's cache.
        ours, hello = (found[1:] for found in ended.values())
        ratios = [mine.seconds / theirs.seconds for mine, theirs in zip(ours, hello, strict=True)]
        details = {
            "ours_ms": 1000 * statistics.median(mine.seconds for mine in ours),
            "hello_ms": 1000 * statistics.median(theirs.seconds for theirs in hello),
            "processor": statistics.median(mine.cpu_s / theirs.cpu_s for mine, theirs in zip(ours, hello, strict=True)),
        }
        what = f"start-up, {case.name}, relative to a Typer program"
        yield Row(what, statistics.median(ratios), "x", at_most=BAR, details=details | spread(ratios))


def first_words(*command: str, words: bytes) -> float:
    """Seconds until a command shows ``words`` on a terminal; it is then ended.

    Raises:
        CommandError: It ended without showing them.
    """
    mine, its = os.openpty()
    began, seen = time.perf_counter(), b""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=its, stderr=its) as process:
        os.close(its)
        try:
            while words not in seen:
                seen += os.read(mine, 4096)
            return time.perf_counter() - began
        # Linux reports this when the other end is closed.
        except OSError as error:
            raise CommandError(f"{' '.join(command)} showed {seen!r}") from error
        finally:
            process.kill()
            os.close(mine)


def measure_silence(setting: Setting) -> Iterator[Row]:
    """One row for each command that loads torch."""
    script = setting.scratch / "hello.py"
    script.write_text(HELLO)
    for words in LOADING:
        late = []
        for _ in range(4 if setting.quick else 12):
            hello = first_words(sys.executable, str(script), "hello", "you", words=b"you")
            late.append(1000 * (first_words(COMMAND, *words, words=b"loading") - hello))
        what = f"start-up, {words[0]} reports that it is loading, after a Typer program"
        # The first pair fills the disk's cache.
        yield Row(what, statistics.median(late[1:]), "ms", at_most=MAX_SILENCE_MS, details=spread(late[1:]))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three pairs")
    quick = parser.parse_args().quick
    with alone(quick=quick) as setting:
        show(row for part in (measure, measure_silence) for row in part(setting))


if __name__ == "__main__":
    main()
