"""``resnet-cli runs`` and its commands."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from resnet_cli.cli import App, app, output
from resnet_cli.cli.completion import complete_run
from resnet_cli.cli.help import overview
from resnet_cli.cli.opening import open_page
from resnet_cli.cli.options import JsonFlag, QuietFlag
from resnet_cli.cli.takes import Flags, examples, takes
from resnet_cli.config.base import resolve, typed_flags
from resnet_cli.config.runs import CompareConfig, RemoveConfig
from resnet_cli.errors import ConfigError
from resnet_cli.system.latest import follow_latest
from resnet_cli.system.paths import RUNS

if TYPE_CHECKING:
    from resnet_cli.commands.run_summary import RunSummary

#: The command that is meant where none is named.
DEFAULT = "list"


#: What other programs call a command.
_SYNONYMS = {"ls": DEFAULT, "delete": "rm", "remove": "rm", "diff": "compare", "info": "show", "view": "show"}
_EXAMPLES = (
    "resnet-cli runs",
    "resnet-cli runs show latest",
    "resnet-cli runs compare runs/a runs/b --out comparison.html",
    "resnet-cli runs rm runs/a",
)


class _ListByDefault(TyperGroup):
    """``runs`` alone, ``runs --json`` and ``runs FOLDER`` list."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, (one.help or "").partition("\n")[0]) for name, one in self.commands.items()]
        text = overview(self.help or "", commands, _EXAMPLES, (), program=ctx.command_path)
        formatter.write(f"{text}{(self.epilog or '').splitlines()[-1]}\n")


runs = App(cls=_ListByDefault)


@runs.callback(epilog=examples(*_EXAMPLES, docs="runs.md"))
def _runs() -> None:
    """List, show, compare or remove runs."""


RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run folder, a name below runs/, or latest.",
        autocompletion=complete_run,
        show_default="latest",
    ),
]
RunsArgument = Annotated[
    list[str],
    typer.Argument(metavar="RUN...", help="Run folders, or names below runs/.", autocompletion=complete_run),
]


@runs.command(DEFAULT)
def list_(
    folder: Annotated[Path | None, typer.Argument(help="A folder with runs.", show_default=str(RUNS))] = None,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """List the runs in a folder, newest first.

    resnet-cli runs without a command does the same.
    """
    from resnet_cli.commands.run_list import list_runs

    if folder is not None and str(folder) in _SYNONYMS and not folder.exists():
        meant = _SYNONYMS[str(folder)]
        raise ConfigError(f"runs {folder}: no such command", hint=f"did you mean: resnet-cli runs {meant}")
    found = list_runs(folder)
    if as_json:
        return output.show_json(found.to_dict())
    if quiet:
        for run in found.runs:
            output.show_line(str(run.path))
        return
    if not found.runs:
        return output.note(f"no runs in {found.folder}; train one: resnet-cli finetune DATA")
    from resnet_cli.cli.run_tables import run_lines, runs_table

    if not sys.stdout.isatty():
        for line in run_lines(found.runs):
            output.show_line(line)
        return
    output.show(runs_table(found.runs, width=output.stdout().width))
    problems = [f"{run.path}: {problem}" for run in found.runs for problem in run.problems]
    output.warn_each(problems)
    output.note(f"next: resnet-cli runs show {shlex.quote(str(found.runs[0].path))}")


@runs.command("show")
def show(run: RunArgument = "latest", as_json: JsonFlag = False) -> None:
    """Show a run: data, settings, scores, files, and what to do with it."""
    from resnet_cli.commands.run_details import show_run

    found = show_run(run)
    if as_json:
        return output.show_json(found.to_dict())
    from resnet_cli.cli.run_tables import details_blocks

    output.show(*details_blocks(found))
    output.warn_each(found.summary.problems)


@runs.command("compare")
@takes(CompareConfig)
def compare(names: RunsArgument, *, flags: Flags, as_json: JsonFlag = False, quiet: QuietFlag = False) -> None:
    """Compare runs: settings, scores, curves, and a paired test.

    The paired test lets all models predict the same images, which the first run held out and no other was trained on.
    """
    config = resolve(CompareConfig, flags).config
    specs = [follow_latest(name) for name in names]
    from resnet_cli.cli.progress import ProgressView
    from resnet_cli.commands.run_comparison import compare_runs
    from resnet_cli.commands.run_comparison_page import write_page

    if not config.no_eval:
        with output.status("loading torch", quiet=quiet or as_json):
            import resnet_cli.commands.evaluate  # noqa: F401
    words = ["resnet-cli", "runs", "compare", *specs, *typed_flags(config, type(config).model_fields)]
    with ProgressView(quiet=quiet or as_json) as view:
        found = compare_runs(specs, config, on_event=view)
        if config.out is not None:
            found = write_page(found, config.out, command=shlex.join(words))
    if as_json:
        output.show_json(found.to_dict())
    elif quiet:
        if found.written:
            output.show_line(str(found.written))
    else:
        from resnet_cli.cli.run_comparison_tables import comparison_blocks

        output.show(*comparison_blocks(found, width=output.stdout().width))
    if config.open_report and found.written:
        open_page(found.written)


@runs.command("rm")
@takes(RemoveConfig)
def remove(names: RunsArgument, *, flags: Flags, as_json: JsonFlag = False, quiet: QuietFlag = False) -> None:
    """Remove runs, and nothing outside their folders."""
    config = resolve(RemoveConfig, flags).config
    from resnet_cli.commands.run_removal import remove_runs, runs_to_remove

    found = runs_to_remove(names, force=config.force)
    if not config.yes:
        _ask(found, can_ask=not as_json and sys.stdin.isatty())

    def say(path: Path) -> None:
        if not quiet and not as_json:
            output.note(f"removed {path}")

    removed = remove_runs(found, force=config.force, on_removed=say)
    if as_json:
        return output.show_json(removed.to_dict())
    if not quiet:
        from resnet_cli.text import counted, size

        freed = size(sum(run.num_bytes for run in removed.runs))
        latest = f"; runs/latest is {removed.latest}" if removed.latest else ""
        output.note(f"removed {counted(len(removed.runs), 'run')}, {freed}{latest}")


def _ask(found: tuple[RunSummary, ...], *, can_ask: bool) -> None:
    """Asks whether to remove runs.

    Raises:
        ConfigError: There is no terminal to ask on.
        Exit: The answer is no.
    """
    from resnet_cli.cli.run_tables import removal_lines

    for line in removal_lines(found):
        output.note(line)
    if not can_ask:
        raise ConfigError("there is no terminal to confirm the removal on", hint="add --yes")
    if not output.ask("Remove? [y/N] "):
        output.note("nothing was removed")
        raise typer.Exit(1)


app.add_typer(runs, name="runs")
