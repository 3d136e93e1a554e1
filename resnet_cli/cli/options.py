"""Flags that several commands share, declared once."""

from __future__ import annotations

from typing import Annotated

import typer


def _note_json(ctx: typer.Context, value: bool) -> bool:
    # The error boundary reads it: with --json an error is JSON too.
    ctx.meta["json"] = value
    return value


JsonFlag = Annotated[
    bool, typer.Option("--json", callback=_note_json, is_eager=True, help="Print JSON on stdout instead of tables.")
]
QuietFlag = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show no progress and no tables, only the result and errors.")
]
DeviceOption = Annotated[
    str | None,
    typer.Option(help="auto, cpu, cuda, cuda:1, mps or xpu.", show_default="auto", rich_help_panel="Machine"),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        help="auto, fp32 or bf16; auto takes bf16 where the hardware is faster with it.",
        show_default="auto",
        rich_help_panel="Machine",
    ),
]
OfflineFlag = Annotated[bool, typer.Option("--offline", help="Never download anything.", rich_help_panel="Machine")]
BatchSizeOption = Annotated[
    int | None,
    typer.Option(min=1, help="Pictures a forward pass; answers do not depend on it.", rich_help_panel="Machine"),
]
