"""``resnet-cli export``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnet_cli.cli import app, output
from resnet_cli.cli.options import JsonFlag, ModelArgument, ModelFlag, QuietFlag, VerboseFlag, the_model
from resnet_cli.cli.takes import Flags, examples, takes
from resnet_cli.config.base import resolve
from resnet_cli.config.export import ExportConfig

if TYPE_CHECKING:
    from resnet_cli.commands.export import ExportResult
    from resnet_cli.exporting.parity_result import Parity

#: What ``-h`` shows.
ESSENTIAL = ("format", "out", "int8", "fp16", "max_drop", "max_shift", "verify_with", "benchmark", "push")


@app.command(
    epilog=examples(
        "resnet-cli export runs/latest",
        "resnet-cli export runs/latest --int8 --max-drop 2%",
        "resnet-cli export model.safetensors --format pt2 --verify-with photos/",
        docs="export.md",
    )
)
@takes(ExportConfig, essential=ESSENTIAL)
def export(
    model: ModelArgument = None,
    *,
    flags: Flags,
    named: ModelFlag = None,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
) -> None:
    """Export a model to ONNX and other formats, and check the file.

    A file whose predictions on real images differ from the model's is rejected (exit code 10).
    """
    source = the_model(model, named)
    with output.status("loading torch", quiet=quiet or as_json):
        config = resolve(ExportConfig, flags).config
        from resnet_cli.exporting.hub.destination import destination

        # Before anything that takes long.
        destination(config)
        from resnet_cli.cli.export_tables import benchmark_blocks, parity_tables
        from resnet_cli.cli.progress import ProgressView
        from resnet_cli.commands.export import compare_formats
        from resnet_cli.commands.export import export as run_export
        from resnet_cli.system.events import Status, WorkDone

    with ProgressView(quiet=quiet) as view:
        on_work, on_status = lambda *work: view(WorkDone(*work)), lambda text: view(Status(text))

        def on_parity(parity: Parity) -> None:
            if not quiet:
                # Also if the file is rejected; below what was drawn until then.
                view.finish()
                output.note(*parity_tables(parity, verbose=verbose))
            output.warn_each([text for engine in parity.engines if (text := engine.warning())])
            if config.push is not None and parity.passed and not quiet:
                output.note(f"pushing to {config.push}")

        if config.benchmark:
            found = compare_formats(source, config, on_work=on_work, on_status=on_status)
        else:
            result = run_export(source, config, on_work=on_work, on_status=on_status, on_parity=on_parity)
    if not config.benchmark:
        _show(result, as_json=as_json, quiet=quiet)
    elif as_json:
        output.show_json(found.to_dict())
    else:
        output.show(*benchmark_blocks(found, width=output.stdout().width))


def _show(result: ExportResult, *, as_json: bool, quiet: bool) -> None:
    from resnet_cli.cli.export_tables import result_block

    if result.pushed and not result.pushed.is_card_complete:
        output.warn(f"the model card at {result.pushed.url} has places to fill in, among them its license")
    if as_json:
        output.show_json(result.to_dict())
        return
    if result.snippet is not None:
        output.show_text(result.snippet)
    elif quiet:
        output.show_line(str(result.path))
    if not quiet:
        # Beside the program, which alone is the result then: `> classify.py` receives it.
        show = output.show if result.snippet is None else output.note
        show(result_block(result, width=output.stdout().width))
        if result.pushed:
            show(f"Pushed to {result.pushed.url}, commit {result.pushed.commit[:12]}")
