"""The options of ``inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from resnet_cli.config.base import MACHINE, Flag, Rule
from resnet_cli.config.data import DataConfig


class InspectConfig(DataConfig):
    """The options of ``inspect``, besides the data; field names are the flags' names."""

    html: Annotated[Path | None, Flag("Also write a page with the images: report.html.")] = None
    fix: Annotated[bool, Flag("Write a table for finetune without the faulty images. No image file is changed.")] = (
        False
    )
    out: Annotated[Path | None, Flag("Where --fix writes.", default="NAME-clean.csv in this folder")] = None
    deep: Annotated[
        bool,
        Flag("Also find mirrored and edited copies, with a backbone. This is slower: it computes features."),
    ] = False
    device: Annotated[
        str | None,
        Flag("auto, cpu, cuda, cuda:1, mps or xpu.", MACHINE, "auto", metavar="DEVICE", completes="device"),
    ] = None

    # Checked before any image is read.
    rules = (
        Rule(("out",), lambda config: config.fix, "has no effect without --fix"),
        Rule(("device",), lambda config: config.deep, "has no effect without --deep"),
    )
