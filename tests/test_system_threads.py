"""Threads keep the order, stop at the first error, and leave nothing running."""

from __future__ import annotations

import threading

import pytest

from resnet_cli.errors import ImageError
from resnet_cli.system.threads import CHUNK_ITEMS, map_threaded


def test_results_come_in_order() -> None:
    assert list(map_threaded(lambda value: value * 2, range(500))) == [value * 2 for value in range(500)]
    assert list(map_threaded(lambda value: value, [])) == []


def test_the_first_error_ends_it_and_no_thread_is_left() -> None:
    def fail(value: int) -> int:
        if value == 2 * CHUNK_ITEMS + 3:
            raise ImageError(str(value), "broken")
        return value

    results = map_threaded(fail, range(10 * CHUNK_ITEMS))
    got: list[int] = []
    with pytest.raises(ImageError):
        for value in results:
            got.append(value)
    assert got == list(range(len(got))) and len(got) <= 2 * CHUNK_ITEMS + 3
    for thread in threading.enumerate():
        if thread.name.startswith("map"):
            thread.join(10)
            assert not thread.is_alive()
