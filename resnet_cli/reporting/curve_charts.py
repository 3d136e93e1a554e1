"""The charts of a training: loss and accuracy over its epochs, or over the penalties that were tried."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from resnet_cli.history import EpochRecord, has_penalties, kept_record
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
        kept: Index of the point that was kept.
    """

    word: str
    names: list[str]
    places: list[float]
    ticks: list[Tick]
    range: tuple[float, float]
    kept: int


def curve_charts(points: Sequence[EpochRecord], best_epoch: int | None = None) -> list[Chart]:
    """Loss and top-1 accuracy, or mAP, over the epochs, or over the penalties of a head that was fitted.

    The validation loss is the one that chose the epoch: at the temperature that fits it best.

    Args:
        points: One per epoch, in order. Values that are not finite leave a gap.
        best_epoch: The epoch that was kept; by default the one that :func:`resnet_cli.history.kept_record` chooses.

    Raises:
        ValueError: There are no points, or ``best_epoch`` is not among them.
    """
    if not points:
        raise ValueError("there is no epoch to plot")
    x_axis = _x_axis(points, _kept(points, best_epoch))
    losses: list[tuple[Role, str, list[float]]] = [
        ("train", "train", [point.train_loss for point in points]),
        ("val", "validation, calibrated", [point.val_fitted_loss for point in points]),
    ]
    train_scores = [_number(point.train_score) for point in points]
    scores: list[tuple[Role, str, list[float]]] = [
        ("train", "train", train_scores),
        ("val", "validation", [_number(point.val_score) for point in points]),
    ]
    if all(map(math.isnan, train_scores)):
        del scores[0]
    loss_title, score_title = _TITLES[points[0].score]
    return [
        _curve_chart(loss_title, losses, x_axis, is_share=False),
        _curve_chart(score_title, scores, x_axis, is_share=True),
    ]


def _number(score: float | None) -> float:
    return math.nan if score is None else score


def _kept(points: Sequence[EpochRecord], best_epoch: int | None) -> int:
    epochs = [point.epoch for point in points]
    if best_epoch is None:
        # A loss that is not a number is worse than any other.
        known = [point for point in points if math.isfinite(point.val_fitted_loss)]
        best_epoch = kept_record(known or points[:1]).epoch
    if best_epoch not in epochs:
        raise ValueError(f"epoch {best_epoch} is not among the points")
    return epochs.index(best_epoch)


def _x_axis(points: Sequence[EpochRecord], kept: int) -> _XAxis:
    epochs = [point.epoch for point in points]
    is_path = has_penalties(points)
    names = [point.penalty_text if is_path else f"{point.epoch}" for point in points]
    # Room at both sides keeps the first and the last dot, or a single one, off the frame.
    room = 0.5 if len(epochs) < 10 else 0.02 * (epochs[-1] - epochs[0])
    low, high = epochs[0] - room, epochs[-1] + room
    places = [(epoch - low) / (high - low) for epoch in epochs]
    step = math.ceil(round_step(max(1.0, len(points) / MAX_TICKS)))
    ticks = [
        # The texts of penalties would overlap with more digits.
        Tick(place, f"{points[at].l2:.2g}" if is_path else name)
        for at, (place, name, epoch) in enumerate(zip(places, names, epochs, strict=True))
        # Round numbers; for penalties the one that was kept and others at equal distances from it.
        if ((at - kept) if is_path else epoch) % step == 0
    ]
    return _XAxis("penalty" if is_path else "epoch", names, places, ticks, (low, high), kept)


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
    kept = f"kept {x_axis.word} {x_axis.names[x_axis.kept]}"
    return Chart(
        title=title,
        summary="; ".join([f"{title}, {len(x_axis.names)} points", *said, kept]),
        x_title="penalty on the weights" if x_axis.word == "penalty" else "epoch",
        x_ticks=x_axis.ticks,
        y_ticks=y_ticks,
        lines=lines,
        mark=x_axis.places[x_axis.kept],
        mark_text=kept,
        x_range=x_axis.range,
    )
