"""The demo's own parts; the commands that it runs have tests of their own."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from PIL import Image
from support.running import Trained
from support.terminal import on_terminal

from resnet_cli.cli import demo

pytest_plugins = ["support.small_runs"]


def test_the_contact_sheet_counts_all_test_images_and_names_every_mistake(tmp_path: Path, full_run: Trained) -> None:
    num_right, num, wrong = demo._draw_sheet(full_run.run, tmp_path / "sheet.png")
    test = full_run.result.test
    assert test is not None and (num_right, num) == (int(test.is_right.sum()), test.num_images)
    assert len(wrong) == num - num_right and all(" predicted as " in text for text in wrong)
    with Image.open(tmp_path / "sheet.png") as image:
        assert min(image.size) > 300


@pytest.mark.parametrize(("seconds", "text"), [(3, "10 s"), (44, "40 s"), (100, "2 minutes"), (200, "3 minutes")])
def test_the_expected_time_is_a_round_number(seconds: float, text: str) -> None:
    assert demo.about(seconds) == text


def test_nobody_is_asked_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    demo._offer_report(Path("report.html"), is_asked=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudoterminals")
def test_the_titles_of_the_stages_are_broken_between_words() -> None:
    title = "3. The second task: keep the backbone frozen and train only a new head, for digits"
    screen = on_terminal(program=f"from resnet_cli.cli import demo; demo._title({title!r})", columns=80)
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", screen.text).strip().splitlines()]
    assert len(lines) == 2 and " ".join(lines) == title
    assert max(map(len, lines)) <= 80
