"""What every page says about where it comes from, and what it never says."""

from __future__ import annotations

import datetime
import platform
import re
from pathlib import Path

import pytest
from support.html_page import Page, assert_only_own_script, assert_self_contained
from support.synthetic_reports import make_content

from resnet_cli.reporting.provenance import Provenance
from resnet_cli.reporting.report_page import report_page
from resnet_cli.version import __version__


def test_a_page_says_which_run_data_date_duration_machine_and_versions_it_is_of() -> None:
    provenance = Provenance.now(run="pets-1", data="/data/pets", seconds=754)
    text = report_page(make_content(("cat", "dog"), 40, provenance=provenance))
    page = Page(text)
    assert_self_contained(page)
    assert_only_own_script(text)
    assert "Run pets-1" in page.text and "Data /data/pets" in page.text and "Duration 13 min" in page.text
    assert f"resnet-cli {__version__}, Python {platform.python_version()}, torch " in page.text
    assert re.search(r"Machine \S.* cores? Versions", page.text)
    # The name of the computer says who works there.
    assert not platform.node() or f"Machine {platform.node()}" not in page.text
    now = datetime.datetime.now().astimezone()
    date, time, offset = provenance.date.split(" ")
    assert abs(datetime.datetime.fromisoformat(f"{date} {time}{offset}") - now) < datetime.timedelta(hours=1)


def test_an_address_loses_what_may_be_secret() -> None:
    assert Provenance.now(data="https://me:key@host/pets.zip?signature=abc").data == "https://host/pets.zip"
    assert Provenance.now(data="/data/pets#2?").data == "/data/pets#2?"


def test_what_is_not_known_is_not_shown() -> None:
    assert Provenance().facts == []
    text = report_page(make_content(("a", "b"), 40, provenance=Provenance()))
    assert "provenance" not in Page(text).values("dl", "class")


def test_no_page_names_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "jane.doe"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    content = make_content(
        ("cat", "dog"),
        40,
        command=f"resnet-cli finetune --config '{home / 'my runs' / 'config.yaml'}'",
        facts=[("data", str(home / "pets"), f"read from {home}")],
        warnings=[f"{home}: something was noticed"],
        provenance=Provenance(data=str(home / "pets")),
    )
    page = Page(report_page(content))
    assert "jane.doe" not in page.text and not any("jane.doe" in value for *_, value in page.attributes)
    assert f"Data {Path('~') / 'pets'}" in page.text
