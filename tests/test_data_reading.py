"""Files that are slow to read are read on more threads: in order, in bounded memory, and with a prompt end."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_cli.data import prefetch, reading
from resnet_cli.data.dataset import Item
from resnet_cli.data.prefetch import decode_ahead
from resnet_cli.data.reading import LoadedItem, Readers, load, map_reading
from resnet_cli.errors import ImageError
from resnet_cli.preprocess import Preprocess

PREPROCESS = Preprocess(resize_size=16, crop_size=16)
#: A read on a network file system, in seconds.
LATENCY_S = 0.02


@pytest.fixture
def photos(tmp_path: Path) -> list[Item]:
    """Sixty different images, of which one is empty and one is missing."""
    items = []
    for number in range(60):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (20, 16), (number, 0, 0)).save(path)
        items.append(Item(f"image {number}", path, labels=(number,)))
    Path(items[7].location).write_bytes(b"")
    Path(items[50].location).unlink()
    return items


@pytest.fixture
def slow_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file takes as long as on a network file system."""
    read_bytes = Path.read_bytes

    def read_slowly(path: Path) -> bytes:
        time.sleep(LATENCY_S)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", read_slowly)


def test_a_loaded_item_is_the_same_image_under_the_same_name(photos: list[Item]) -> None:
    item = dataclasses.replace(photos[3], split="val", group="patient", max_pixels=400)
    loaded, num_bytes = load(item)
    assert isinstance(loaded, LoadedItem)
    assert num_bytes == len(Path(item.location).read_bytes())
    for field in dataclasses.fields(Item):
        assert getattr(loaded, field.name) == getattr(item, field.name)
    assert loaded.content_hash() == item.content_hash()
    np.testing.assert_array_equal(PREPROCESS.read(loaded), PREPROCESS.read(item))
    for unreadable in (dataclasses.replace(item, max_pixels=100), photos[7]):
        reasons = []
        for opened in (unreadable, load(unreadable)[0]):
            with pytest.raises(ImageError) as caught:
                opened.open()
            reasons.append((caught.value.path, caught.value.reason))
        assert reasons[0] == reasons[1]


@pytest.mark.parametrize("item", [Item("bytes", b"abc"), Item("pixels", np.zeros((2, 2, 3), np.uint8)), 7], ids=str)
def test_what_is_no_file_is_not_read(item: object) -> None:
    assert load(item) == (item, 0)


@pytest.mark.usefixtures("slow_files")
def test_slow_files_are_read_side_by_side_with_the_same_results(
    photos: list[Item], new_threads: Callable[..., list[str]]
) -> None:
    most_readers = 0

    def transform(item: Item) -> int:
        nonlocal most_readers
        most_readers = max(most_readers, len(new_threads("read")))
        return int(PREPROCESS.read(item).max())

    groups = list(decode_ahead(photos, transform, batch_size=16, num_workers=2))
    assert most_readers > 4
    assert [item for group in groups for item in group.items] == photos
    assert [value for group in groups for value in group.decoded] == [at for at in range(60) if at not in (7, 50)]
    errors = {16 * number + at: error for number, group in enumerate(groups) for at, error in group.errors.items()}
    assert {at: (error.path, error.reason) for at, error in errors.items()} == {
        7: (photos[7].location, "the file is empty"),
        50: (photos[50].location, "No such file or directory"),
    }


def test_fast_files_are_read_by_the_threads_that_decode_them(
    photos: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Beside other work, even these files are slow.
    monkeypatch.setattr(reading, "SLOW_READ_S", 60.0)
    read_by: list[str] = []

    def load_here(item: Item) -> tuple[Item, int]:
        read_by.append(threading.current_thread().name)
        return load(item)

    monkeypatch.setattr(prefetch, "load", load_here)

    def transform(item: Item) -> None:
        time.sleep(0.004)
        item.content_hash()

    groups = list(decode_ahead(photos[:40], transform, batch_size=8, num_workers=2))
    assert len(groups) == 5
    assert len(read_by) == 40
    assert {name.partition("_")[0] for name in read_by} == {"decode"}


def test_files_in_memory_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES_AHEAD", 1000)
    lock = threading.Lock()
    in_memory, most = 0, 0

    def read(number: int) -> tuple[int, int]:
        nonlocal in_memory, most
        time.sleep(LATENCY_S)
        # Some files are larger than the limit.
        size = 2000 if number % 40 == 39 else 90
        with lock:
            in_memory += size
            most = max(most, in_memory)
        return size, size

    def work(size: int) -> int:
        nonlocal in_memory
        time.sleep(LATENCY_S / 5)
        with lock:
            in_memory -= size
        return size

    assert sum(map_reading(read, work, range(160))) == 4 * 2000 + 156 * 90
    # A file counts as an average one until it is read, and one may be read where it is decoded.
    assert most <= 1000 + 2 * 2000


def test_an_exception_while_reading_is_raised_where_it_belongs() -> None:
    def read(number: int) -> tuple[int, int]:
        time.sleep(LATENCY_S / 4)
        if number == 90:
            raise ZeroDivisionError("a bug")
        return number, 0

    results = map_reading(read, lambda number: number, range(200))
    found: list[int] = []
    with pytest.raises(ZeroDivisionError, match="a bug"):
        for result in results:
            found.append(result)
    assert found == list(range(len(found)))
    assert len(found) <= 90


def test_an_abandoned_iterator_does_not_wait_for_a_server_that_does_not_respond(
    new_threads: Callable[..., list[str]],
) -> None:
    responds = threading.Event()

    def read(number: int) -> tuple[int, int]:
        if number < 20:
            time.sleep(LATENCY_S / 2)
        else:
            responds.wait(60)
        return number, 10**9 if number == 19 else 0

    readers: Readers[int, int, int] = Readers(read, lambda number: number, num_workers=2)
    try:
        futures = [readers.submit([number]) for number in range(100)]
        assert [future.result() for future in futures[:20]] == [[number] for number in range(20)]
        readers.close(wait=True)
        assert new_threads("read"), "they still wait for the server"
    finally:
        responds.set()
    deadline = time.monotonic() + 60
    while new_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert new_threads() == []
