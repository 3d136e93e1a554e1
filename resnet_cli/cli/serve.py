"""``resnet-cli serve``."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from resnet_cli.cli import app, output
from resnet_cli.cli.options import DeviceOption, MaxPixelsOption, OfflineFlag, PrecisionOption, QuietFlag, TrustFlag

WHO_PANEL, LIMITS_PANEL, ANSWERS_PANEL = "Who may ask", "Limits", "Answers"


@app.command()
def serve(
    model: Annotated[
        str | None,
        typer.Argument(help="A run folder, a model file, or what was exported.", show_default="runs/latest"),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Where to listen; other machines need a --token.", show_default="127.0.0.1", rich_help_panel=WHO_PANEL
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="0 for any that is free.", show_default="8000", rich_help_panel=WHO_PANEL)
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="RESNET_CLI_TOKEN",
            help="What requests must carry: Authorization: Bearer TOKEN.",
            rich_help_panel=WHO_PANEL,
        ),
    ] = None,
    max_body: Annotated[
        str | None, typer.Option(help="Of a request.", show_default="10MB", rich_help_panel=LIMITS_PANEL)
    ] = None,
    max_pixels: MaxPixelsOption = None,
    max_files: Annotated[
        int | None, typer.Option(help="Images in a request.", show_default="16", rich_help_panel=LIMITS_PANEL)
    ] = None,
    max_requests: Annotated[
        int | None,
        typer.Option(
            help="Requests under way; more are told to come back (503).",
            show_default="128",
            rich_help_panel=LIMITS_PANEL,
        ),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(
            help="For a body to arrive; and for the last answers after Ctrl-C.",
            show_default="30s",
            rich_help_panel=LIMITS_PANEL,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Answer 'unknown' below this probability, 0 to 1.", rich_help_panel=ANSWERS_PANEL),
    ] = None,
    target_error: Annotated[
        str | None,
        typer.Option(
            help="Answer 'unknown' also where more than this share of answers would be wrong: 1%.",
            rich_help_panel=ANSWERS_PANEL,
        ),
    ] = None,
    no_abstain: Annotated[
        bool,
        typer.Option(
            "--no-abstain", help="Answer also what is unlike all training images.", rich_help_panel=ANSWERS_PANEL
        ),
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Images of all requests a forward pass.", show_default="8", rich_help_panel=ANSWERS_PANEL),
    ] = None,
    batch_wait_ms: Annotated[
        float | None,
        typer.Option(
            help="How long an image waits for others that are on their way.",
            show_default="3",
            rich_help_panel=ANSWERS_PANEL,
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="onnx (CPU, no torch in memory) or torch (also GPUs).",
            show_default="onnx",
            rich_help_panel=ANSWERS_PANEL,
        ),
    ] = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    trust: TrustFlag = False,
    access_log: Annotated[bool, typer.Option("--access-log", help="A line a request, on stderr.")] = False,
    offline: OfflineFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Serve a model over HTTP, with a page to try it. Ctrl-C finishes the requests in flight, then stops."""
    from resnet_cli.config.base import resolve
    from resnet_cli.config.serve import ServeConfig

    flags = {
        "host": host,
        "port": port,
        "token": token,
        "runtime": runtime,
        "batch_size": batch_size,
        "batch_wait_ms": batch_wait_ms,
        "max_body": max_body,
        "max_pixels": max_pixels,
        "max_files": max_files,
        "max_requests": max_requests,
        "timeout": timeout,
        "threshold": threshold,
        "target_error": target_error,
        "abstain": False if no_abstain else None,
        "device": device,
        "precision": precision,
        "offline": offline or None,
        "trust": trust or None,
    }
    config = resolve(ServeConfig, flags).config
    if access_log:
        logger = logging.getLogger("uvicorn.access")
        logger.addHandler(logging.StreamHandler())
        logger.setLevel(logging.INFO)
    from resnet_cli.cli.serve_run import run

    with output.status("starting", quiet=quiet):
        started = run(model, config)
    output.show_line(started.url)
    if not quiet:
        output.note(started.about)
        if started.warning:
            output.warn(started.warning)
    started.serve()
