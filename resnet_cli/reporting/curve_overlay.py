"""The curves of several trainings in the same charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

from resnet_cli.history import EpochRecord, has_penalties
from resnet_cli.reporting.charts import MAX_TICKS, Chart, Role, Tick, axis, chart_line, round_step
from resnet_cli.text import percent

#: One role per training; after the last it begins again with the first.
_ROLES: tuple[Role, ...] = tuple(role for role in get_args(Role) if role.startswith("series-"))
_SCORES = {"top1": "top-1 accuracy", "map": "mAP"}


def overlaid_charts(histories: Sequence[tuple[str, Sequence[EpochRecord]]]) -> list[Chart]:
    """Calibrated loss and score on the validation split, one line per training.

    Trainings by steps and fits by L-BFGS get charts of their own, since epochs and penalties are not the same axis; so
    do models with one label per image and with several.

    Args:
        histories: Name and history of each training; those without a history are left out.
    """
    groups: dict[tuple[bool, str], list[tuple[int, str, Sequence[EpochRecord]]]] = {}
    for index, (name, history) in enumerate(histories):
        if history:
            groups.setdefault((has_penalties(history), history[0].score), []).append((index, name, history))
    charts = []
    for (is_path, score), lines in sorted(groups.items()):
        words = "Validation: " + _SCORES[score]
        charts += [
            _chart("Validation: calibrated loss", "val_fitted_loss", lines, is_path=is_path, is_share=False),
            _chart(words, "val_score", lines, is_path=is_path, is_share=True),
        ]
    return charts


def _chart(
    title: str, field: str, lines: Sequence[tuple[int, str, Sequence[EpochRecord]]], *, is_path: bool, is_share: bool
) -> Chart:
    def at(record: EpochRecord) -> float:
        # The penalties of L-BFGS are powers of a number.
        return math.log10(record.l2) if is_path and record.l2 else float(record.epoch)

    def value(record: EpochRecord) -> float:
        found: Any = getattr(record, field)
        return math.nan if found is None else float(found)

    xs = [at(record) for _, _, history in lines for record in history]
    room = max(0.02 * (max(xs) - min(xs)), 0.25)
    low, high = min(xs) - room, max(xs) + room
    shown = [value(record) for _, _, history in lines for record in history]
    bottom, top, y_ticks = axis([y for y in shown if math.isfinite(y)], is_share=is_share)
    word, show = "penalty" if is_path else "epoch", percent if is_share else "{:.3f}".format
    drawn, said = [], []
    for index, name, history in lines:
        values = [value(record) for record in history]
        names = [record.penalty_text if is_path else str(record.epoch) for record in history]
        labels = [f"{name}, {word} {place}: {show(y)}" for place, y in zip(names, values, strict=True)]
        places = [(at(record) - low) / (high - low) for record in history]
        heights = [(y - bottom) / (top - bottom) for y in values]
        drawn.append(chart_line(_ROLES[index % len(_ROLES)], name, places, heights, labels))
        said.append(f"{name} from {show(values[0])} to {show(values[-1])}")
    return Chart(
        title=title,
        summary="; ".join([title, *said]),
        x_title="penalty on the weights" if is_path else "epoch",
        x_ticks=_ticks(low, high, is_path=is_path),
        y_ticks=y_ticks,
        lines=drawn,
        x_range=(low, high),
    )


def _ticks(low: float, high: float, *, is_path: bool) -> list[Tick]:
    """Round epochs, or powers of ten."""
    step = max(1, math.ceil(round_step((high - low) / MAX_TICKS)))
    return [
        Tick((value - low) / (high - low), f"{10.0**value:g}" if is_path else str(value))
        for value in range(math.ceil(low), math.floor(high) + 1)
        if value % step == 0
    ]
