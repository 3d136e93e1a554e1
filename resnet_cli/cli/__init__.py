"""The command line: the app, and the one place where errors become messages and exit codes.

Nothing heavy is imported here or at module level of a command, and the module of a command is only imported when it is
called: ``--help`` takes as long as Typer itself.
"""

from __future__ import annotations

import errno
import gc
import importlib
import itertools
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from resnet_cli.cli.help import HELP_ALL, Command, overview
from resnet_cli.errors import ConfigError, DiskError, Interrupted, ResnetCliError
from resnet_cli.version import __version__

EXIT_INTERRUPTED = 130
#: What typer raises for an unknown flag or a missing value; it has no public name.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]


#: Name -> its module and what it does in at most 66 characters, the first line of its help, in the order of --help.
COMMANDS = {
    "demo": ("demo", "Take a tour on handwritten digits; it needs no download."),
    "finetune": ("finetune", "Fine-tune a ResNet-50 on DATA and write a run folder."),
    "predict": ("predict", "Classify images."),
    "eval": ("evaluate", "Evaluate a model, compare models, or study the data."),
    "inspect": ("inspect", "Check images: unreadable ones, duplicates, leaks between splits."),
    "export": ("export", "Export a model to ONNX and other formats, and check the file."),
    "studio": ("studio", "Train on a page in the browser: drop images, train, try it."),
    "serve": ("serve", "Serve a model over HTTP, with a web page for trying it."),
    "download": ("download", "Download weights, data sets and runtimes."),
    "runs": ("runs", "List, show, compare or remove runs."),
    "doctor": ("doctor", "Show versions, processor, caches and engines, for a bug report."),
}
#: What other programs call a command.
SYNONYMS = {
    "train": "finetune", "fit": "finetune", "tune": "finetune", "fine-tune": "finetune",
    "classify": "predict", "infer": "predict", "inference": "predict",
    "evaluate": "eval", "test": "eval", "val": "eval", "validate": "eval", "score": "eval", "compare": "eval",
    "check": "inspect", "convert": "export", "gui": "studio", "ui": "studio", "web": "studio",
    "ls": "runs", "list": "runs", "history": "runs", "env": "doctor", "info": "doctor", "version": "--version",
    "help": "--help",
}  # fmt: skip
EXAMPLES = (
    "resnet-cli demo",
    "resnet-cli finetune photos/              one subfolder per class",
    "resnet-cli predict new.jpg               with the newest model",
)


class ErrorBoundary(TyperGroup):
    """Turns errors of this package into a message on stderr and an exit code; bugs keep their traceback.

    Commands that are not called are only names with a line of help: reading the parameters of all of them would double
    the start-up time.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        known = self.commands
        self.commands = {name: known.get(name) or Command(name, help=about) for name, (_, about) in COMMANDS.items()}

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Writes one line per command."""
        formatter.write(_overview(self.get_params(ctx)))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments in front of the command; without any, shows what there is."""
        if not args and not ctx.resilient_parsing:
            from resnet_cli.cli import output

            output.show_text(_overview())
            raise typer.Exit
        ctx.meta["verbose"] = not {"-v", "--verbose"}.isdisjoint(args)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Finds the command that is called, and loads it."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from resnet_cli.cli.usage import unknown_command

            raise unknown_command(args)
        if args and args[0] in COMMANDS:
            importlib.import_module(f"{__name__}.{COMMANDS[args[0]][0]}")
            # The app knows it now.
            called = typer.main.get_command(app)
            assert isinstance(called, TyperGroup)
            self.commands = {**self.commands, args[0]: called.commands[args[0]]}
        return super().resolve_command(ctx, args)

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Reads the arguments before the command's name; Typer would end with 130 for any signal."""
        try:
            context = super().make_context(*args, **options)
        except Interrupted as interrupt:
            raise typer.Exit(interrupt.exit_code) from None
        except UsageError as error:
            raise _shown(error, as_json=False) from None
        # An unknown flag is found before the command reads --json.
        context.meta["json"] = "--json" in itertools.takewhile(lambda one: one != "--", context.args)
        return context

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        try:
            try:
                from resnet_cli.system.caches import find_temporary_folder

                find_temporary_folder()
                return super().invoke(ctx)
            except OSError as error:
                if (disk_error := _disk_error(error)) is None:
                    raise
                raise disk_error from error
        except (ResnetCliError, UsageError) as error:
            raise _shown(error, as_json=ctx.meta["json"]) from None
        except KeyboardInterrupt as interrupt:
            from resnet_cli.cli import output

            known = interrupt if isinstance(interrupt, Interrupted) else None
            output.show_interrupt(known.kept or None if known else None)
            raise typer.Exit(known.exit_code if known else EXIT_INTERRUPTED) from None


def _shown(error: Exception, *, as_json: bool) -> typer.Exit:
    """Prints an error and its hint, and returns what ends the program."""
    from resnet_cli.cli import output

    if not isinstance(error, ResnetCliError):
        from resnet_cli.cli.usage import usage_error

        error = usage_error(error)
    output.show_error(error, as_json=as_json)
    return typer.Exit(error.exit_code)


def _disk_error(error: OSError) -> DiskError | None:
    """Turns a library's error about a full or read-only disk into a DiskError; None for any other error."""
    from resnet_cli.system.paths import FULL_DISK

    if error.errno not in FULL_DISK:
        return None
    name = f" {error.filename}" if error.filename else ""
    hint = "choose a place that can be written" if error.errno == errno.EROFS else "free some space"
    return DiskError(f"cannot write{name}: {error.strerror}", hint=hint)


class App(typer.Typer):
    """The app; its commands write their help in the way of :mod:`resnet_cli.cli.help`."""

    def command(  # type: ignore[override]
        self, name: str | None = None, **settings: Any
    ) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Registers a command."""
        return super().command(name, **{"cls": Command, **settings})


app = App(
    name="resnet-cli",
    cls=ErrorBoundary,
    context_settings={"help_option_names": ["-h", "--help", HELP_ALL]},
    pretty_exceptions_show_locals=False,
)


def _overview(options: Sequence[Any] = ()) -> str:
    commands = [(name, text) for name, (_, text) in COMMANDS.items()]
    return overview("Fine-tune a ResNet-50 on your own images, evaluate it and use it.", commands, EXAMPLES, options)


def _show_version(context: typer.Context, value: bool) -> None:
    if not value:
        return
    from resnet_cli.cli import output

    if context.meta["verbose"]:
        from resnet_cli.cli.doctor import show_short

        show_short()
        raise typer.Exit
    output.show_line(f"resnet-cli {__version__}")
    raise typer.Exit


@app.callback()
def _main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="With --version: show what a bug report needs, as doctor does.")
    ] = False,
) -> None:
    if verbose:
        called = context.invoked_subcommand or "COMMAND"
        raise ConfigError("--verbose goes after the command", hint=f"resnet-cli {called} --verbose")


def main() -> None:
    """The ``resnet-cli`` command."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        from resnet_cli.cli import output, streams

        streams.prepare_streams()
        output.prepare_warnings()
        output.prepare_threads()
        try:
            app()
        finally:
            streams.flush_stdout()
            # The process ends: its objects need not be searched for cycles once more, which takes 0.1 s.
            gc.freeze()
    except ResnetCliError as error:
        # --help, --version and completions are printed outside of any command.
        output.show_error(error, as_json=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt as interrupt:
        sys.exit(interrupt.exit_code if isinstance(interrupt, Interrupted) else EXIT_INTERRUPTED)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Interrupted("", signal=number)
