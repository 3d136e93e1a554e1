"""``resnet-cli serve``."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from resnet_cli.cli import app, output
from resnet_cli.cli.completion import complete_model
from resnet_cli.cli.options import ModelFlag, QuietFlag, the_model
from resnet_cli.cli.takes import Flags, examples, takes
from resnet_cli.config.base import resolve
from resnet_cli.config.serve import ServeConfig

#: What ``-h`` shows.
ESSENTIAL = ("host", "port", "token", "max_body", "timeout", "threshold", "abstain", "runtime", "device")


@app.command(
    epilog=examples(
        "resnet-cli serve",
        "resnet-cli serve runs/latest --port 0 --max-body 20MB",
        "RESNET_CLI_TOKEN=... resnet-cli serve model.onnx --host 0.0.0.0",
        docs="serving.md",
    )
)
@takes(ServeConfig, essential=ESSENTIAL)
def serve(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A run folder, a model file or an exported file.",
            show_default="runs/latest",
            autocompletion=complete_model,
        ),
    ] = None,
    *,
    flags: Flags,
    named: ModelFlag = None,
    quiet: QuietFlag = False,
) -> None:
    """Serve a model over HTTP, with a web page for trying it.

    Ctrl-C finishes the requests in flight, then stops.
    """
    config = resolve(ServeConfig, flags).config
    if config.access_log:
        logger = logging.getLogger("uvicorn.access")
        logger.addHandler(logging.StreamHandler())
        logger.setLevel(logging.INFO)
    model = the_model(model, named)
    with output.status("starting", quiet=quiet):
        from resnet_cli.commands.serve import start_server

        started = start_server(model, config)
    output.show_line(started.url)
    if not quiet:
        predictor = started.predictor
        precision = "" if predictor.precision == "fp32" else f", computed in {predictor.precision}"
        about = f"{started.model}, {len(predictor.classes):,} classes{precision}"
        output.note(f"{about}; a page to try it is at {started.url}; Ctrl-C stops it")
        if predictor.cost is not None:
            output.note(predictor.cost.sentence())
        if predictor.precision_conflict:
            output.warn(predictor.precision_conflict)
        if started.caveat:
            output.warn(started.caveat)
    started.serve()
