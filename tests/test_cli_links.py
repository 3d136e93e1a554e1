"""Paths that open with a click, and pages that ``--open`` opens."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path

import pytest
from support.terminal import on_terminal

from resnet_cli.cli.links import file_url
from resnet_cli.cli.opening import open_page

PRINTS = (
    "import sys\n"
    "from resnet_cli.cli import output\n"
    "from resnet_cli.cli.links import link\n"
    "output.show(link(sys.argv[1]))\n"
)


def test_an_address_has_the_host_and_no_character_that_could_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WT_SESSION", "WSL_DISTRO_NAME"):
        monkeypatch.delenv(name, raising=False)
    host = socket.gethostname()
    assert file_url("/a b/c;d\x1b\\é.png") == f"file://{host}/a%20b/c%3Bd%1B%5C%C3%A9.png"
    assert file_url(os.fsdecode(b"/\xff")) == f"file://{host}/%FF"
    assert file_url(Path("x")) == f"file://{host}{Path.cwd().as_posix()}/x"
    monkeypatch.setenv("WT_SESSION", "0")
    assert file_url("/a") == "file:///a"
    monkeypatch.setenv("WSL_DISTRO_NAME", "Ubuntu")
    assert file_url("/a") == "file://wsl.localhost/Ubuntu/a"


@pytest.mark.parametrize(
    ("env", "is_link"),
    [({}, True), ({"NO_COLOR": "1"}, True), ({"TERM": "dumb"}, False), ({"TERM": "linux"}, False)],
    ids=str,
)
def test_a_path_is_a_link_on_a_terminal_that_knows_links(env: dict[str, str], is_link: bool) -> None:
    screen = on_terminal("/tmp/a b", program=PRINTS, env=env)
    begin = rb"\x1b\]8;id=\d+;file://" + socket.gethostname().encode() + rb"/tmp/a%20b\x1b\\"
    expected = begin + rb"/tmp/a b\x1b\]8;;\x1b\\\r\n" if is_link else rb"/tmp/a b\r\n"
    assert re.fullmatch(expected, screen.stdout), screen


def test_a_path_in_a_pipe_is_only_a_path(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from resnet_cli.cli import output
    from resnet_cli.cli.links import link

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-kitty")
    output.show(link("/tmp/a b"))
    assert capsys.readouterr().out == "/tmp/a b\n"


def test_a_page_is_opened_by_the_browser_and_its_words_are_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho noise\necho noise >&2\nprintf %s "$1" > "{opened}"\n')
    browser.chmod(0o755)
    page = tmp_path / "a b;c.html"
    page.touch()
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    assert open_page(page)
    assert opened.read_text() == page.as_uri()
    shown = capfd.readouterr()
    assert shown.out == "" and shown.err == f"opened {page} in the browser\n"


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="there is always a screen")
def test_without_a_screen_no_browser_takes_over_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"):
        monkeypatch.delenv(name, raising=False)
    assert not open_page(tmp_path / "page.html")
    shown = capsys.readouterr()
    assert shown.out == "" and (tmp_path / "page.html").as_uri() in shown.err
