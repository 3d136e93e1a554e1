"""Flags that several commands share, declared once."""

from __future__ import annotations

from typing import Annotated

import typer

from resnet_cli.cli.completion import complete_data, complete_model


def _note_json(ctx: typer.Context, value: bool) -> bool:
    # The error boundary reads it: with --json an error is JSON too.
    ctx.meta["json"] = value
    return value


JsonFlag = Annotated[
    bool,
    typer.Option(
        "--json", callback=_note_json, is_eager=True, metavar="", help="Print JSON on stdout instead of tables."
    ),
]
QuietFlag = Annotated[
    bool, typer.Option("--quiet", "-q", metavar="", help="Show no progress and no tables, only the result and errors.")
]
DataArgument = Annotated[
    str,
    typer.Argument(
        help="A folder of images, a table, an archive, an address, or a name from: resnet-cli download --list.",
        autocompletion=complete_data,
    ),
]
ModelArgument = Annotated[
    str | None,
    typer.Argument(help="A run folder or model file.", show_default="runs/latest", autocompletion=complete_model),
]
DATA_PANEL = "Data"
ClassesOption = Annotated[
    str | None,
    typer.Option(
        help="Use only these classes: cat,dog (a name with a comma in quotes: '\"a,b\",c').", rich_help_panel=DATA_PANEL
    ),
]
LabelRegexOption = Annotated[
    str | None,
    typer.Option(
        help="The class is in the file's name, in the first bracket: '^(\\w+)' for cat.12.jpg.",
        rich_help_panel=DATA_PANEL,
    ),
]
ImageColumnOption = Annotated[
    str | None,
    typer.Option(help="A table's column of paths.", show_default="image, path, file, ...", rich_help_panel=DATA_PANEL),
]
LabelColumnOption = Annotated[
    str | None,
    typer.Option(help="Its column of classes.", show_default="label, class, ...", rich_help_panel=DATA_PANEL),
]
SplitColumnOption = Annotated[
    str | None,
    typer.Option(help="Its column of train, val, test.", show_default="split, subset", rich_help_panel=DATA_PANEL),
]
GroupByOption = Annotated[
    str | None,
    typer.Option(
        help="Images of a group stay in one split: a column, 'parent' (their folder), or an expression on their "
        "names: 'patient([0-9]+)'.",
        show_default="the column 'group'",
        rich_help_panel=DATA_PANEL,
    ),
]
FollowLinksFlag = Annotated[
    bool, typer.Option("--follow-links", help="Follow links that lead out of the folder.", rich_help_panel=DATA_PANEL)
]
MaxPixelsOption = Annotated[
    int | None,
    typer.Option(
        help="A larger image counts as one that cannot be read.",
        show_default="50 million",
        rich_help_panel=DATA_PANEL,
    ),
]
OnBadImageOption = Annotated[
    str | None,
    typer.Option(
        help="When an image cannot be read: error (before anything is computed) or skip (and write down which).",
        show_default="error",
        rich_help_panel=DATA_PANEL,
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(help="auto, cpu, cuda, cuda:1, mps or xpu.", show_default="auto", rich_help_panel="Machine"),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        help="Precision of features, answers and all figures: auto, fp32, bf16 or fp16. auto is fp32, the same "
        "answers on every machine; bf16 and fp16 are faster and coarser.",
        show_default="auto",
        rich_help_panel="Machine",
    ),
]
TrustFlag = Annotated[
    bool, typer.Option("--trust", help="Load a .pt2 file, which may run any code that is in it.", show_default=False)
]
OfflineFlag = Annotated[
    bool, typer.Option("--offline", metavar="", help="Never download anything.", rich_help_panel="Machine")
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option(min=1, help="Images a forward pass; answers do not depend on it.", rich_help_panel="Machine"),
]
