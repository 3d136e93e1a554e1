"""A varied picture is a function of (seed, epoch, index) and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import TINY

from resnet_cli.config import FinetuneConfig, resolve
from resnet_cli.data.augment import CROP_AREA, CROP_ASPECT, Augment, random_box, shift
from resnet_cli.data.dataset import Item
from resnet_cli.images import Pixels
from resnet_cli.preprocess import Preprocess
from resnet_cli.training.plan import make_plan

PREPROCESS = Preprocess(resize_size=36, crop_size=32)
STRENGTHS = ("none", "light", "standard")


def gradient(height: int = 40, width: int = 50) -> Item:
    """Red grows to the right and green to the bottom: any change of geometry shows."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width)[None]
    pixels[..., 1] = np.linspace(0, 255, height)[:, None]
    return Item("gradient", pixels)


def varied(strength: str, *, mirror: bool = True, seed: int = 0, epoch: int = 1, index: int = 0) -> Pixels:
    return Augment(PREPROCESS, strength=strength, mirror=mirror, seed=seed, epoch=epoch)(index, gradient())


def is_mirrored(pixels: Pixels) -> bool:
    return bool(pixels[:, 0, 0].mean() > pixels[:, -1, 0].mean())


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (500, 20), (33, 700)])
def test_the_result_has_the_networks_size_whatever_the_source(strength: str, size: tuple[int, int]) -> None:
    augment = Augment(PREPROCESS, strength=strength, mirror=True, seed=0, epoch=1)
    for index in range(5):
        pixels = augment(index, gradient(*size))
        assert pixels.shape == (32, 32, 3)
        assert pixels.dtype == np.uint8


@given(
    strength=st.sampled_from(STRENGTHS),
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(1, 10_000),
    index=st.integers(0, 10**6),
)
def test_it_is_a_pure_function_of_seed_epoch_and_index(strength: str, seed: int, epoch: int, index: int) -> None:
    first = varied(strength, seed=seed, epoch=epoch, index=index)
    np.random.default_rng().random()
    varied(strength, seed=seed + 1, epoch=epoch, index=index)
    assert np.array_equal(varied(strength, seed=seed, epoch=epoch, index=index), first)


@pytest.mark.parametrize("strength", ["light", "standard"])
@pytest.mark.parametrize("changed", ["seed", "epoch", "index"])
def test_each_of_them_matters(strength: str, changed: str) -> None:
    base = {"seed": 0, "epoch": 1, "index": 0}
    results = {varied(strength, mirror=True, **base | {changed: value}).tobytes() for value in range(1, 21)}
    assert len(results) > 10


def test_none_is_the_preprocessing_itself() -> None:
    item = gradient()
    for index in range(10):
        assert np.array_equal(varied("none", index=index), PREPROCESS(item.open()))


@pytest.mark.parametrize("strength", STRENGTHS)
def test_half_are_mirrored_where_that_is_safe_and_none_elsewhere(strength: str) -> None:
    flips = [is_mirrored(varied(strength, index=index)) for index in range(200)]
    assert sum(flips) == 0 if strength == "none" else 70 < sum(flips) < 130
    assert not any(is_mirrored(varied(strength, mirror=False, index=index)) for index in range(50))


def test_digits_are_not_safe_to_mirror() -> None:
    plan = make_plan(resolve(FinetuneConfig, {"data": "digits", "mode": "full", **TINY}))
    assert not plan.dataset.mirror_safe
    assert plan.augment == "light"


@given(width=st.integers(1, 5000), height=st.integers(1, 5000), seed=st.integers(0, 1000))
def test_the_box_lies_inside_the_picture(width: int, height: int, seed: int) -> None:
    left, top, right, bottom = random_box((width, height), np.random.default_rng(seed))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert (right - left) * (bottom - top) <= CROP_AREA[1] * width * height * (1 + 1e-9)


@given(side=st.integers(10, 2000), seed=st.integers(0, 1000))
def test_the_box_of_a_square_keeps_area_and_aspect_in_range(side: int, seed: int) -> None:
    left, top, right, bottom = random_box((side, side), np.random.default_rng(seed))
    aspect = (right - left) / (bottom - top)
    assert CROP_ASPECT[0] - 1e-6 <= aspect <= CROP_ASPECT[1] + 1e-6
    # Clipping may only cost what the aspect asks beyond the picture.
    assert (right - left) * (bottom - top) >= CROP_AREA[0] * CROP_ASPECT[0] * side**2


@given(side=st.integers(8, 64), seed=st.integers(0, 500))
def test_a_shift_moves_at_most_an_eighth_and_invents_no_values(side: int, seed: int) -> None:
    pixels = np.arange(side * side, dtype=np.uint32).reshape(side, side)
    codes = np.stack([pixels % 256, pixels // 256, pixels * 0], axis=-1).astype(np.uint8)
    moved = shift(codes, np.random.default_rng(seed))
    assert moved.shape == codes.shape
    found = moved[..., 0].astype(int) + 256 * moved[..., 1].astype(int)
    middle = side // 2
    row, column = divmod(int(found[middle, middle]), side)
    assert max(abs(row - middle), abs(column - middle)) <= round(side / 8)
    assert set(found.ravel()) <= set(pixels.ravel().tolist())
