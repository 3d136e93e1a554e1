"""``resnet-cli predict``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from resnet_cli.cli import app, output
from resnet_cli.cli.options import JsonFlag, QuietFlag
from resnet_cli.cli.takes import Flags, examples, takes
from resnet_cli.config.base import resolve
from resnet_cli.config.predict import PredictConfig

EXIT_SOME_UNREADABLE = 3


@app.command(
    epilog=examples(
        "resnet-cli predict photo.jpg photos/",
        "resnet-cli predict photos/ --model runs/latest --output predictions.csv",
        "resnet-cli predict photos/ --abstain --sort-into sorted/",
        docs="predict.md",
    )
)
@takes(PredictConfig, omit={"images", "as_json"})
def predict(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, folders, patterns such as 'images/**/*.png', tables with a column of paths, archives, "
            "https:// addresses of images, or - for one image on stdin.",
            show_default=False,
        ),
    ] = None,
    *,
    flags: Flags,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Classify images. Unreadable images are reported and skipped (exit code 3)."""
    config = resolve(PredictConfig, {**flags, "images": images or None, "as_json": as_json or None}).config
    with output.status("loading", quiet=quiet):
        from resnet_cli.cli.predict_view import PredictView, show_matches, show_result
        from resnet_cli.commands import predict as commands

    with PredictView(config, quiet=quiet) as view:
        if config.similar:
            found = commands.find_similar_images(config, stdin=sys.stdin.buffer, on_event=view)
        elif config.engine == "ray":
            from resnet_cli.commands.predict_ray import predict_on_ray

            result = predict_on_ray(config, stdin=sys.stdin.buffer, on_event=view)
        else:
            result = commands.predict(config, stdin=sys.stdin.buffer, on_event=view)
    if config.similar:
        show_matches(found.matches, config.format)
        output.warn_each([str(error) for error in found.errors])
        num_failed = len(found.errors)
    else:
        if not quiet:
            show_result(result, config)
        num_failed = result.num_failed
    if num_failed:
        raise typer.Exit(EXIT_SOME_UNREADABLE)
