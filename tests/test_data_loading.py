"""Batches come in order, a few ahead, with errors at their positions; abandoned iterators stop their threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_cli.data.inspection.scan import raise_unreadable
from resnet_cli.data.loading import PREFETCH_BATCHES, load_batches
from resnet_cli.errors import DataError, ImageError
from resnet_cli.images import Pixels


def image(value: int) -> Pixels:
    return np.full((2, 3, 3), value % 256, dtype=np.uint8)


@given(count=st.integers(0, 40), batch_size=st.integers(1, 9), broken=st.sets(st.integers(0, 39)))
def test_order_is_kept_and_errors_stand_at_their_position(count: int, batch_size: int, broken: set[int]) -> None:
    def transform(item: int) -> Pixels:
        if item in broken:
            raise ImageError(str(item), "broken")
        return image(item)

    batches = list(load_batches(range(count), transform, batch_size=batch_size))
    assert [item for batch in batches for item in batch.items] == list(range(count))
    assert [len(batch.items) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    for batch in batches:
        assert {batch.items[at] for at in batch.errors} == broken & set(batch.items)
        assert all(error.path == str(batch.items[at]) for at, error in batch.errors.items())
        assert [int(pixels.max()) for pixels in batch.pixels] == batch.good
        assert batch.pixels.shape == ((len(batch.good), 3, 2, 3) if batch.good else (0, 3, 0, 0))


def test_a_slow_image_does_not_overtake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_cli.data.loading.num_threads", lambda: 4)

    def transform(item: int) -> Pixels:
        time.sleep(0.02 if item % 3 == 0 else 0)
        return image(item)

    found = [value for batch in load_batches(range(20), transform, batch_size=3) for value in batch.pixels[:, 0, 0, 0]]
    assert found == list(range(20))


def test_each_batch_may_have_a_size_of_its_own() -> None:
    batches = list(load_batches(range(9), image, batch_size=[4, 3, 2]))
    assert [batch.items for batch in batches] == [[0, 1, 2, 3], [4, 5, 6], [7, 8]]


def test_only_a_few_batches_are_taken_ahead() -> None:
    taken = 0

    def many() -> Iterator[int]:
        nonlocal taken
        for item in range(10_000):
            taken = item + 1
            yield item

    batch_size, most_ahead = 10, 0
    for number, _ in enumerate(load_batches(many(), image, batch_size=batch_size), start=1):
        most_ahead = max(most_ahead, taken - number * batch_size)
    assert taken == 10_000
    assert most_ahead <= PREFETCH_BATCHES * batch_size


def test_an_error_that_is_not_about_an_image_is_raised_where_it_belongs(new_threads: Callable[..., list[str]]) -> None:
    def transform(item: int) -> Pixels:
        if item == 7:
            raise ZeroDivisionError("a bug")
        return image(item)

    batches = load_batches(range(100), transform, batch_size=3)
    assert [next(batches).items[0], next(batches).items[0]] == [0, 3]
    with pytest.raises(ZeroDivisionError, match="a bug"):
        next(batches)
    assert new_threads("decode") == []


def test_an_abandoned_iterator_stops_its_threads(new_threads: Callable[..., list[str]]) -> None:
    decoded: list[int] = []

    def transform(item: int) -> Pixels:
        time.sleep(0.005)
        decoded.append(item)
        return image(item)

    batches = load_batches(range(1000), transform, batch_size=20)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert new_threads("decode") == []
    count = len(decoded)
    time.sleep(0.05)
    assert len(decoded) == count < 100


def test_pixels_are_channels_last_in_memory() -> None:
    (batch,) = load_batches(range(4), image, batch_size=4)
    assert batch.pixels.permute(0, 2, 3, 1).is_contiguous()


@pytest.mark.parametrize("count", [1, 10, 25])
def test_up_to_ten_unreadable_images_are_named_and_the_rest_counted(count: int) -> None:
    raise_unreadable([], 100)
    errors = [ImageError(f"{index}.jpg", "the file is empty") for index in range(count)]
    with pytest.raises(DataError) as caught:
        raise_unreadable(errors, 1000)
    message = caught.value.message
    assert f"{count} of 1,000 images" in message
    assert message.count(".jpg: the file is empty") == min(count, 10)
    assert ("and 15 more" in message) == (count == 25)
    assert caught.value.hint
