"""The only module that prints: results on stdout, everything else on stderr.

Plain text is never wrapped, so that paths and commands can be copied and searched for, and never interpreted as
markup, since names of folders and classes can contain any characters.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import sys
import threading
import warnings
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from resnet_cli.version import SCHEMA_VERSION

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from resnet_cli.errors import ResnetCliError


#: Whether the user asked for all details with --verbose.
_shows_details = False


def show_details(value: bool) -> None:
    """Says whether warnings are printed without a limit, and errors with their causes."""
    global _shows_details
    _shows_details = value


def stdout() -> Console:
    """The console for results."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, force_interactive=False)


def stderr() -> Console:
    """The console for progress, plans and warnings; animated only on a terminal, whatever FORCE_COLOR says."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False, markup=False, emoji=False, force_interactive=sys.stderr.isatty())


def prepare_warnings() -> None:
    """Prints the warnings of this package as others are printed, without the line of code that Python adds."""
    # Of scikit-learn, which starts no processes here, in a container without shared memory.
    warnings.filterwarnings("ignore", message=r".*joblib will operate in serial mode")
    python_prints = warnings.showwarning

    def print_warning(message: Warning | str, category: type[Warning], *where: Any, **details: Any) -> None:
        if category.__module__.partition(".")[0] == __package__.partition(".")[0]:
            warn(str(message))
        else:
            python_prints(message, category, *where, **details)

    warnings.showwarning = print_warning


def prepare_threads() -> None:
    """Keeps quiet about a full disk that a library's thread has met: the library tells the main thread, too."""
    python_prints = threading.excepthook

    def print_exception(ended: threading.ExceptHookArgs) -> None:
        from resnet_cli.system.paths import FULL_DISK

        if not (isinstance(ended.exc_value, OSError) and ended.exc_value.errno in FULL_DISK):
            python_prints(ended)

    threading.excepthook = print_exception


def show(*renderables: RenderableType) -> None:
    """Prints results."""
    _print(stdout(), renderables)


def show_line(text: str) -> None:
    """Prints one line of a result without wrapping or styling it."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def show_text(text: str) -> None:
    """Prints text that has escape sequences for styles; in a pipe they are removed."""
    import typer

    typer.echo(text, nl=False)


def show_json(value: dict[str, Any]) -> None:
    """Prints one JSON object on one line."""
    from resnet_cli.text import json_line

    show_line(json_line(value))


def show_long_json(values: dict[str, Any]) -> None:
    """Prints one JSON object on one line, long lists in parts."""
    from resnet_cli.text import json_chunks

    sys.stdout.writelines(json_chunks(values))
    show_line("")


def show_csv(rows: Iterable[Sequence[object]]) -> None:
    """Prints CSV rows as they are produced."""
    csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
    sys.stdout.flush()


def note(*renderables: RenderableType) -> None:
    """Prints information beside the result, on stderr."""
    for renderable in renderables:
        if isinstance(renderable, str) and all(line.isprintable() for line in renderable.split("\n")):
            # Without rich, which takes longer to import than a sentence is worth, and would write the same.
            with contextlib.suppress(BrokenPipeError):
                sys.stderr.write(renderable + "\n")
                sys.stderr.flush()
                continue
        _print(stderr(), [renderable])


def warn(text: str) -> None:
    """Prints a warning on stderr."""
    from rich.text import Text

    note(Text.assemble(("warning: ", "yellow"), _harmless(text)))


def warn_or_note(texts: Iterable[str], notes: Container[str]) -> None:
    """Prints warnings on stderr, and those that are mere notes as such."""
    from rich.text import Text

    for text in texts:
        if text in notes:
            note(Text.assemble(("note: ", "dim"), _harmless(text)))
        else:
            warn(text)


def warn_each(texts: Sequence[str], *, at_most: int = 10) -> None:
    """Prints the first warnings and the number of the others; with --verbose, all of them."""
    num_shown = len(texts) if _shows_details else at_most
    for text in texts[:num_shown]:
        warn(text)
    if len(texts) > num_shown:
        warn(f"and {len(texts) - num_shown:,} more of this kind (-v shows all)")


def ask(question: str) -> bool:
    """Asks on stderr, and reads the answer from stdin; anything but y or yes is a no, also the end of the input."""
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


@contextlib.contextmanager
def status(text: str, *, quiet: bool = False) -> Iterator[None]:
    """Shows on a terminal that work without a known length is in progress."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    if os.environ.get("TERM") not in {"dumb", "unknown"}:
        # The spinner appears after 40 ms, in this same line: the library that draws it is imported first.
        sys.stderr.write(f"{text}\r")
        sys.stderr.flush()
    with stderr().status(text):
        yield


def show_error(error: ResnetCliError, *, as_json: bool) -> None:
    """Prints an error and its hint on stderr."""
    if as_json:
        fields = {"code": error.code, "exit_code": error.exit_code, "message": error.message, "hint": error.hint}
        sys.stderr.write(json.dumps({"schema_version": SCHEMA_VERSION, "error": fields}, ensure_ascii=False) + "\n")
        return
    from rich.text import Text

    note(Text.assemble(("error: ", "bold red"), _harmless(error.message)))
    if error.hint:
        note(Text.assemble(("  try: ", "bold"), _harmless(error.hint)))
    if _shows_details:
        for cause in _causes(error):
            note(Text.assemble(("  cause: ", "bold"), _harmless(cause)))


def _causes(error: BaseException) -> Iterator[str]:
    """The errors that led to this one, the nearest first."""
    while (cause := error.__cause__) is not None:
        yield f"{type(cause).__name__}: {cause}"
        error = cause


def show_interrupt(kept: str | None) -> None:
    """Prints that the command was interrupted and what was saved."""
    from rich.text import Text

    note(Text.assemble(("interrupted", "bold"), f"; {_harmless(kept)}" if kept else "; nothing was left behind"))


def _harmless(text: str) -> str:
    """Removes escape sequences, which a quoted file name may contain, but keeps line breaks."""
    from resnet_cli.text import printable

    return "\n".join(printable(line) for line in text.split("\n"))


def _print(console: Console, renderables: Iterable[RenderableType]) -> None:
    from rich.text import Text

    for renderable in renderables:
        if hasattr(sys.stderr, "rich_proxied_file") and console.file is sys.stderr.rich_proxied_file:
            # While a spinner or a bar is shown, only text that rich itself writes appears above it.
            with console.capture() as captured:
                console.print(renderable, soft_wrap=isinstance(renderable, str | Text))
            sys.stderr.write(captured.get())
            continue
        console.print(renderable, soft_wrap=isinstance(renderable, str | Text))
