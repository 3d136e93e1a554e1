"""The command line: the app, and the one place where errors become messages and exit codes.

Nothing heavy is imported here or at module level of a command, and the module of a command is only imported when it is
called: ``--help`` takes as long as Typer itself.
"""

from __future__ import annotations

import errno
import gc
import importlib
import signal
import sys
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from resnet_cli.errors import DiskError, Interrupted, ResnetCliError
from resnet_cli.version import __version__

EXIT_INTERRUPTED = 130


#: Name -> its module and the summary in --help, in the order of --help.
COMMANDS = {
    "demo": (
        "demo",
        "Take a three-minute tour: train on handwritten digits 0-4, then transfer that to 5-9 with few labels.",
    ),
    "download": (
        "download",
        "Download weights and data sets, or verify existing downloads. Interrupted downloads resume.",
    ),
    "inspect": (
        "inspect",
        "Check every image of DATA: unreadable files, duplicates, leaks between splits, sizes, classes.",
    ),
    "finetune": ("finetune", "Fine-tune a ResNet-50 on DATA and write a run folder."),
    "eval": (
        "evaluate",
        "Evaluate a model with confidence intervals and calibration, compare models, or study the data.",
    ),
    "predict": (
        "predict",
        "Classify images. Unreadable images are reported and skipped (exit code 3).",
    ),
    "export": (
        "export",
        "Export a model. A file whose predictions on real images differ from the model's is rejected (exit code 10).",
    ),
    "serve": (
        "serve",
        "Serve a model over HTTP, with a web page for trying it. Ctrl-C finishes the requests in flight, then stops.",
    ),
    "doctor": (
        "doctor",
        "Show versions, processor, caches and engines: what decides speed, and what a bug report needs.",
    ),
}


class ErrorBoundary(TyperGroup):
    """Turns errors of this package into a message on stderr and an exit code; bugs keep their traceback.

    Commands that are not called are only names with a line of help: reading the parameters of all of them would double
    the start-up time.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        known = self.commands
        self.commands = {
            name: known.get(name) or TyperCommand(name, help=about) for name, (_, about) in COMMANDS.items()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Finds the command that is called, and loads it."""
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
            return super().make_context(*args, **options)
        except Interrupted as interrupt:
            raise typer.Exit(interrupt.exit_code) from None

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
        except ResnetCliError as error:
            from resnet_cli.cli import output

            output.show_error(error, as_json=ctx.meta.get("json", False))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt as interrupt:
            from resnet_cli.cli import output

            known = interrupt if isinstance(interrupt, Interrupted) else None
            output.show_interrupt(known.kept or None if known else None)
            raise typer.Exit(known.exit_code if known else EXIT_INTERRUPTED) from None


def _disk_error(error: OSError) -> DiskError | None:
    """Turns a library's error about a full or read-only disk into a DiskError; None for any other error."""
    from resnet_cli.system.paths import FULL_DISK

    if error.errno not in FULL_DISK:
        return None
    name = f" {error.filename}" if error.filename else ""
    hint = "choose a place that can be written" if error.errno == errno.EROFS else "free some space"
    return DiskError(f"cannot write{name}: {error.strerror}", hint=hint)


app = typer.Typer(
    name="resnet-cli",
    cls=ErrorBoundary,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
)


def _show_version(value: bool) -> None:
    if value:
        from resnet_cli.cli import output

        output.show_line(f"resnet-cli {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Fine-tune a ResNet-50 on your own images, evaluate it and use it.

    Start with: resnet-cli demo
    """


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
