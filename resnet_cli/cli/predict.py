"""``resnet-cli predict``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from resnet_cli.cli import app, output
from resnet_cli.cli.options import (
    DATA_PANEL,
    BatchSizeOption,
    DeviceOption,
    ImageColumnOption,
    JsonFlag,
    MaxPixelsOption,
    OfflineFlag,
    PrecisionOption,
    QuietFlag,
    TrustFlag,
)

INPUT, ANSWER, OUTPUT, SIMILAR = DATA_PANEL, "Answers", "Output", "Similar images"


@app.command()
def predict(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, folders, patterns such as 'images/**/*.png', tables with a column of paths, archives, "
            "https:// addresses of images, or - for one image on stdin.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A run folder, a model file, or what was exported; an .onnx file needs no torch.",
            show_default="runs/latest, else ImageNet",
        ),
    ] = None,
    files_from: Annotated[
        str | None,
        typer.Option(help="A file with one path or address a line; - for stdin.", rich_help_panel=INPUT),
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Its paths end with NUL: find -print0.", rich_help_panel=INPUT)
    ] = False,
    recursive: Annotated[
        bool | None,
        typer.Option(
            "--recursive/--no-recursive",
            help="Whether a folder stands also for the images of the folders in it.",
            show_default="recursive",
            rich_help_panel=INPUT,
        ),
    ] = None,
    watch: Annotated[
        str | None,
        typer.Option(help="Answer new images of this folder as they arrive, until Ctrl-C.", rich_help_panel=INPUT),
    ] = None,
    image_column: ImageColumnOption = None,
    max_pixels: MaxPixelsOption = None,
    topk: Annotated[
        int | None,
        typer.Option(
            "--topk",
            "-k",
            min=1,
            help="Classes to name for each image.",
            show_default="3; with --similar 10 images",
            rich_help_panel=ANSWER,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Answer 'unknown' below this probability, 0 to 1.", rich_help_panel=ANSWER),
    ] = None,
    abstain: Annotated[
        bool,
        typer.Option("--abstain", help="Answer 'unknown' to images unlike all in training.", rich_help_panel=ANSWER),
    ] = False,
    target_error: Annotated[
        str | None,
        typer.Option(
            help="--abstain, and 'unknown' also where more than this share of answers would be wrong: 1%.",
            rich_help_panel=ANSWER,
        ),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV.", rich_help_panel=OUTPUT)] = False,
    as_json: JsonFlag = False,
    as_parquet: Annotated[
        bool, typer.Option("--parquet", help="Write Parquet into --output.", rich_help_panel=OUTPUT)
    ] = False,
    output_file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A new .csv, .jsonl or .parquet file, instead of stdout; with --engine ray a folder.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with an --output file that is there.", rich_help_panel=OUTPUT),
    ] = False,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            help="Write features [n x 2048] into a .npy, .safetensors or .parquet file; names beside them.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    sort_into: Annotated[
        Path | None,
        typer.Option(help="Copy each image into DIR/<class>/; overwrites nothing.", rich_help_panel=OUTPUT),
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="Link instead of copying.", rich_help_panel=OUTPUT)] = False,
    annotate: Annotated[
        Path | None,
        typer.Option(help="Write images with their label drawn on them into DIR.", rich_help_panel=OUTPUT),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(help="Write what spoke for each answer (Grad-CAM) into DIR.", rich_help_panel=OUTPUT),
    ] = None,
    similar: Annotated[
        list[str] | None,
        typer.Option(help="Find the nearest images of this one instead of answering.", rich_help_panel=SIMILAR),
    ] = None,
    among: Annotated[
        list[str] | None,
        typer.Option(help="Where to look for them: folders, tables, archives, ...", rich_help_panel=SIMILAR),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="local, or ray: on every core or GPU of a Ray cluster, into a folder of parts.",
            rich_help_panel="Machine",
        ),
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="host:port of the cluster's head, or auto.",
            show_default="a cluster of this machine alone",
            rich_help_panel="Machine",
        ),
    ] = None,
    batch_size: BatchSizeOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    offline: OfflineFlag = False,
    trust: TrustFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Classify images. Unreadable images are reported and skipped (exit code 3)."""
    from resnet_cli.cli.predict_request import Request, check

    kinds = {"csv": as_csv, "json": as_json, "parquet": as_parquet}
    request = Request(
        images=images or [],
        files_from=files_from,
        null=null,
        recursive=recursive,
        watch=watch,
        topk=topk,
        batch_size=batch_size,
        formats=[kind for kind, is_asked in kinds.items() if is_asked],  # type: ignore[misc]
        output=output_file,
        resume=resume,
        embeddings=embeddings,
        sort_into=sort_into,
        link=link,
        annotate=annotate,
        explain=explain,
        similar=similar or [],
        among=among or [],
        quiet=quiet,
        engine=engine,
        ray_address=ray_address,
    )
    rule_flags = {"--threshold": threshold, "--abstain": abstain, "--target-error": target_error}
    check(request, rule_flags, image_column)
    flags = {
        "device": device,
        "precision": precision,
        "offline": offline or None,
        "max_pixels": max_pixels,
        "image_column": image_column,
        "threshold": threshold,
        "abstain": abstain or None,
        "target_error": target_error,
        "trust": trust or None,
    }
    with output.status("loading", quiet=quiet):
        from resnet_cli.config.base import resolve
        from resnet_cli.config.predict import PredictConfig

        resolved = resolve(PredictConfig, flags)
        if engine == "ray":
            from resnet_cli.cli.predict_ray import run_on_ray as carry_out
        elif request.similar:
            from resnet_cli.cli.predict_run import run_similar as carry_out
        else:
            from resnet_cli.cli.predict_run import run as carry_out
    carry_out(request, resolved, model, stdin=sys.stdin.buffer)
