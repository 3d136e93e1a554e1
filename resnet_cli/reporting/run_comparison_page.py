"""The page of ``runs compare``: scores, paired test, curves and settings of several runs; one file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from resnet_cli.history import EpochRecord
from resnet_cli.reporting.curve_overlay import overlaid_charts
from resnet_cli.reporting.provenance import Provenance
from resnet_cli.reporting.templating import render_page


@dataclasses.dataclass(frozen=True)
class ComparedRun:
    """One run of the page.

    Attributes:
        letter: Its short name on the page.
        path: The run folder.
        state: Whether it is finished.
        score: Its main score, ``95.4 %``; empty if there is none.
        score_name: ``top-1`` or ``mAP``.
        interval: The 95 % interval of the score; empty if it is not known.
        where: The images that it was scored on, ``153 test images``.
        facts: (name, value) of what it was trained on and how.
        kept: What chose the epoch that was kept.
        made_by: The command that made it; empty if it was not recorded.
        history: Its history.
    """

    letter: str
    path: str
    state: str
    score: str
    score_name: str
    interval: str
    where: str
    facts: Sequence[tuple[str, str]]
    kept: str
    made_by: str
    history: Sequence[EpochRecord]


@dataclasses.dataclass(frozen=True)
class PairedTest:
    """The paired test of the page.

    Attributes:
        images: What the models were evaluated on, ``153 test images of ants_bees``.
        score_name: ``top-1`` or ``mAP``.
        scores: (letter, score, 95 % interval, loss) of each run.
        counts: (letters, both right, only first, only second, neither, p) of each pair.
        verdicts: A sentence about each pair.
        method: How the p-values are computed.
    """

    images: str
    score_name: str
    scores: Sequence[tuple[str, str, str, str]]
    counts: Sequence[tuple[str, int, int, int, int, str]]
    verdicts: Sequence[str]
    method: str


@dataclasses.dataclass(frozen=True)
class ComparisonContent:
    """The content of the page.

    Attributes:
        runs: The runs.
        obstacles: Why recorded scores cannot be compared directly.
        paired: The paired test; None without one.
        notes: Remarks on the paired test.
        settings: Name and values of each setting that differs.
        num_same: Number of settings that are the same.
        command: The command line.
    """

    runs: Sequence[ComparedRun]
    obstacles: Sequence[str]
    paired: PairedTest | None
    notes: Sequence[str]
    settings: Sequence[tuple[str, Sequence[str | None]]]
    num_same: int
    command: str


def comparison_page(content: ComparisonContent) -> str:
    """The HTML document."""
    names = ", ".join(run.path for run in content.runs)
    return render_page(
        "run_comparison.html.j2",
        Provenance.now(run=names),
        content=content,
        charts=overlaid_charts([(f"{run.letter}  {run.path}", run.history) for run in content.runs]),
    )
