"""The charts of ROC and precision-recall curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from resnet_cli.evaluation.curves import CurveKind, RankingCurve, RankingCurves
from resnet_cli.reporting.charts import Chart, Line, Role, percent_ticks
from resnet_cli.text import shorten

_ROLES: dict[CurveKind, Role] = {"macro": "macro", "micro": "micro"}


def ranking_charts(curves: RankingCurves) -> list[Chart]:
    """Both charts; none if no class has a curve.

    Args:
        curves: From :func:`~resnet_cli.evaluation.curves.ranking_curves`.
    """
    if not curves.roc:
        return []
    share = curves.positives
    return [
        _chart(
            "ROC curves", "AUC", ("false positive rate", "true positive rate"), curves.roc, guessing=[(0, 0), (1, 1)]
        ),
        _chart(
            "Precision-recall curves",
            "AP",
            ("recall", "precision"),
            curves.precision_recall,
            guessing=[(0, share), (1, share)],
        ),
    ]


def _chart(
    title: str,
    area_name: str,
    axes: tuple[str, str],
    curves: Sequence[RankingCurve],
    *,
    guessing: list[tuple[float, float]],
) -> Chart:
    lines = [Line("ideal", "guessing", [guessing], [])]
    said = []
    for curve in curves:
        text = f"{shorten(curve.name, 28)} ({area_name} {curve.area:.3f})"
        points = list(zip(curve.x.tolist(), curve.y.tolist(), strict=True))
        lines.append(Line(_role(curve, curves), text, [points], []))
        said.append(text)
    return Chart(
        title=f"{title}: {axes[1]} against {axes[0]}",
        summary=f"{title}, {axes[1]} against {axes[0]}: {'; '.join(said)}",
        x_title=axes[0],
        x_ticks=percent_ticks(),
        y_ticks=percent_ticks(),
        lines=lines,
    )


def _role(curve: RankingCurve, curves: Sequence[RankingCurve]) -> Role:
    if curve.kind != "class":
        return _ROLES[curve.kind]
    index = [one.label for one in curves if one.kind == "class"].index(curve.label)
    return cast(Role, f"series-{index}")
