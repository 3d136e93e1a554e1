"""The command line: the app, and the one place where errors become messages and exit codes.

Nothing heavy is imported here or at the top of any command module: ``--help`` costs what Typer costs.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from resnet_cli import __version__
from resnet_cli.errors import Interrupted, ResnetCliError

EXIT_INTERRUPTED = 130


class ErrorBoundary(TyperGroup):
    """Turns our errors into a message on stderr and their exit code; bugs keep their traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except ResnetCliError as error:
            from resnet_cli.cli import output

            output.show_error(error, as_json=ctx.meta.get("json", False))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt as interrupt:
            from resnet_cli.cli import output

            known = interrupt if isinstance(interrupt, Interrupted) else None
            output.show_interrupt(known.kept or None if known else None)
            raise typer.Exit(known.exit_code if known else EXIT_INTERRUPTED) from None


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
    """Fine-tune a ResNet-50 on your own pictures, see how good it is, and use it.

    Start with: resnet-cli demo
    """


def main() -> None:
    """The ``resnet-cli`` command."""
    from resnet_cli.cli import output

    output.prepare_stdout()
    signal.signal(signal.SIGTERM, _terminate)
    app()


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Interrupted("", signal=number)


# Registering the commands needs the app; this order is the order in --help.
from resnet_cli.cli import demo, download, inspect, finetune, evaluate, predict, export, serve  # noqa: E402, I001

__all__ = ["app", "demo", "download", "evaluate", "export", "finetune", "inspect", "main", "predict", "serve"]
