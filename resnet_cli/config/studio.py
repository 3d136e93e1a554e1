"""The options of ``studio``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from resnet_cli.config.base import Flag
from resnet_cli.config.data import OfflineConfig


class StudioConfig(OfflineConfig):
    """The options of ``studio``; field names are the flags' names."""

    dir: Annotated[
        Path, Flag("Folder of the projects; each project is a folder with its images in class folders and its runs.")
    ] = Path("studio")
    port: Annotated[int, Field(ge=0, le=65_535), Flag("Port to listen on; 0 chooses any free port.")] = 8010
    open: Annotated[bool, Flag("Open the page in the browser.", two_way=True)] = True
    weights: Annotated[
        str,
        Field(min_length=1),
        Flag("Weights to start from, as for finetune --weights.", metavar="WEIGHTS", completes="model"),
    ] = "auto"
