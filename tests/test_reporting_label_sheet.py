from __future__ import annotations

from pathlib import Path

import numpy as np
from support.html_page import assert_only_own_script

from resnet_cli.data.dataset import Item
from resnet_cli.reporting.label_sheet import MAX_CARDS, MIN_CARDS, label_sheet
from resnet_cli.studies.label_audit import LabelAudit, rank

MAX_PAGE_BYTES = 5_000_000


def audited(num: int, num_wrong: int) -> LabelAudit:
    """Of ``num`` labels of two classes the first ones contradict the heads."""
    labels = np.arange(num) % 2
    probs = np.full((num, 2), 0.02, dtype=np.float32)
    probs[np.arange(num), labels] = 0.98
    probs[:num_wrong] = probs[:num_wrong, ::-1]
    return rank(probs, labels, ("cat", "dog"), np.ones(num, dtype=bool))


def test_a_sheet_of_the_largest_thumbnails_is_bounded_and_asks_for_nothing() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (160, 160, 3), dtype=np.uint8)
    items = [Item(f"{at}.jpg", np.roll(noise, at, axis=0)) for at in range(400)]
    page = label_sheet(audited(400, 390), items, name="pets", table="pets-labels.csv")
    assert page.count("<figure") == MAX_CARDS and len(page) < MAX_PAGE_BYTES
    assert "the first 240 of about" in page
    assert_only_own_script(page)
    assert "http" not in page.replace("http-equiv", "")
    assert "labeled" in page and "looks like" in page


def test_with_nothing_wrong_the_most_doubtful_are_shown_all_the_same() -> None:
    items = [Item(f"{at}.jpg", np.zeros((8, 8, 3), dtype=np.uint8)) for at in range(300)]
    page = label_sheet(audited(300, 0), items, name="pets", table="t.csv")
    assert "No label stands out as wrong." in page and page.count("<figure") == MIN_CARDS


def test_strangers_names_are_escaped_and_a_gone_image_has_a_placeholder(tmp_path: Path) -> None:
    items = [Item(f"<script>{at}", tmp_path / "gone.jpg", (at % 2,)) for at in range(200)]
    page = label_sheet(audited(200, 0), items, name="<img src=x>", table="t.csv", note="that <b>backbone</b>")
    assert_only_own_script(page)
    assert "<img src=x" not in page and "<b>backbone" not in page
    assert page.count("cannot be read</span>") == MIN_CARDS
