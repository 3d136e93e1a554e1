"""Images in the terminal: recognized by its variables, drawn by its protocol, nothing anywhere else."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.terminal import on_terminal

from resnet_cli.cli.terminal_images import escape_sequence, fitted, show_image, terminal_protocol

XTERM = {"TERM": "xterm-256color"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        (XTERM | {"KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "alacritty", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "xterm-ghostty", "SSH_CONNECTION": "a 1 b 2"}, "kitty"),
        (XTERM | {"TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        (XTERM | {"LC_TERMINAL": "iTerm2", "SSH_CONNECTION": "a 1 b 2"}, "iterm2"),
        (XTERM | {"TERM_PROGRAM": "WezTerm"}, "iterm2"),
        (XTERM | {"TERM_PROGRAM": "vscode", "KITTY_WINDOW_ID": "1"}, None),
        (XTERM | {"TERM_PROGRAM": "Apple_Terminal"}, None),
        ({"TERM": "foot"}, "sixel"),
        (XTERM | {"WT_SESSION": "0"}, "sixel"),
        (XTERM | {"KONSOLE_VERSION": "230800"}, "sixel"),
        (XTERM | {"KONSOLE_VERSION": "211203"}, None),
        (XTERM | {"KONSOLE_VERSION": "new"}, None),
        ({"TERM": "tmux-256color", "TMUX": "/tmp/tmux", "LC_TERMINAL": "iTerm2"}, None),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, None),
        ({"TERM": "screen", "STY": "1.pts", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "dumb", "KITTY_WINDOW_ID": "1"}, None),
        (XTERM | {"VTE_VERSION": "7600"}, None),
        (XTERM, None),
        ({}, None),
        ({"TERM": "tmux-256color", "TMUX": "/tmp/tmux", "RESNET_CLI_IMAGES": "sixel"}, "sixel"),
        ({"TERM": "xterm-kitty", "RESNET_CLI_IMAGES": "none"}, None),
        ({"TERM": "xterm-kitty", "RESNET_CLI_IMAGES": "auto"}, "kitty"),
    ],
    ids=str,
)
def test_a_terminal_is_recognized_by_what_it_sets_itself(environ: dict[str, str], expected: str | None) -> None:
    assert terminal_protocol(environ) == expected


def noise(width: int, height: int) -> Image.Image:
    """An image that does not compress."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def opened(data: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True))).convert("RGB")


def test_kitty_gets_the_image_in_chunks_and_never_answers() -> None:
    image = noise(60, 50)
    text = escape_sequence(image, "kitty")
    parts = re.findall(r"\x1b_G([^;]*);([A-Za-z0-9+/=]*)\x1b\\", text)
    assert "".join(f"\x1b_G{keys};{data}\x1b\\" for keys, data in parts) == text, "nothing beside the chunks"
    assert [keys for keys, _ in parts] == ["a=T,f=100,q=2,m=1", *["q=2,m=1"] * (len(parts) - 2), "q=2,m=0"]
    assert max(len(data) for _, data in parts) <= 4096 and all(len(data) % 4 == 0 for _, data in parts[:-1])
    assert opened("".join(data for _, data in parts)).tobytes() == image.tobytes()
    only = escape_sequence(Image.new("RGB", (1, 1)), "kitty")
    assert re.fullmatch(r"\x1b_Ga=T,f=100,q=2,m=0;[A-Za-z0-9+/=]+\x1b\\", only)


def test_iterm2_gets_a_file_that_is_shown_and_not_downloaded() -> None:
    image = noise(60, 50)
    found = re.fullmatch(
        r"\x1b\]1337;File=size=(\d+);width=60px;height=50px;inline=1:(.+)\x07", escape_sequence(image, "iterm2")
    )
    assert found and int(found[1]) == len(base64.b64decode(found[2]))
    assert opened(found[2]).tobytes() == image.tobytes()


def drawn(text: str) -> np.ndarray:
    """The pixels that Sixel data draw, in percent, and -1 where there are none."""
    width, height, body = re.fullmatch(r'\x1bP0;1;0q"1;1;(\d+);(\d+)([^\x1b]*)\x1b\\', text).groups()  # type: ignore[union-attr]
    pixels = np.full((int(height), int(width), 3), -1)
    palette: dict[int, tuple[int, ...]] = {}
    color: tuple[int, ...] = ()
    x, top = 0, 0
    for number, repeat, char in re.findall(r"#([\d;]+)|(?:!(\d+))?([?-~$-])", body):
        if number:
            index, *values = map(int, number.split(";"))
            if values:
                assert values[0] == 2, "in RGB"
                palette[index] = tuple(values[1:])
            else:
                color = palette[index]
        elif char == "$":
            x = 0
        elif char == "-":
            x, top = 0, top + 6
        else:
            for _ in range(int(repeat or 1)):
                for bit in range(6):
                    if (ord(char) - 63) >> bit & 1:
                        pixels[top + bit, x] = color
                x += 1
    return pixels


@pytest.mark.parametrize("size", [(1, 1), (7, 13), (40, 30)], ids=str)
def test_sixel_draws_every_pixel_in_its_color(size: tuple[int, int]) -> None:
    # Few colors, which a palette holds exactly.
    image = Image.eval(noise(*size), lambda value: 255 * (value > 127))
    expected = np.round(np.asarray(image).astype(float) * 100 / 255).astype(int)
    assert np.array_equal(drawn(escape_sequence(image, "sixel")), expected)


def test_sixel_writes_runs_by_their_length() -> None:
    text = escape_sequence(Image.new("RGB", (500, 6), (255, 0, 0)), "sixel")
    assert text == '\x1bP0;1;0q"1;1;500;6#0;2;100;0;0#0!500~\x1b\\'


def test_an_image_fits_into_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "20")
    for size in ((4000, 3000), (3000, 40), (40, 3000), (20_000, 1)):
        found = fitted(Image.new("RGB", size), (8, 16))
        assert 1 <= found.width <= 59 * 8 and 1 <= found.height <= 18 * 16
    assert fitted(Image.new("RGB", (8, 8)), (8, 16)).size == (72, 72), "whole pixels of a tiny image"
    monkeypatch.setenv("COLUMNS", "1")
    monkeypatch.setenv("LINES", "1")
    assert fitted(Image.new("RGB", (400, 300)), (8, 16)).size == (8, 6)


SHOWS = "import sys; from resnet_cli.cli.terminal_images import show_image; print(show_image(sys.argv[1]), end='')"


def test_only_a_terminal_that_can_gets_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "one.png"
    Image.new("RGB", (8, 8), (255, 0, 0)).save(path)
    for env, begin, end in (
        ({"TERM": "xterm-kitty"}, b"\x1b_Ga=T,f=100,q=2,m=0;", b"\x1b\\\r\nTrue"),
        ({"TERM": "foot"}, b'\x1bP0;1;0q"1;1;96;96#0;2;100;0;0', b"\x1b\\\r\nTrue"),
        ({"TERM": "xterm-kitty", "TMUX": "1"}, b"False", b"False"),
    ):
        screen = on_terminal(path, program=SHOWS, env=env)
        assert screen.code == 0, screen.stderr
        assert screen.stdout.startswith(begin) and screen.stdout.endswith(end), screen.stdout
    assert not show_image(path) and capsys.readouterr().out == ""
