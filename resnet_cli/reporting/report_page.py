"""The report of a training or an evaluation: one HTML file that loads nothing from elsewhere."""

from __future__ import annotations

from resnet_cli.reporting.report_content import ReportContent
from resnet_cli.reporting.report_kinds import kind_of
from resnet_cli.reporting.sections import links, main
from resnet_cli.reporting.templating import render_page


def report_page(content: ReportContent) -> str:
    """The HTML document, images included; at most about 5 MB.

    Images are read again; one that can no longer be read gets a placeholder.

    Args:
        content: The content, of at least one image.
    """
    kind = kind_of(content.evaluation)
    parts = kind.page(content, content.evaluation)
    return render_page(
        "report.html.j2",
        content.provenance,
        styles=kind.styles,
        scripts=kind.scripts,
        content=content,
        n=content.evaluation.num_images,
        headline=parts.headline,
        metrics=parts.metrics,
        tiles=parts.tiles,
        links=links(parts.sections),
        main=main(parts.sections),
        data=parts.data,
    )
