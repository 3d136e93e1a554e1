"""An augmented image is a function of (seed, epoch, index) and nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from resnet_cli.data.dataset import Item
from resnet_cli.data.views.augment import (
    CROP_AREA,
    CROP_ASPECT,
    ERASING_AREA,
    ERASING_ASPECT,
    STRONG_CROP_AREA,
    Augment,
    Augmentation,
    Strength,
    _cut,
    _draw_erasing,
    _draw_shift,
    _fill,
    default_augmentation,
    random_box,
)
from resnet_cli.images import Pixels
from resnet_cli.preprocess import Fit, Preprocess

PREPROCESS = Preprocess(resize_size=36, crop_size=32)
STRENGTHS: tuple[Strength, ...] = ("none", "light", "standard", "strong")
FITS: tuple[Fit, ...] = ("crop", "pad", "squash")


def gradient(height: int = 40, width: int = 50) -> Item:
    """Red grows to the right and green to the bottom: any change of geometry shows."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width)[None]
    pixels[..., 1] = np.linspace(0, 255, height)[:, None]
    return Item("gradient", pixels)


def augmentation(strength: Strength = "none", **changes: Any) -> Augmentation:
    """A strength without policy and erasing, except those that are given."""
    return dataclasses.replace(Augmentation(strength, False, "none", 0.0, False), **changes)


def varied(strength: Strength, *, mirror: bool = True, seed: int = 0, epoch: int = 1, index: int = 0) -> Pixels:
    made = default_augmentation(strength, mirror=mirror, tiny=False)
    return Augment(PREPROCESS, made, seed=seed, epoch=epoch)(index, gradient())


def shifted(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return _cut(pixels, _draw_shift(min(pixels.shape[:2]), rng))


def is_mirrored(pixels: Pixels) -> bool:
    return bool(pixels[:, 0, 0].mean() > pixels[:, -1, 0].mean())


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (500, 20), (33, 700), (1, 3000)])
def test_the_result_has_the_networks_size_whatever_the_source(
    strength: Strength, size: tuple[int, int], fit: Fit
) -> None:
    made = default_augmentation(strength, mirror=True, tiny=True)
    for side in (None, 32, 48):
        augment = Augment(PREPROCESS.with_fit(fit), made, seed=0, epoch=1, size=side)
        for index in range(5):
            pixels = augment(index, gradient(*size))
            assert pixels.shape == (side or 32, side or 32, 3)
            assert pixels.dtype == np.uint8


@given(
    strength=st.sampled_from(STRENGTHS),
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(1, 10_000),
    index=st.integers(0, 10**6),
)
def test_it_is_a_pure_function_of_seed_epoch_and_index(strength: Strength, seed: int, epoch: int, index: int) -> None:
    first = varied(strength, seed=seed, epoch=epoch, index=index)
    np.random.default_rng().random()
    varied(strength, seed=seed + 1, epoch=epoch, index=index)
    assert np.array_equal(varied(strength, seed=seed, epoch=epoch, index=index), first)


@pytest.mark.parametrize("strength", ["light", "standard", "strong"])
@pytest.mark.parametrize("changed", ["seed", "epoch", "index"])
def test_each_of_them_matters(strength: Strength, changed: str) -> None:
    base = {"seed": 0, "epoch": 1, "index": 0}
    results = {varied(strength, mirror=True, **base | {changed: value}).tobytes() for value in range(1, 21)}
    assert len(results) > 10


def test_none_is_the_preprocessing_itself() -> None:
    item = gradient()
    for index in range(10):
        assert np.array_equal(varied("none", index=index), PREPROCESS(item.open()))


@pytest.mark.parametrize("strength", ["none", "light", "standard"])
def test_half_are_mirrored_where_that_is_safe_and_none_elsewhere(strength: Strength) -> None:
    flips = [is_mirrored(varied(strength, index=index)) for index in range(200)]
    assert sum(flips) == 0 if strength == "none" else 70 < sum(flips) < 130
    assert not any(is_mirrored(varied(strength, mirror=False, index=index)) for index in range(50))


def test_a_strength_resolves_to_what_it_means() -> None:
    def made(strength: Strength, **given: Any) -> Augmentation:
        return default_augmentation(strength, **{"mirror": True, "tiny": False, **given})

    assert made("none") == Augmentation("none", False, "none", 0.0, False)
    assert made("light") == Augmentation("light", True, "none", 0.0, False)
    assert made("light", tiny=True) == Augmentation("light", True, "none", 0.0, True)
    assert made("standard", tiny=True) == Augmentation("standard", True, "none", 0.0, False)
    assert made("strong") == Augmentation("strong", True, "trivialaugment", 0.25, False)
    assert made("strong", policy="none", erasing=0.0) == Augmentation("strong", True, "none", 0.0, False)
    assert made("light", policy="randaugment", erasing=0.1) == Augmentation("light", True, "randaugment", 0.1, False)


def test_what_may_not_be_mirrored_is_not_turned_upside_down() -> None:
    assert default_augmentation("strong", mirror=False, tiny=True).policy == "randaugment"


@given(index=st.integers(0, 1000), side=st.integers(8, 64))
def test_a_tiny_source_is_shifted_by_whole_pixels_of_its_own(index: int, side: int) -> None:
    """Enlarged four times without a filter's blur between them, its pixels stay blocks of four."""
    rng = np.random.default_rng(side)
    source = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    same_size = Preprocess(resize_size=side, crop_size=side)
    light = augmentation("light", source_pad=True)
    moved = Augment(same_size, light, seed=0, epoch=1)(index, Item("a", source))
    enlarged = Augment(same_size, light, seed=0, epoch=1, size=4 * side)(index, Item("a", source))
    assert np.array_equal(enlarged, same_size.with_size(4 * side)(Image.fromarray(moved)))


def test_a_larger_image_among_tiny_ones_is_shifted_as_the_network_sees_it() -> None:
    item = gradient(500, 500)
    for source_pad in (False, True):
        augment = Augment(PREPROCESS, augmentation("light", source_pad=source_pad), seed=3, epoch=1)
        expected = shifted(PREPROCESS(item.open()), np.random.default_rng((3, 1, 0)))
        assert np.array_equal(augment(0, item), expected)


@pytest.mark.parametrize("strength", ["standard", "strong"])
@given(index=st.integers(0, 1000))
def test_a_padded_view_is_a_part_of_the_image_padded_as_the_whole_is(strength: Strength, index: int) -> None:
    preprocess = PREPROCESS.with_fit("pad")
    pixels = Augment(preprocess, augmentation(strength), seed=0, epoch=1)(index, gradient(40, 160))
    # Blue is 0 in the image and never in the mean colour.
    rows = np.flatnonzero((pixels[..., 2] == 0).any(axis=1))
    part = pixels[rows[0] : rows[-1] + 1]
    assert (part[..., 2] == 0).all()
    assert 4 * CROP_ASPECT[0] * 0.8 < 32 / len(part) < 4 * CROP_ASPECT[1] * 1.25
    assert (np.delete(pixels, slice(rows[0], rows[-1] + 1), axis=0) == preprocess.mean_color).all()
    assert abs(rows[0] - (31 - rows[-1])) <= 1


@pytest.mark.parametrize("strength", ["standard", "strong"])
@given(index=st.integers(0, 1000))
def test_a_squashed_view_is_as_squashed_as_the_whole_image(strength: Strength, index: int) -> None:
    preprocess = PREPROCESS.with_fit("squash")
    pixels = Augment(preprocess, augmentation(strength), seed=0, epoch=1)(index, gradient(40, 400)).astype(int)
    # Red and green grow by 255 over the squashed image's width and height: their slopes are the box's sides.
    width, height = (pixels[16, 28, 0] - pixels[16, 4, 0]), (pixels[28, 16, 1] - pixels[4, 16, 1])
    assert CROP_ASPECT[0] * 0.9 < width / height < CROP_ASPECT[1] * 1.1


def test_views_of_strong_show_less_of_the_image_than_standards() -> None:
    def smallest(strength: Strength) -> int:
        augment = Augment(PREPROCESS, augmentation(strength), seed=0, epoch=1)
        views = (augment(index, gradient(400, 400)).astype(int) for index in range(200))
        return min(int(np.ptp(view[..., 0]) * np.ptp(view[..., 1])) for view in views)

    full = 255**2
    assert CROP_AREA[0] * 0.8 * full < smallest("standard") < CROP_AREA[0] * 1.2 * full
    assert STRONG_CROP_AREA[0] * 0.8 * full < smallest("strong") < STRONG_CROP_AREA[0] * 1.2 * full


@pytest.mark.parametrize("policy", ["randaugment", "trivialaugment"])
def test_a_policy_varies_the_view_and_never_mirrors_it(policy: str) -> None:
    plain = Augment(PREPROCESS, augmentation(), seed=0, epoch=1)(0, gradient())
    augment = Augment(PREPROCESS, augmentation(policy=policy), seed=0, epoch=1)
    views = [augment(index, gradient()) for index in range(100)]
    assert len({view.tobytes() for view in views}) > 20
    assert not any(np.array_equal(view, plain[:, ::-1]) for view in views)


@pytest.mark.parametrize(("erasing", "least", "most"), [(0.0, 0, 0), (0.25, 30, 70), (1.0, 200, 200)])
def test_erasing_happens_as_often_as_it_should(erasing: float, least: int, most: int) -> None:
    augment = Augment(PREPROCESS, augmentation(erasing=erasing), seed=0, epoch=1)
    fill = np.array(PREPROCESS.mean_color)
    erased = [bool((augment(index, gradient()) == fill).all(axis=-1).any()) for index in range(200)]
    assert least <= sum(erased) <= most


@given(side=st.integers(32, 256), seed=st.integers(0, 1000))
def test_what_is_erased_is_one_rectangle_of_the_size_that_the_paper_says(side: int, seed: int) -> None:
    pixels = np.zeros((side, side, 3), dtype=np.uint8)
    erased = _fill(pixels, _draw_erasing((side, side), np.random.default_rng(seed)), (1, 2, 3))
    assert not pixels.any()
    gone = (erased == (1, 2, 3)).all(axis=-1)
    rows, columns = np.flatnonzero(gone.any(axis=1)), np.flatnonzero(gone.any(axis=0))
    assert gone.sum() == len(rows) * len(columns) == np.ptp(rows + 0) * len(columns) + len(columns)
    height, width = len(rows), len(columns)
    # Half a pixel at each edge is rounding.
    assert (height + 1) * (width + 1) >= ERASING_AREA[0] * side**2
    assert (height - 1) * (width - 1) <= ERASING_AREA[1] * side**2
    assert ERASING_ASPECT[0] <= (width + 1) / (height - 1)
    assert (width - 1) / (height + 1) <= ERASING_ASPECT[1]


def test_progressive_resizing_shows_the_same_part_smaller() -> None:
    preprocess = Preprocess(resize_size=256, crop_size=224)
    standard = augmentation("standard", mirror=True)
    large = Augment(preprocess, standard, seed=0, epoch=1)(5, gradient(300, 300)).astype(int)
    small = Augment(preprocess, standard, seed=0, epoch=1, size=112)(5, gradient(300, 300)).astype(int)
    assert abs(large[::2, ::2] - small).max() <= 3


@given(width=st.integers(1, 5000), height=st.integers(1, 5000), seed=st.integers(0, 1000))
def test_the_box_lies_inside_the_image(width: int, height: int, seed: int) -> None:
    left, top, right, bottom = random_box((width, height), np.random.default_rng(seed))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert (right - left) * (bottom - top) <= CROP_AREA[1] * width * height * (1 + 1e-9)


@given(side=st.integers(10, 2000), seed=st.integers(0, 1000))
def test_the_box_of_a_square_keeps_area_and_aspect_in_range(side: int, seed: int) -> None:
    left, top, right, bottom = random_box((side, side), np.random.default_rng(seed))
    aspect = (right - left) / (bottom - top)
    assert CROP_ASPECT[0] - 1e-6 <= aspect <= CROP_ASPECT[1] + 1e-6
    # Clipping may only remove what the aspect ratio requires outside the image.
    assert (right - left) * (bottom - top) >= CROP_AREA[0] * CROP_ASPECT[0] * side**2


@given(side=st.integers(8, 64), seed=st.integers(0, 500))
def test_a_shift_moves_at_most_an_eighth_and_invents_no_values(side: int, seed: int) -> None:
    pixels = np.arange(side * side, dtype=np.uint32).reshape(side, side)
    codes = np.stack([pixels % 256, pixels // 256, pixels * 0], axis=-1).astype(np.uint8)
    moved = shifted(codes, np.random.default_rng(seed))
    assert moved.shape == codes.shape
    found = moved[..., 0].astype(int) + 256 * moved[..., 1].astype(int)
    middle = side // 2
    row, column = divmod(int(found[middle, middle]), side)
    assert max(abs(row - middle), abs(column - middle)) <= round(side / 8)
    assert set(found.ravel()) <= set(pixels.ravel().tolist())
