"""The text of ``-h`` and ``--help``: what most people need, on one screen; ``--help-all`` shows every flag.

It is written here rather than by rich, whose tables take three times as many lines and 0.1 s to import.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from typer.core import TyperCommand

HELP_ALL = "--help-all"
#: What most commands have; they take one line together.
_COMMON = ("as_json", "quiet", "verbose")
#: Columns of a text that is still easy to read, and of the flags in front of their descriptions.
_MAX_WIDTH, _MAX_FLAGS = 100, 24
_INDENT = "  "
#: A space at which no line is broken.
_FIXED_SPACE = "\xa0"


class Command(TyperCommand):
    """A command whose help shows its essential flags, in the order in which ``takes`` names them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments; remembers whether all flags are to be shown."""
        ctx.meta["help_all"] = HELP_ALL in itertools.takewhile(lambda one: one != "--", args)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Writes the whole text of the help."""
        formatter.write(command_help(self, ctx, show_all=ctx.meta.get("help_all", False)))


def command_help(command: Command, ctx: Any, *, show_all: bool) -> str:
    """The help of one command.

    Args:
        command: Its parameters, docstring and epilog are shown.
        ctx: The context of the call, for the name of the program.
        show_all: Whether every flag is shown, in groups and with all sentences of its description.
    """
    width = _width()
    parameters: list[Any] = list(command.params)
    options = [one for one in parameters if one.param_type_name == "option" and not one.hidden]
    arguments = [one for one in parameters if one.param_type_name == "argument"]
    names: Sequence[str] = getattr(command.callback, "essential", ())
    by_name = {str(one.name): one for one in options}
    # With all flags, too, those that most people need come first, and so do their groups.
    shown = [by_name[name] for name in names if name in by_name]
    if show_all or not names:
        shown += [one for one in options if one.name not in names]
    common = [one for one in options if one.name in _COMMON]
    if not show_all:
        shown = [one for one in shown if one.name not in _COMMON]
    usage = " ".join([f"Usage: {ctx.command_path} [OPTIONS]", *map(_argument_usage, arguments)])
    about = (command.help or "") if show_all else (command.help or "").partition("\n\n")[0]
    lines = _wrapped(usage, width, "       ")
    if about:
        lines += ["", *_wrapped(" ".join(about.split()), width)]
    if arguments:
        rows = [(_name_of(one), _about(one, show_all=show_all)) for one in arguments]
        lines += ["", *_rows(rows, width)]
    groups: dict[str, list[Any]] = {}
    for one in shown:
        groups.setdefault((show_all and one.rich_help_panel) or "Options", []).append(one)
    for title, members in groups.items():
        rows = [(_flag(one), _about(one, show_all=show_all)) for one in members]
        lines += ["", bold(f"{title}:"), *_rows(rows, width)]
    if not show_all:
        num_flags = len(options)
        rest = (
            f"{HELP_ALL}: all {num_flags} flags".replace(" ", _FIXED_SPACE)
            if len(shown) + len(common) < num_flags
            else ""
        )
        last = "    ".join(filter(None, [", ".join(_flag(one).replace(", ", "/") for one in common), rest]))
        lines += _wrapped(_INDENT + last, width, _INDENT) if last else []
    if command.epilog:
        lines += ["", command.epilog.replace("Examples:", bold("Examples:"), 1)]
    return "\n".join(lines) + "\n"


def overview(
    about: str,
    commands: Iterable[tuple[str, str]],
    examples: Sequence[str],
    options: Sequence[Any],
    *,
    program: str = "resnet-cli",
) -> str:
    """The help of the program itself, or of a command with commands of its own: one line per command.

    Args:
        about: What the program does.
        commands: Their names, and a sentence about each.
        examples: Commands to begin with.
        options: The program's own options; none of them are shown without a request for help.
        program: The words in front of a command.
    """
    width = _width()
    commands = list(commands)
    name_width = max(len(name) for name, _ in commands) + 2
    lines = [*_wrapped(about, width), f"Usage: {program} COMMAND [OPTIONS]", ""]
    for name, text in commands:
        lines += _wrapped(text, width - len(_INDENT), " " * name_width, f"{name:{name_width}}", indent=_INDENT)
    if options:
        lines += ["", bold("Options:"), *_rows([(_flag(one), one.help or "") for one in options], width)]
    lines += ["", bold("Examples:") + f"  (the flags of a command: {program} COMMAND -h)"]
    return "\n".join([*lines, *(_INDENT + one for one in examples)]) + "\n"


def bold(text: str) -> str:
    """The text in bold where stdout is a terminal that shows it; typer removes the escape sequences in a pipe."""
    is_plain = "NO_COLOR" in os.environ or os.environ.get("TERM") in {"dumb", "unknown"}
    is_old_console = sys.platform == "win32" and "WT_SESSION" not in os.environ
    return text if is_plain or is_old_console else str(typer.style(text, bold=True))


def _width() -> int:
    return max(40, min(shutil.get_terminal_size().columns, _MAX_WIDTH))


def _flag(option: Any) -> str:
    """``-o, --out PATH``; other spellings of the same flag are not shown."""
    if HELP_ALL in option.opts:
        return "-h, --help"
    short = [one for one in option.opts if not one.startswith("--")]
    long = [one for one in option.opts if one.startswith("--")]
    spelled = [*short[:1], *long[:1]]
    if option.secondary_opts:
        spelled = [f"--[no-]{long[0][2:]}"]
    metavar = "" if option.is_flag else option.metavar or str(option.name).upper()
    return f"{', '.join(spelled)} {metavar}".rstrip()


def _name_of(argument: Any) -> str:
    return re.sub(r"[\[\]]|\.\.\.", "", argument.metavar or argument.name.upper())


def _argument_usage(argument: Any) -> str:
    if argument.metavar and "[" in argument.metavar:
        return str(argument.metavar)
    name = _name_of(argument)
    name = name if argument.required else f"[{name}]"
    return name if argument.nargs == 1 else f"{name}..."


def _about(parameter: Any, *, show_all: bool) -> str:
    text = " ".join((parameter.help or "").split())
    if not show_all:
        # The first sentence.
        text = re.split(r"(?<=\.) ", text, maxsplit=1)[0]
    default = parameter.show_default if isinstance(parameter.show_default, str) else ""
    # A short one is not broken into two lines.
    notes = [f"[default: {default}]".replace(" ", _FIXED_SPACE if len(default) < 20 else " ")] if default else []
    if show_all and isinstance(parameter.envvar, str):
        notes.append(f"[environment: {parameter.envvar}]")
    return " ".join([text, *notes])


def _rows(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Names and their descriptions in two columns; a long name has its line for itself."""
    most = min(_MAX_FLAGS, width * 3 // 10)
    column = max((len(name) for name, _ in rows if len(name) <= most), default=most)
    gap = " " * (column + 2)
    lines: list[str] = []
    for name, text in rows:
        head = f"{name:{column + 2}}"
        if len(name) > column:
            lines += _wrapped(name.replace("|", "| "), width - 2, _INDENT, indent=_INDENT, joint="| ")
            head = gap
        lines += _wrapped(text, width - len(_INDENT), gap, head, indent=_INDENT)
    return lines


def _wrapped(text: str, width: int, rest: str = "", first: str = "", *, indent: str = "", joint: str = "") -> list[str]:
    lines = textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    lines = [line.replace(_FIXED_SPACE, " ") for line in lines or [first.rstrip()]]
    return [indent + (line.replace(joint, joint.strip()) if joint else line) for line in lines]
