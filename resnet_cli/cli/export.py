"""``resnet-cli export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnet_cli.cli import app, output
from resnet_cli.cli.options import JsonFlag, OfflineFlag, QuietFlag
from resnet_cli.version import SCHEMA_VERSION

if TYPE_CHECKING:
    from resnet_cli.config.export import ExportConfig
    from resnet_cli.exporting.parity import Parity
    from resnet_cli.model.network import Model
    from resnet_cli.system.events import OnWork, Work

ONNX_PANEL, GATE_PANEL, HUB_PANEL = "ONNX", "The gate", "The Hugging Face Hub"


@app.command()
def export(
    model: Annotated[str | None, typer.Argument(help="A run folder or model file.", show_default="runs/latest")] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            help="onnx; pt2 (torch.export); safetensors (a folder for timm); openvino (a folder).",
            show_default="onnx",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to write it.", show_default="beside the model: model.onnx")
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(help="What the file says about its licence.", show_default="that of the weights, if known"),
    ] = None,
    input: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="image: decoded images of any size, preprocessing inside (pt2: resized ones); "
            "tensor: the network's normalised input.",
            show_default="picture",
            rich_help_panel=ONNX_PANEL,
        ),
    ] = None,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Whole numbers of 8 bits: a quarter of the size.", rich_help_panel=ONNX_PANEL),
    ] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Half the size; for GPUs.", rich_help_panel=ONNX_PANEL)] = False,
    no_novelty: Annotated[
        bool,
        typer.Option(
            "--no-novelty",
            help="Leave out the remembered images that tell what is unlike all of them.",
            rich_help_panel=ONNX_PANEL,
        ),
    ] = False,
    calibrate_with: Annotated[
        str | None,
        typer.Option(
            help="DATA whose ranges --int8 takes over.",
            show_default="the run's training images",
            rich_help_panel=ONNX_PANEL,
        ),
    ] = None,
    verify_with: Annotated[
        str | None,
        typer.Option(
            help="DATA to check the file with: labelled images of the model's classes.",
            show_default="the run's validation images",
            rich_help_panel=GATE_PANEL,
        ),
    ] = None,
    max_drop: Annotated[
        str | None,
        typer.Option(
            help="How much accuracy --int8 or --fp16 may lose: 1% or 0.01.",
            show_default="1%",
            rich_help_panel=GATE_PANEL,
        ),
    ] = None,
    benchmark: Annotated[
        bool,
        typer.Option("--benchmark", help="Make, check and time every format; keep none.", rich_help_panel=GATE_PANEL),
    ] = False,
    push: Annotated[
        str | None,
        typer.Option(
            help="Then upload it, with a model card and config.json: hf:OWNER/NAME. The token is that of HF_TOKEN.",
            show_default=False,
            rich_help_panel=HUB_PANEL,
        ),
    ] = None,
    private: Annotated[
        bool,
        typer.Option(
            "--private",
            help="Only for you and your organisation, if --push makes a new repository.",
            rich_help_panel=HUB_PANEL,
        ),
    ] = False,
    offline: OfflineFlag = False,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Export a model. A file whose predictions on real images differ from the model's is rejected (exit code 10)."""
    flags = {
        "format": format,
        "out": out,
        "licence": licence,
        "input": input,
        "int8": int8 or None,
        "fp16": fp16 or None,
        "novelty": False if no_novelty else None,
        "calibrate_with": calibrate_with,
        "verify_with": verify_with,
        "max_drop": max_drop,
        "benchmark": benchmark or None,
        "push": push,
        "private": private or None,
        "offline": offline or None,
    }
    with output.status("loading torch", quiet=quiet or as_json):
        from resnet_cli.config.base import resolve
        from resnet_cli.config.export import ExportConfig
        from resnet_cli.exporting.hub.destination import destination

        config = resolve(ExportConfig, flags).config
        # Before anything that takes long.
        destination(config)
        from resnet_cli.cli.export_tables import parity_tables, result_block
        from resnet_cli.cli.progress import ProgressView
        from resnet_cli.exporting.export import export_model
        from resnet_cli.model.reliability import precision_conflict
        from resnet_cli.model.weights import load_model
        from resnet_cli.system.events import WorkDone
        from resnet_cli.system.paths import LATEST

    with ProgressView(quiet=quiet) as view:

        def on_work(task: Work, done: int, total: int | None) -> None:
            view(WorkDone(task, done, total))

        def on_parity(parity: Parity) -> None:
            if not quiet:
                output.note(*parity_tables(parity, conflict=precision_conflict(loaded.provenance, "fp32")))
                if config.push is not None and parity.passed:
                    output.note(f"pushing to {config.push}")

        loaded = load_model(model or LATEST, offline=config.offline)
        if config.benchmark:
            _compare_formats(loaded, config, on_work, as_json=as_json)
            return
        result = export_model(loaded, on_work=on_work, on_parity=on_parity, **flags)
    if result.pushed and not result.pushed.is_card_complete:
        output.warn(f"the model card at {result.pushed.url} has places to be filled in, its licence among them")
    if as_json:
        output.show_json({"schema_version": SCHEMA_VERSION, "model": str(loaded.path)} | result.to_dict())
    elif quiet:
        output.show_line(str(result.path))
    else:
        output.show(result_block(result, width=output.stdout().width))
        if result.pushed:
            output.show(f"Pushed to {result.pushed.url}, commit {result.pushed.commit[:12]}")


def _compare_formats(model: Model, config: ExportConfig, on_work: OnWork, *, as_json: bool) -> None:
    from resnet_cli.cli.export_tables import benchmark_table
    from resnet_cli.exporting.benchmark import benchmark

    rows = benchmark(model, config, on_work=on_work)
    if as_json:
        head = {"schema_version": SCHEMA_VERSION, "model": str(model.path)}
        output.show_json(head | {"formats": [row.to_dict() for row in rows]})
    else:
        output.show(benchmark_table(rows))
