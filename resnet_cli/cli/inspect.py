"""``resnet-cli inspect``."""

from __future__ import annotations

from resnet_cli.cli import app, output
from resnet_cli.cli.options import DataArgument, JsonFlag, QuietFlag
from resnet_cli.cli.takes import Flags, examples, takes
from resnet_cli.config.base import resolve
from resnet_cli.config.inspect import InspectConfig

#: What ``-h`` shows.
ESSENTIAL = ("html", "open_report", "fix", "out", "deep", "classes", "group_by", "multi_label", "device")


@app.command(
    epilog=examples(
        "resnet-cli inspect photos/",
        "resnet-cli inspect photos/ --html report.html",
        "resnet-cli inspect labels.csv --fix --out clean.csv",
        docs="data.md",
    )
)
@takes(InspectConfig, essential=ESSENTIAL, omit={"on_bad_image"})
def inspect(
    data: DataArgument,
    *,
    flags: Flags,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Check images: unreadable ones, duplicates, leaks between splits.

    Also the sizes of images and classes, and images that are blank, dark or blurred.
    """
    config = resolve(InspectConfig, flags).config
    from resnet_cli.cli.progress import ProgressView
    from resnet_cli.commands.inspect import inspect as inspect_data

    if config.deep:
        with output.status("loading torch", quiet=quiet):
            import resnet_cli.engines.features  # noqa: F401
    with ProgressView(quiet=quiet) as view:
        result = inspect_data(data, config, on_event=view)
    if as_json:
        output.show_long_json(result.report())
    elif quiet:
        for path in filter(None, (result.table, result.html)):
            output.show_line(str(path))
    else:
        from resnet_cli.cli.inspection import inspection_blocks

        output.show(*inspection_blocks(result, width=output.stdout().width))
