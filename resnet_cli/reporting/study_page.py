"""The page and the plot of a study: a learning curve, the robustness of a model, or a comparison of models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from resnet_cli.reporting.charts import Chart
from resnet_cli.reporting.figures import Heading
from resnet_cli.reporting.plot_headings import SEPARATOR, foot
from resnet_cli.reporting.plots import draw_charts
from resnet_cli.reporting.provenance import Provenance
from resnet_cli.reporting.templating import render_page
from resnet_cli.system.paths import make_dir, write_text


class StudyTile(NamedTuple):
    """A number at the top of the page: its value, its name, and its interval or another note."""

    value: str
    label: str
    note: str = ""


class StudyTable(NamedTuple):
    """A table.

    Attributes:
        title: Its heading.
        head: Names of the columns; ``>`` in front aligns a column to the right.
        rows: Cells of each row.
        note: A line below it.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


class StudyContent(NamedTuple):
    """What a study shows.

    Attributes:
        kind: What it is, such as ``Learning curve``.
        title: What it is about: the data and the split.
        lead: The main result, as sentences.
        tiles: The main numbers.
        charts: Its charts.
        tables: Its tables.
        columns: Charts per row of the plot.
    """

    kind: str
    title: str
    lead: str
    tiles: Sequence[StudyTile]
    charts: Sequence[Chart]
    tables: Sequence[StudyTable]
    columns: int


def study_page(content: StudyContent, provenance: Provenance) -> str:
    """The HTML document.

    Args:
        content: What the study shows.
        provenance: Where the results come from.
    """
    return render_page("study.html.j2", provenance, content=content)


def write_study(folder: Path, name: str, content: StudyContent, provenance: Provenance) -> tuple[Path, Path]:
    """Writes the page and the plot of a study, ``NAME.html`` and ``NAME.png``.

    Args:
        folder: The folder; it is made if it is missing.
        name: Name of the files.
        content: What the study shows.
        provenance: Where the results come from.

    Returns:
        The page and the plot.

    Raises:
        DiskError: They cannot be written.
    """
    make_dir(folder)
    page, plot = folder / f"{name}.html", folder / f"{name}.png"
    title = f"{content.kind}: {content.title}"
    detail = SEPARATOR.join(filter(None, (provenance.run, content.lead)))
    draw_charts(content.charts, plot, Heading(title, detail, foot(provenance)), columns=content.columns)
    write_text(page, study_page(content, provenance))
    return page, plot
