from __future__ import annotations

import math

import pytest
from support.html_page import Page

from resnet_cli.history import EpochRecord
from resnet_cli.reporting.run_comparison_page import ComparedRun, ComparisonContent, comparison_page


@pytest.mark.parametrize("loss", [0.5, math.nan])
def test_runs_without_a_score_and_without_a_paired_test_have_a_page(loss: float) -> None:
    history = [EpochRecord(1, 0.5, 0.9, 0.5, None, loss, 0.1, 1.0)]
    runs = [
        ComparedRun(
            letter=letter,
            path=f"runs/{letter}",
            state="interrupted",
            score="",
            score_name="",
            interval="",
            where="",
            facts=[],
            kept="",
            made_by="",
            history=history,
        )
        for letter in "AB"
    ]
    shown = Page(comparison_page(ComparisonContent(runs, [], None, [], [], 3, "resnet-cli runs compare"))).text
    assert "There is no paired test" in shown and "runs/A" in shown and "no score yet" in shown
