"""The report of a training or an evaluation: one HTML file that loads nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib

from markupsafe import Markup

from resnet_cli.reporting.report_content import ReportContent
from resnet_cli.reporting.report_kinds import kind_of
from resnet_cli.reporting.sections import links, main
from resnet_cli.reporting.templating import environment, source
from resnet_cli.version import __version__


def report_page(content: ReportContent) -> str:
    """The HTML document, images included; at most about 5 MB.

    Images are read again; one that can no longer be read gets a placeholder.

    Args:
        content: The content, of at least one image.
    """
    kind = kind_of(content.evaluation)
    parts = kind.page(content, content.evaluation)
    script = "".join(map(source, kind.scripts))
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            version=__version__,
            content=content,
            n=content.evaluation.num_images,
            headline=parts.headline,
            metrics=parts.metrics,
            tiles=parts.tiles,
            links=links(parts.sections),
            main=main(parts.sections),
            data=parts.data,
            styles=Markup("".join(map(source, kind.styles))),
            script=Markup(script),
            # No other script may run, whatever a file name contains.
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        )
    )
