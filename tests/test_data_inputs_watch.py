"""New images of a folder are yielded once, complete and in order."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.mean_colours import COLOURS, paint

from resnet_cli.data.dataset import Item
from resnet_cli.data.inputs.watch import watch
from resnet_cli.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    paint(tmp_path / "in" / "old.png", COLOURS["red"])
    return tmp_path / "in"


def looks(found: Iterator[list[Item]], count: int) -> list[str]:
    """Names of the images that are yielded in this many scans."""
    return [os.path.basename(item.name) for _ in range(count) for item in next(found)]


def watching(folder: Path, **options: object) -> Iterator[list[Item]]:
    return watch(str(folder), sleep=lambda _: None, **options)  # type: ignore[arg-type]


def test_only_what_arrives_is_new_and_it_comes_once_and_sorted(folder: Path) -> None:
    found = watching(folder)
    assert looks(found, 3) == []
    for name in ("b.png", "a.png", "sub/c.png", "notes.txt", ".part.png"):
        paint(folder / "x.png", COLOURS["red"])
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / "x.png").rename(folder / name)
    assert looks(found, 4) == ["a.png", "b.png", "c.png"]
    assert looks(found, 3) == []


def test_an_image_that_is_being_written_is_waited_for(folder: Path) -> None:
    data = (folder / "old.png").read_bytes()
    found = watching(folder)
    looks(found, 1)
    for length in (0, 0, 0, 10, 20, len(data)):
        (folder / "new.png").write_bytes(data[:length])
        assert looks(found, 1) == []
    assert looks(found, 2) == ["new.png"]


def test_one_that_goes_and_comes_again_is_new(folder: Path) -> None:
    found = watching(folder)
    looks(found, 1)
    shutil.move(folder / "old.png", folder.parent / "old.png")
    assert looks(found, 2) == []
    shutil.move(folder.parent / "old.png", folder / "old.png")
    assert looks(found, 3) == ["old.png"]


def test_what_is_known_decides_where_it_is_given(folder: Path) -> None:
    paint(folder / "done.png", COLOURS["red"])
    assert looks(watching(folder, known={str(folder / "done.png")}), 3) == ["old.png"]


def test_folders_in_it_may_be_left_out(folder: Path) -> None:
    found = watching(folder, recursive=False)
    looks(found, 1)
    paint(folder / "sub" / "a.png", COLOURS["red"])
    assert looks(found, 3) == []


def test_many_at_once_come_in_portions_without_a_pause(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_cli.data.inputs.watch.MAX_AT_ONCE", 2)
    pauses: list[float] = []
    sleep: Callable[[float], None] = pauses.append
    found = watch(str(folder), sleep=sleep)
    looks(found, 1)
    for number in range(5):
        paint(folder / f"{number}.png", COLOURS["red"])
    assert [looks(found, 1) for _ in range(4)] == [[], ["0.png", "1.png"], ["2.png", "3.png"], ["4.png"]]
    assert len(pauses) == 2


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"--watch .*: no such folder"):
        next(watching(tmp_path / "gone"))
    found = watching(folder)
    next(found)
    shutil.rmtree(folder)
    with pytest.raises(ConfigError, match="no such folder"):
        next(found)
