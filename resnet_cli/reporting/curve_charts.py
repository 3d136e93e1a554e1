"""The charts of a training: losses and accuracies over its epochs, or over the penalties that were tried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from resnet_cli.reporting.charts import MAX_TICKS, Chart, Role, Tick, axis, chart_line, round_step
from resnet_cli.reporting.plots import CurvePoint
from resnet_cli.text import percent


class _Course(NamedTuple):
    """What the charts of one training share.

    Attributes:
        word: What stands along the axis: ``epoch`` or ``penalty``.
        names: Of each point.
        places: Of each point, in (0, 1).
        ticks: Of some.
        best: The point that was kept.
    """

    word: str
    names: list[str]
    places: list[float]
    ticks: list[Tick]
    best: int | None


def curve_charts(points: Sequence[CurvePoint], best_epoch: int | None) -> list[Chart]:
    """Losses and accuracies over the epochs, or over the penalties of a head that was fitted."""
    if not points:
        return []
    course = _course(points, best_epoch)
    losses: list[tuple[Role, str, list[float]]] = [
        ("train", "train", [point.train_loss for point in points]),
        ("val", "validation", [point.val_loss for point in points]),
    ]
    train_top1 = [math.nan if point.train_top1 is None else point.train_top1 for point in points]
    top1s: list[tuple[Role, str, list[float]]] = [
        ("train", "train", train_top1),
        ("val", "validation", [point.val_top1 for point in points]),
    ]
    if all(map(math.isnan, train_top1)):
        del top1s[0]
    return [
        _curve_chart("Loss (nats per image)", losses, course, is_share=False),
        _curve_chart("Top-1 accuracy", top1s, course, is_share=True),
    ]


def _course(points: Sequence[CurvePoint], best_epoch: int | None) -> _Course:
    epochs = [point.epoch for point in points]
    is_path = all(point.penalty is not None for point in points)
    names = [f"{point.penalty:.4g}" if is_path else f"{point.epoch}" for point in points]
    room = 0.5 if len(epochs) < 10 else 0.02 * (epochs[-1] - epochs[0])
    low, width = epochs[0] - room, epochs[-1] - epochs[0] + 2 * room
    places = [(epoch - low) / width for epoch in epochs]
    best = next((at for at, epoch in enumerate(epochs) if epoch == best_epoch), None)
    step = math.ceil(round_step(max(1.0, len(points) / MAX_TICKS)))
    ticks = [
        Tick(place, name)
        for at, (place, name, epoch) in enumerate(zip(places, names, epochs, strict=True))
        # Round numbers, or for penalties the kept one and others as far apart.
        if ((at - (best or 0)) if is_path else epoch) % step == 0
    ]
    return _Course("penalty" if is_path else "epoch", names, places, ticks, best)


def _curve_chart(
    title: str, kinds: Sequence[tuple[Role, str, list[float]]], course: _Course, *, is_share: bool
) -> Chart:
    shown = [value for _, _, values in kinds for value in values if math.isfinite(value)]
    bottom, top, y_ticks = axis(shown, is_share=is_share)
    show = percent if is_share else "{:.3f}".format
    lines, said = [], []
    for role, name, values in kinds:
        labels = [f"{name}, {course.word} {at}: {show(value)}" for at, value in zip(course.names, values, strict=True)]
        heights = [(value - bottom) / (top - bottom) for value in values]
        lines.append(chart_line(role, name, course.places, heights, labels))
        said.append(f"{name} from {show(values[0])} to {show(values[-1])}")
    kept = "" if course.best is None else f"kept: {course.word} {course.names[course.best]}"
    return Chart(
        title=title,
        summary="; ".join([f"{title}, {len(course.names)} points", *said, *filter(None, [kept])]),
        x_title="penalty of the weights" if course.word == "penalty" else "epoch",
        x_ticks=course.ticks,
        y_ticks=y_ticks,
        lines=lines,
        mark=None if course.best is None else course.places[course.best],
        mark_text=kept,
    )
