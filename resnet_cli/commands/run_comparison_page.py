"""The page of ``runs compare``: what it shows of a comparison."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from resnet_cli.commands.run_comparison import RunComparison
from resnet_cli.commands.run_details import RunDetails
from resnet_cli.evaluation.comparison import Comparison
from resnet_cli.evaluation.label_comparison import LabelComparison
from resnet_cli.reporting.run_comparison_page import ComparedRun, ComparisonContent, PairedTest, comparison_page
from resnet_cli.system.paths import write_text
from resnet_cli.task import TASKS
from resnet_cli.text import counted, percent, percent_range, share_or_dash, split_word

_SCORES: dict[str, str] = {task.score: task.score_name for task in TASKS.values()}


def write_page(found: RunComparison, path: Path, *, command: str) -> RunComparison:
    """Writes the page of a comparison.

    Args:
        found: The comparison.
        path: The HTML file.
        command: The command line, for the page.

    Returns:
        The comparison, with the page as written.

    Raises:
        DiskError: The page cannot be written.
    """
    content = ComparisonContent(
        runs=[_run(letter, run) for letter, run in zip(found.letters, found.runs, strict=True)],
        obstacles=found.obstacles,
        paired=_paired(found),
        notes=found.notes,
        settings=found.settings,
        num_same=found.num_same,
        command=command,
    )
    write_text(path, comparison_page(content))
    return dataclasses.replace(found, written=path)


def _run(letter: str, run: RunDetails) -> ComparedRun:
    summary = run.summary
    score = summary.scores[0] if summary.scores else None
    interval = where = ""
    if score is not None:
        if score.low is not None and score.high is not None:
            interval = f"95 %: {percent_range(score.low, score.high)}"
        where = f"{split_word(score.split)} images"
        where = f"{score.num_images:,} {where}" if score.num_images else where
    return ComparedRun(
        letter=letter,
        path=str(summary.path),
        state=summary.state,
        score="" if score is None else percent(score.value),
        score_name="" if score is None else _SCORES[score.key],
        interval=interval,
        where=where,
        facts=[*run.trained_on.items(), *run.how.items()],
        kept=run.kept.removeprefix("kept "),
        made_by=summary.config.get("made_by") or "",
        history=run.history,
    )


def _paired(found: RunComparison) -> PairedTest | None:
    if found.paired is None:
        return None
    result, letters = found.paired, found.paired_letters
    rows = []
    for letter, (_, scores) in zip(letters, result.found, strict=True):
        name, interval = scores.main
        rows.append(
            (letter, share_or_dash(scores.score), percent_range(interval.low, interval.high), f"{scores.loss:.3f}")
        )
    num_compared, counts = len(result.comparisons), []
    for letter, one in zip(letters[1:], result.comparisons, strict=True):
        exact: Comparison = one.exact_match if isinstance(one, LabelComparison) else one
        numbers = (exact.both_right, exact.only_first, exact.only_second, exact.both_wrong)
        counts.append((f"{letters[0]}, {letter}", *numbers, f"{exact.p_value:.2g}"))
    is_multi = isinstance(result.comparisons[0], LabelComparison)
    method = "p is that of McNemar's exact test" + (
        " of the exact matches; the sentences above are about mAP, by the paired bootstrap." if is_multi else "."
    )
    if num_compared > 1:
        method += f" Multiply it by {num_compared} (Bonferroni); the sentences above do."
    split = split_word(result.split)
    images = " ".join(
        filter(None, (counted(result.found[0][1].num_images, f"{split} image".strip()), "of", result.data))
    )
    verdicts = [one.verdict(letters[0], letter) for letter, one in zip(letters[1:], result.comparisons, strict=True)]
    return PairedTest(images, name, rows, counts, verdicts, method)
