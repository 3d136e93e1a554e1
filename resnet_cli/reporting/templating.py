"""What all HTML pages share: the template environment and safe texts."""

from __future__ import annotations

import base64
import functools
import hashlib
import math
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from resnet_cli.data.inspection.findings import RANKS
from resnet_cli.reporting.palette import css
from resnet_cli.reporting.provenance import Provenance
from resnet_cli.system.paths import shorten_home
from resnet_cli.text import percent, printable, shorten, size
from resnet_cli.version import __version__


@functools.cache
def environment() -> Environment:
    """The template environment, which escapes every value and makes it printable."""
    made = Environment(
        loader=PackageLoader("resnet_cli", "reporting/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_drawable,
    )
    made.filters.update(percent=percent, shorten=shorten, size=size)
    made.globals.update(infinity=math.inf, ranks=RANKS)
    return made


def render_page(
    template: str, provenance: Provenance, *, styles: Sequence[str] = (), scripts: Sequence[str] = (), **values: Any
) -> str:
    """The HTML document of a template that extends ``page.html.j2``.

    Args:
        template: Name of the template.
        provenance: Where the page comes from; it is shown at the foot.
        styles: Further style sheets, files beside the templates.
        scripts: Files that make up the page's own script, besides the one that enlarges images.
        **values: Values for the template.
    """
    script = "".join(map(source, ("lightbox.js", *scripts)))
    return (
        environment()
        .get_template(template)
        .render(
            version=__version__,
            provenance=provenance,
            palette=Markup(css()),
            styles=Markup("".join(map(source, styles))),
            script=Markup(script),
            # No other script may run, whatever a file name contains.
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
            **values,
        )
    )


def source(name: str) -> str:
    """The text of a file beside the templates, unchanged."""
    made = environment()
    assert made.loader is not None
    return made.loader.get_source(made, name)[0]


def _drawable(value: object) -> object:
    # Every text of a page passes here: file names can contain line breaks, overrides and lone surrogates. Pages are
    # shown to others, to whom the name of the user's home folder is of no use.
    return printable(shorten_home(value)) if isinstance(value, str) and not isinstance(value, Markup) else value
