"""Flags about what is shown when a command has finished, which several commands share."""

from __future__ import annotations

from typing import Annotated

from resnet_cli.config.base import Flag

#: Declare it as ``open_report: OpenReport = False``, and call ``cli.opening.open_page`` with what was written.
OpenReport = Annotated[bool, Flag("Open the new page in the browser at the end.", name="--open")]
#: Declare it as ``show: Show = False``, and call ``cli.terminal_images.show_image``.
Show = Annotated[
    bool,
    Flag("Show the images in the terminal, if it can: kitty, Ghostty, iTerm2, WezTerm, foot, Windows Terminal, ..."),
]
