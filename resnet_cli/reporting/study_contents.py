"""What the pages of studies show: a learning curve, robustness to corruption, and a comparison of models."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from resnet_cli.evaluation.comparing import AnyComparison
from resnet_cli.evaluation.intervals import Interval
from resnet_cli.evaluation.scoring import Scores
from resnet_cli.reporting.charts import Chart, Dot, Line, Role, Span, Tick, axis
from resnet_cli.reporting.study_page import StudyContent, StudyTable, StudyTile
from resnet_cli.studies.learning_curve import LearningCurve
from resnet_cli.studies.robustness_scores import KindResult, Robustness
from resnet_cli.text import counted, percent, percent_range, share_or_dash, shorten

#: Points of a line that is computed.
_NUM_POINTS = 80
#: Charts per row of the plot of robustness.
_COLUMNS = 4


def curve_content(curve: LearningCurve, *, data: str, split: str) -> StudyContent:
    """What the page of a learning curve shows.

    Args:
        curve: The curve.
        data: Name of the data.
        split: The split that the heads were evaluated on.
    """
    score, twice = curve.score_name, curve.twice
    forecasts = [
        (
            found.name + (" *" if found.is_guess else ""),
            f"{found.num_images:,}",
            percent(found.score.value),
            percent_range(found.score.low, found.score.high),
            f"{100 * found.gain.value:+.1f} points",
            _points_range(found.gain),
        )
        for found in curve.forecasts
    ]
    steps = [
        (
            f"{step.num_images:,}",
            percent(1 - step.error.value),
            percent_range(1 - step.error.high, 1 - step.error.low) if step.num_draws > 1 else "",
            f"{step.num_draws}",
        )
        for step in curve.steps
    ]
    is_guess = any(found.is_guess for found in curve.forecasts)
    return StudyContent(
        "Learning curve",
        data,
        curve.conclusion,
        [
            StudyTile(percent(curve.score), f"{score} now", counted(curve.steps[-1].num_images, "train image")),
            StudyTile(percent(twice.score.value), f"{score} with {twice.name}", f"forecast for {twice.num_images:,}"),
            StudyTile(f"{100 * twice.gain.value:+.1f} points", "expected gain", f"95 %: {_points_range(twice.gain)}"),
        ],
        [_curve_chart(curve)],
        [
            StudyTable(
                "Forecast for more images of the same kind",
                ("with", ">images", f">{score}", ">95 %", ">gain", ">95 %"),
                forecasts,
                "* a guess: far beyond the number of images available" if is_guess else "",
            ),
            StudyTable(
                f"Measured on {counted(curve.num_evaluated, f'{split} image')}",
                (">train images", f">{score}", ">between", ">random subsets"),
                steps,
            ),
        ],
        1,
    )


def _curve_chart(curve: LearningCurve) -> Chart:
    """The measured scores, the law fitted to them, and the forecasts, over a logarithmic number of images."""
    score = curve.score_name
    first, last = curve.steps[0].num_images, max(found.num_images for found in curve.forecasts)
    low, high = math.log(first) - 0.08, math.log(last) + 0.08

    def place(num: float) -> float:
        return (math.log(num) - low) / (high - low)

    sizes = [first * (last / first) ** (at / (_NUM_POINTS - 1)) for at in range(_NUM_POINTS)]
    law = [min(1.0, max(0.0, 1 - float(curve.law.error(size)))) for size in sizes]
    ends = [1 - step.error.high for step in curve.steps] + [1 - step.error.low for step in curve.steps]
    ends += [end for found in curve.forecasts for end in (found.score.low, found.score.high)] + law
    bottom, top, y_ticks = axis(ends, is_share=True)

    def height(value: float) -> float:
        return min(1.0, max(0.0, (value - bottom) / (top - bottom)))

    measured = [
        Dot(
            place(step.num_images),
            height(1 - step.error.value),
            f"{step.num_images:,} train images: {score} {percent(1 - step.error.value)}",
        )
        for step in curve.steps
    ]
    expected = [
        Dot(
            place(found.num_images),
            height(found.score.value),
            f"{found.name}, {found.num_images:,} images: {score} {percent(found.score.value)} expected, 95 % interval "
            f"{percent_range(found.score.low, found.score.high)}",
        )
        for found in curve.forecasts
    ]
    intervals: list[tuple[int, Interval, Role]] = [
        (step.num_images, Interval(1 - step.error.value, 1 - step.error.high, 1 - step.error.low), "val")
        for step in curve.steps
    ]
    intervals += [(found.num_images, found.score, "train") for found in curve.forecasts]
    return Chart(
        title=f"{score[0].upper()}{score[1:]} against the number of train images",
        summary="; ".join(dot.label for dot in (*measured, *expected)),
        x_title="train images (logarithmic scale)",
        x_ticks=_image_ticks(
            [step.num_images for step in curve.steps] + [found.num_images for found in curve.forecasts], place
        ),
        y_ticks=y_ticks,
        lines=[
            Line(
                "ideal",
                "power law fitted to them",
                [[(place(size), height(value)) for size, value in zip(sizes, law, strict=True)]],
                [],
            ),
            Line("val", "measured", [[(dot.x, dot.y) for dot in measured]], measured),
            Line("train", "forecast", [], expected),
        ],
        error_bars=[
            Span(place(num), 0.0, height(share.low), height(share.high) - height(share.low), role=role)
            for num, share, role in intervals
        ],
    )


def _image_ticks(sizes: Sequence[int], place: Callable[[float], float]) -> list[Tick]:
    """Numbers of images that are far enough from each other to be written side by side."""
    ticks: list[Tick] = []
    for size in sorted(set(sizes)):
        at = place(size)
        if not ticks or at - ticks[-1].place > 0.11:
            ticks.append(Tick(at, f"{size:,}"))
    return ticks


def robustness_content(found: Robustness, *, data: str) -> StudyContent:
    """What the page of robustness shows.

    Args:
        found: The scores.
        data: Name of the data and of the split.
    """
    score = found.score_name
    kinds = sorted(found.kinds, key=lambda kind: kind.mean_score)
    lowest = min(cell.score.low for kind in kinds for cell in kind.cells)
    bottom, top, y_ticks = axis([lowest, found.clean.high, 1.0], is_share=True)
    of_all = f" of {found.num_available:,}" if found.num_available > found.num_images else ""
    num = f"{found.num_images:,}{of_all} images"
    rows = [
        (
            kind.name,
            *(f"{100 * cell.score.value:.1f}" for cell in kind.cells),
            f"{100 * kind.mean_score:.1f}",
            f"{100 * kind.drop.value:.1f}",
            f"{100 * kind.drop.low:.1f} to {100 * kind.drop.high:.1f}",
        )
        for kind in kinds
    ]
    strengths = [f">{at + 1}" for at in range(len(kinds[0].cells))]
    lost = found.clean.value - found.mean_score
    return StudyContent(
        "Robustness",
        data,
        found.conclusion,
        [
            StudyTile(percent(found.clean.value), f"{score} on clean images", _interval_note(found.clean)),
            StudyTile(percent(found.mean_score), f"{score} on corrupted images", "mean over all kinds and strengths"),
            StudyTile(f"{100 * lost:.1f} points", "lost on average", f"{len(kinds)} kinds of corruption"),
        ],
        [_robustness_chart(kind, found, (bottom, top), y_ticks) for kind in kinds],
        [
            StudyTable(
                f"{score[0].upper()}{score[1:]} in % on corrupted images ({num})",
                ("corruption", *strengths, ">mean", ">drop", ">95 %"),
                rows,
                "Strength 1 is the weakest; drop: mean loss in percentage points, with its 95 % interval.",
            )
        ],
        _COLUMNS,
    )


def _robustness_chart(kind: KindResult, found: Robustness, ends: tuple[float, float], y_ticks: list[Tick]) -> Chart:
    bottom, top = ends
    cells = [found.clean, *(cell.score for cell in kind.cells)]
    names = ["clean", *(f"{at + 1}" for at in range(len(kind.cells)))]
    places = [0.06 + 0.88 * at / (len(cells) - 1) for at in range(len(cells))]

    def height(value: float) -> float:
        return min(1.0, max(0.0, (value - bottom) / (top - bottom)))

    labels = [
        f"{'clean images' if name == 'clean' else f'strength {name}'}: {found.score_name} {percent(cell.value)}, "
        f"95 % interval {percent_range(cell.low, cell.high)}"
        for name, cell in zip(names, cells, strict=True)
    ]
    dots = [Dot(x, height(cell.value), label) for x, cell, label in zip(places, cells, labels, strict=True)]
    clean = height(found.clean.value)
    return Chart(
        title="JPEG" if kind.name == "jpeg" else kind.name.capitalize(),
        summary=f"{kind.name}: {'; '.join(labels)}",
        x_title="strength",
        x_ticks=[Tick(x, name) for x, name in zip(places, names, strict=True)],
        y_ticks=y_ticks,
        lines=[
            Line("ideal", "", [[(0.0, clean), (1.0, clean)]], []),
            Line("val", "", [[(dot.x, dot.y) for dot in dots]], dots),
        ],
        error_bars=[
            Span(x, 0.0, height(cell.low), height(cell.high) - height(cell.low))
            for x, cell in zip(places, cells, strict=True)
        ],
        figures=[("mean drop", f"{100 * kind.drop.value:.1f} points")],
    )


def comparison_content(
    found: Sequence[tuple[str, Scores]], comparisons: Sequence[AnyComparison], *, data: str, letters: Sequence[str]
) -> StudyContent:
    """What the page of a comparison shows.

    Args:
        found: Name and scores of each model.
        comparisons: The first model compared with each of the others.
        data: Name of the data and of the split.
        letters: A short name of each model, as the terminal shows it.
    """
    score = found[0][1].main[0]
    rows = [
        (letter, share_or_dash(scores.score), percent_range(*scores.main[1][1:]), f"{scores.loss:.3f}", name)
        for letter, (name, scores) in zip(letters, found, strict=True)
    ]
    pairs = [
        (f"{letters[0]}, {letter}", one.in_words(), "a difference" if one.is_distinguishable else "may be chance")
        for letter, one in zip(letters[1:], comparisons, strict=True)
    ]
    sentences = [f"{one.verdict(letters[0], letter)}." for letter, one in zip(letters[1:], comparisons, strict=True)]
    num = counted(found[0][1].num_images, "image")
    tiles = [
        StudyTile(share_or_dash(scores.score), f"{letter}: {shorten(name, 36)}", _interval_note(scores.main[1]))
        for letter, (name, scores) in zip(letters, found, strict=True)
    ]
    more = f"; multiply p by {len(comparisons)} (Bonferroni)" if len(comparisons) > 1 else ""
    return StudyContent(
        "Comparison of models",
        data,
        " ".join(sentences),
        tiles,
        [_comparison_chart(found, letters)],
        [
            StudyTable(f"Scores on {num}", ("", f">{score}", ">95 %", ">loss", "model"), rows),
            StudyTable(
                "Differences on the same images",
                ("models", "difference from the first", "this is"),
                pairs,
                f"A difference counts if p is below 0.05{more}.",
            ),
        ],
        1,
    )


def _comparison_chart(found: Sequence[tuple[str, Scores]], letters: Sequence[str]) -> Chart:
    score = found[0][1].main[0]
    intervals = [scores.main[1] for _, scores in found]
    bottom, top, y_ticks = axis([end for one in intervals for end in (one.low, one.high)], is_share=True)
    places = [(at + 0.5) / len(found) for at in range(len(found))]

    def height(value: float) -> float:
        return min(1.0, max(0.0, (value - bottom) / (top - bottom)))

    labels = [
        f"{letter}, {name}: {score} {share_or_dash(scores.score)}, {_interval_note(scores.main[1])}"
        for letter, (name, scores) in zip(letters, found, strict=True)
    ]
    # A model without a score, since no class has both positives and negatives, has no place on the axis.
    shown = [at for at, (_, scores) in enumerate(found) if scores.score is not None]
    dots = [Dot(places[at], height(intervals[at].value), labels[at]) for at in shown]
    return Chart(
        title=f"{score[0].upper()}{score[1:]} with 95 % intervals",
        summary="; ".join(labels),
        x_title="model",
        x_ticks=[Tick(x, letter) for x, letter in zip(places, letters, strict=True)],
        y_ticks=y_ticks,
        lines=[Line("val", "", [], dots)],
        error_bars=[
            Span(places[at], 0.0, height(one.low), height(one.high) - height(one.low))
            for at, one in enumerate(intervals)
            if at in shown
        ],
    )


def _interval_note(share: Interval) -> str:
    return f"95 % interval {percent_range(share.low, share.high)}"


def _points_range(points: Interval) -> str:
    """Ends of an interval of differences of shares, in percentage points."""
    return f"{100 * points.low:+.1f} to {100 * points.high:+.1f}"
