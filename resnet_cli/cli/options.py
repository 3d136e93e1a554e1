"""Flags and arguments outside the configs that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from resnet_cli.cli.completion import complete_data, complete_model
from resnet_cli.errors import ConfigError
from resnet_cli.system.latest import follow_latest
from resnet_cli.system.paths import LATEST


def the_model(argument: str | None, flag: str | None) -> str:
    """The model that is named by the argument or by the flag, else the newest run.

    Raises:
        ConfigError: Both are given, or an empty name.
    """
    if argument is not None and flag is not None:
        raise ConfigError(f"{argument} and --model {flag}: choose one", hint=f"leave out --model {flag}")
    named = flag if argument is None else argument
    if named == "":
        # The newest run in its place would be a silent surprise.
        raise ConfigError("MODEL is empty", hint="give a model, or leave it out; is a shell variable unset?")
    return follow_latest(named or str(LATEST))


def _note_json(ctx: typer.Context, value: bool) -> bool:
    # Read by the error boundary: with --json, errors are JSON too.
    ctx.meta["json"] = value
    return value


def _note_verbose(value: bool) -> bool:
    from resnet_cli.cli import output

    output.show_details(value)
    return value


JsonFlag = Annotated[
    bool,
    typer.Option(
        "--json", callback=_note_json, is_eager=True, metavar="", help="Print JSON on stdout instead of tables."
    ),
]
QuietFlag = Annotated[
    bool, typer.Option("--quiet", "-q", metavar="", help="Show no progress and no tables, only the result and errors.")
]
VerboseFlag = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        callback=_note_verbose,
        is_eager=True,
        metavar="",
        help="Show everything: the whole plan, all tables, every warning, and the cause of an error.",
    ),
]
DataArgument = Annotated[
    str,
    typer.Argument(
        help="A folder of images, a table, an archive, a URL, or a name from: resnet-cli download --list.",
        autocompletion=complete_data,
    ),
]
ModelArgument = Annotated[
    str | None,
    typer.Argument(help="A run folder or model file.", show_default="runs/latest", autocompletion=complete_model),
]
#: The model where it is not an argument, as in ``predict``; the other commands accept both.
ModelFlag = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", metavar="MODEL", help="The same as the argument MODEL.", autocompletion=complete_model
    ),
]
OfflineFlag = Annotated[
    bool, typer.Option("--offline", metavar="", help="Never download anything.", rich_help_panel="Machine")
]
