"""Links from a page to the files of its images: relative, harmless, and silent about who made the page."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.html_page import Page
from support.synthetic_reports import make_content

from resnet_cli.data.dataset import Item
from resnet_cli.reporting.file_links import file_link
from resnet_cli.reporting.report_page import report_page


def test_links_lead_from_the_page_to_the_files_that_exist(tmp_path: Path) -> None:
    data = tmp_path / "my pets #1"
    data.mkdir()
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(data / "a b.jpg")
    content = make_content(("cat", "dog"), 40)
    items = [dataclasses.replace(item, source=data / "a b.jpg") for item in content.items]
    folder = tmp_path / "runs" / "one"
    links = Page(report_page(dataclasses.replace(content, items=items, folder=folder))).values("a", "href")
    assert "./../../my%20pets%20%231/a%20b.jpg" in links
    assert not [link for link in Page(report_page(content)).values("a", "href") if not link.startswith("#")]


@pytest.mark.parametrize("name", ["javascript:alert(1)", "//host/x.jpg", "a?b#c&d\"e<f>'g.jpg"])
def test_a_name_is_never_an_address_of_its_own(name: str, tmp_path: Path) -> None:
    link = file_link(Item("x", tmp_path / name), tmp_path)
    assert link.startswith("./") and not set(link) & set(":\"<>'#?&")


def test_no_link_names_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "jane.doe"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    inside = Item("x", home / "pets" / "x.jpg")
    assert file_link(inside, home / "runs") == "./../pets/x.jpg"
    assert file_link(inside, tmp_path / "runs") == ""
    assert file_link(Item("x", b"bytes"), home) == file_link(inside, None) == ""
