"""The only module that prints: results on stdout, everything else on stderr.

Sentences are wrapped between words on a terminal, and nowhere else; paths and commands never are, so that they can be
copied and searched for. Nothing is interpreted as markup, since names of folders and classes can contain any
characters.
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
from typing import TYPE_CHECKING, Any, TextIO

from resnet_cli.version import SCHEMA_VERSION

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from resnet_cli.cli.live_region import LiveRegion
    from resnet_cli.errors import ResnetCliError


#: Columns of a terminal that does not tell how many it has.
DEFAULT_COLUMNS = 80
#: Whether the user asked for all details with --verbose.
_shows_details = False
#: What is being drawn on the terminal.
_display: LiveRegion | None = None


def show_details(value: bool) -> None:
    """Says whether warnings are printed without a limit, and errors with their causes."""
    global _shows_details
    _shows_details = value


def is_animated() -> bool:
    """Whether stderr is a terminal on which lines can be drawn again."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}


def attach_display(display: LiveRegion) -> None:
    """Tells what is drawn on the terminal from now on: notes appear above it, and results end it."""
    global _display
    _display = display


def detach_display(display: LiveRegion) -> None:
    """Tells that a display draws nothing more."""
    global _display
    if _display is display:
        _display = None


def stdout() -> Console:
    """The console for results."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, force_interactive=False)


def stderr() -> Console:
    """The console for progress, plans and warnings; animated only on a terminal, whatever FORCE_COLOR says."""
    if _display is not None:
        return _display.console
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
    _end_display()
    _print(stdout(), renderables)


def show_prose(text: str, *, style: str = "") -> None:
    """Prints sentences of a result; on a terminal, their lines are broken between words."""
    from rich.text import Text

    show(Text(_fitted(_harmless(text), sys.stdout), style=style))


def show_line(text: str) -> None:
    """Prints one line of a result without wrapping or styling it."""
    _end_display()
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
        if isinstance(renderable, str):
            renderable = _fitted(renderable, sys.stderr)
            if _display is None and all(line.isprintable() for line in renderable.split("\n")):
                # Without rich, which takes longer to import than a sentence is worth, and would write the same.
                with contextlib.suppress(BrokenPipeError):
                    sys.stderr.write(renderable + "\n")
                    sys.stderr.flush()
                    continue
        _print(stderr(), [renderable])


def warn(text: str) -> None:
    """Prints a warning on stderr."""
    note_labeled("warning: ", "yellow", text)


def warn_or_note(texts: Iterable[str], notes: Container[str]) -> None:
    """Prints warnings on stderr, and those that are mere notes as such."""
    for text in texts:
        if text in notes:
            note_labeled("note: ", "dim", text)
        else:
            warn(text)


def note_labeled(label: str, style: str, text: str) -> None:
    """Prints sentences on stderr after a label, below which they do not begin when they are wrapped."""
    from rich.text import Text

    note(Text.assemble((label, style), _fitted(_harmless(text), sys.stderr, indent=len(label))))


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
    if quiet or not is_animated() or _display is not None:
        yield
        return
    # The spinner appears after 40 ms, in this same line: the library that draws it is imported first.
    sys.stderr.write(f"{text}\r")
    sys.stderr.flush()
    from rich.spinner import Spinner

    from resnet_cli.cli.live_region import LiveRegion

    spinner = Spinner("dots", text)
    display = LiveRegion(lambda width, height: spinner)
    display.start(refresh=True)
    try:
        yield
    finally:
        display.stop()


def show_error(error: ResnetCliError, *, as_json: bool) -> None:
    """Prints an error and its hint on stderr."""
    if as_json:
        fields = {"code": error.code, "exit_code": error.exit_code, "message": error.message, "hint": error.hint}
        sys.stderr.write(json.dumps({"schema_version": SCHEMA_VERSION, "error": fields}, ensure_ascii=False) + "\n")
        return
    note_labeled("error: ", "bold red", error.message)
    if error.hint:
        note_labeled("  try: ", "bold", error.hint)
    if _shows_details:
        for cause in _causes(error):
            note_labeled("  cause: ", "bold", cause)


def _causes(error: BaseException) -> Iterator[str]:
    """The errors that led to this one, the nearest first."""
    while (cause := error.__cause__) is not None:
        yield f"{type(cause).__name__}: {cause}"
        error = cause


def show_interrupt(kept: str | None) -> None:
    """Prints that the command was interrupted and what was saved."""
    note_labeled("interrupted; ", "bold", kept or "nothing was left behind")


def _harmless(text: str) -> str:
    """Removes escape sequences, which a quoted file name may contain, but keeps line breaks."""
    from resnet_cli.text import printable

    return "\n".join(printable(line) for line in text.split("\n"))


def _fitted(text: str, stream: TextIO, *, indent: int = 0) -> str:
    """Text with lines that fit into a terminal, ``indent`` columns of which a label takes; unchanged elsewhere."""
    if not stream.isatty():
        return text
    from resnet_cli.text import wrap_prose

    return wrap_prose(text, _columns(stream), first=indent, indent=indent)


def _columns(stream: TextIO) -> int:
    """Width of a terminal, found without rich, which takes longer to import than a sentence is worth."""
    if os.environ.get("COLUMNS", "").isdecimal():
        return int(os.environ["COLUMNS"])
    with contextlib.suppress(OSError, ValueError):
        return os.get_terminal_size(stream.fileno()).columns or DEFAULT_COLUMNS
    return DEFAULT_COLUMNS


def _end_display() -> None:
    """Ends what is drawn, before a result is printed on the same terminal."""
    if _display is not None and sys.stdout.isatty():
        _display.end()


def _print(console: Console, renderables: Iterable[RenderableType]) -> None:
    from rich.text import Text

    with contextlib.nullcontext() if _display is None else _display.lock:
        for renderable in renderables:
            console.print(renderable, soft_wrap=isinstance(renderable, str | Text))
