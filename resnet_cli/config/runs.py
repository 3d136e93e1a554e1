"""The options of ``runs compare`` and ``runs rm``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from resnet_cli.config.base import MACHINE, Config, Flag, Rule
from resnet_cli.config.showing import OpenReport


class CompareConfig(Config):
    """The options of ``runs compare``, besides the runs; field names are the flags' names."""

    out: Annotated[Path | None, Flag("Also write the comparison as one HTML page: --out comparison.html.")] = None
    open_report: OpenReport = False
    no_eval: Annotated[
        bool, Flag("Compare only what the runs have recorded: no model is loaded, and there is no paired test.")
    ] = False
    device: Annotated[
        str, Flag("auto, cpu, cuda, cuda:1, mps or xpu.", MACHINE, metavar="DEVICE", completes="device")
    ] = "auto"
    offline: Annotated[bool, Flag("Never download anything.", MACHINE)] = False

    rules = (
        Rule(("open_report",), lambda config: config.out is not None, "has no effect without --out"),
        Rule(("device", "offline"), lambda config: not config.no_eval, "has no effect with --no-eval", "remove it"),
    )


class RemoveConfig(Config):
    """The options of ``runs rm``, besides the runs."""

    yes: Annotated[bool, Flag("Do not ask.", short="-y")] = False
    force: Annotated[
        bool,
        Flag(
            "Also remove the checkpoints that an interrupted run needs to be resumed, and runs that are still training."
        ),
    ] = False
