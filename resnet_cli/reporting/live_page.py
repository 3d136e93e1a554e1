"""What the pages that classify images in a browser share: of ``serve``, ``studio`` and ``export --format web``."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from resnet_cli.reporting import palette

#: Scripts of every page: answers as cards; the camera; images that are dropped, pasted or chosen.
SCRIPTS = ("answers.js", "camera.js", "drop.js")


def html(*, readable: Sequence[str], no_script: str, head: str = "", before: str = "") -> str:
    """The document of a page with one place for images.

    Args:
        readable: Extensions or types of the images that may be chosen.
        no_script: What is shown where JavaScript is off.
        head: Lines for the head of the document.
        before: Lines before the place for images.
    """
    text = file("index.html")
    for name, value in {
        "READABLE": ",".join(readable),
        "NO_SCRIPT": no_script,
        "HEAD": head,
        "BEFORE": before,
    }.items():
        text = text.replace(name, value)
    return text


def css() -> str:
    """The look of these pages, on top of the look and the colors of all pages."""
    look = resources.files("resnet_cli") / "reporting" / "templates" / "look.css"
    return palette.css() + look.read_text("utf-8") + file("live.css")


def file(name: str) -> str:
    """A shared file."""
    return (resources.files("resnet_cli") / "reporting" / "live" / name).read_text("utf-8")
