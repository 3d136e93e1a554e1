"""The charts of a training: loss and accuracy over its epochs, or over the penalties that were tried."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from resnet_cli.history import EpochRecord
from resnet_cli.reporting.charts import MAX_TICKS, Chart, Role, Tick, axis, chart_line, round_step
from resnet_cli.task import ScoreKey
from resnet_cli.text import percent

#: Score of an epoch -> titles of the charts of the loss and of the score.
_TITLES: Mapping[ScoreKey, tuple[str, str]] = {
    "top1": ("Loss (nats per image)", "Top-1 accuracy"),
    "map": ("Loss (nats per value)", "mAP"),
}


class _XAxis(NamedTuple):
    """What both charts of one training share.

    Attributes:
        word: What a point is: ``epoch`` or ``penalty``.
        names: Name of each point.
        places: Place of each point, in (0, 1).
        ticks: Some of the points.
        range: Values at both ends.
        best: Index of the point that was kept.
    """

    word: str
    names: list[str]
    places: list[float]
    ticks: list[Tick]
    range: tuple[float, float]
    best: int


def curve_charts(points: Sequence[EpochRecord], best_epoch: int | None = None) -> list[Chart]:
    """Loss and top-1 accuracy, or mAP, over the epochs, or over the penalties of a head that was fitted.

    Args:
        points: One per epoch, in order. Values that are not finite leave a gap.
        best_epoch: The epoch to mark; by default the one of highest validation score, then lowest validation loss,
            then the earliest.

    Raises:
        ValueError: There are no points, or ``best_epoch`` is not among them.
    """
    if not points:
        raise ValueError("there is no epoch to plot")
    x_axis = _x_axis(points, _best(points, best_epoch))
    losses: list[tuple[Role, str, list[float]]] = [
        ("train", "train", [point.train_loss for point in points]),
        ("val", "validation", [point.val_loss for point in points]),
    ]
    train_scores = [_number(point.train_score) for point in points]
    scores: list[tuple[Role, str, list[float]]] = [
        ("train", "train", train_scores),
        ("val", "validation", [_number(point.val_score) for point in points]),
    ]
    if all(map(math.isnan, train_scores)):
        del scores[0]
    word = "best epoch" if x_axis.word == "epoch" else x_axis.word
    score, (loss_title, title) = points[x_axis.best].val_score, _TITLES[points[0].score]
    best = f"{word} {x_axis.names[x_axis.best]}: {'undefined' if score is None else percent(score)}"
    return [
        _curve_chart(loss_title, losses, x_axis, is_share=False),
        _curve_chart(f"{title} ({best})", scores, x_axis, is_share=True),
    ]


def _number(score: float | None) -> float:
    return math.nan if score is None else score


def has_penalties(points: Sequence[EpochRecord]) -> bool:
    """Whether each point is a fit with another penalty instead of an epoch."""
    # The head of L-BFGS from which steps start has a penalty too; it is epoch 0.
    return all(point.l2 is not None and point.epoch for point in points)


def _best(points: Sequence[EpochRecord], best_epoch: int | None) -> int:
    epochs = [point.epoch for point in points]
    if best_epoch is not None:
        if best_epoch not in epochs:
            raise ValueError(f"epoch {best_epoch} is not among the points")
        return epochs.index(best_epoch)

    def rank(at: int) -> tuple[float, float]:
        top1, loss = _number(points[at].val_score), points[at].val_loss
        return top1 if math.isfinite(top1) else -math.inf, -loss if math.isfinite(loss) else -math.inf

    return max(range(len(points)), key=rank)


def _x_axis(points: Sequence[EpochRecord], best: int) -> _XAxis:
    epochs = [point.epoch for point in points]
    is_path = has_penalties(points)
    names = [f"{point.l2:.4g}" if is_path else f"{point.epoch}" for point in points]
    # Room at both sides keeps the first and the last dot, or a single one, off the frame.
    room = 0.5 if len(epochs) < 10 else 0.02 * (epochs[-1] - epochs[0])
    low, high = epochs[0] - room, epochs[-1] + room
    places = [(epoch - low) / (high - low) for epoch in epochs]
    step = math.ceil(round_step(max(1.0, len(points) / MAX_TICKS)))
    ticks = [
        Tick(place, name)
        for at, (place, name, epoch) in enumerate(zip(places, names, epochs, strict=True))
        # Round numbers; for penalties the best one and others at equal distances from it.
        if ((at - best) if is_path else epoch) % step == 0
    ]
    return _XAxis("penalty" if is_path else "epoch", names, places, ticks, (low, high), best)


def _curve_chart(
    title: str, kinds: Sequence[tuple[Role, str, list[float]]], x_axis: _XAxis, *, is_share: bool
) -> Chart:
    shown = [value for _, _, values in kinds for value in values if math.isfinite(value)]
    bottom, top, y_ticks = axis(shown, is_share=is_share)
    show = percent if is_share else "{:.3f}".format
    lines, said = [], []
    for role, name, values in kinds:
        labels = [f"{name}, {x_axis.word} {at}: {show(value)}" for at, value in zip(x_axis.names, values, strict=True)]
        heights = [(value - bottom) / (top - bottom) for value in values]
        lines.append(chart_line(role, name, x_axis.places, heights, labels))
        said.append(f"{name} from {show(values[0])} to {show(values[-1])}")
    best = f"best: {x_axis.word} {x_axis.names[x_axis.best]}"
    return Chart(
        title=title,
        summary="; ".join([f"{title}, {len(x_axis.names)} points", *said, best]),
        x_title="penalty on the weights" if x_axis.word == "penalty" else "epoch",
        x_ticks=x_axis.ticks,
        y_ticks=y_ticks,
        lines=lines,
        mark=x_axis.places[x_axis.best],
        mark_text=best,
        x_range=x_axis.range,
    )
