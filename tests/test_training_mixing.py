"""Mixup and CutMix against torchvision's, and as functions of their random generator alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import CutMix, MixUp

from resnet_cli.training.mixing import mix, random_window, union

BATCH = 5
#: Every image is of a class of its own: targets show who was mixed with whom, and by how much.
LABELS = torch.arange(BATCH)
#: Every value is there once.
IMAGES = torch.arange(BATCH * 3 * 9 * 12, dtype=torch.float32).view(BATCH, 3, 9, 12) / 100


def mixed(seed: int, *, mixup: float = 0.0, cutmix: float = 0.0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    return mix(IMAGES, LABELS, num_classes=BATCH, mixup=mixup, cutmix=cutmix, rng=rng)


def is_cutmix(images: Tensor) -> bool:
    """Every value is one that was there before."""
    return bool(torch.isin(images, IMAGES).all())


def test_off_changes_nothing() -> None:
    images, targets = mixed(0)
    assert torch.equal(images, IMAGES)
    assert torch.equal(targets, torch.eye(BATCH))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("alphas", [(0.2, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_it_is_a_function_of_the_generator_and_leaves_its_input_alone(alphas: tuple[float, float], seed: int) -> None:
    before = IMAGES.clone()
    first, second = (mixed(seed, mixup=alphas[0], cutmix=alphas[1]) for _ in range(2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert torch.equal(IMAGES, before)


@pytest.mark.parametrize("seed", range(20))
def test_targets_say_what_share_of_an_image_is_its_own(seed: int) -> None:
    images, targets = mixed(seed, mixup=0.8, cutmix=1.0)
    share = targets[0, 0]
    assert torch.allclose(targets, torch.eye(BATCH) * share + torch.eye(BATCH).roll(1, 0) * (1 - share))
    assert torch.allclose(targets.sum(dim=1), torch.ones(BATCH))
    assert targets.dtype == torch.float32
    if is_cutmix(images):
        own = (images == IMAGES).float().mean(dim=(1, 2, 3))
        assert torch.allclose(own, share.expand(BATCH))


@pytest.mark.parametrize("seed", range(10))
def test_mixup_is_torchvisions(seed: int) -> None:
    images, targets = mixed(seed, mixup=0.4)
    parameters = {"labels": LABELS, "batch_size": BATCH, "lam": float(targets[0, 0])}
    theirs = MixUp(alpha=0.4, num_classes=BATCH)
    assert torch.allclose(images, theirs.transform(IMAGES, parameters), atol=1e-5)
    assert torch.allclose(targets, theirs.transform(LABELS, parameters), atol=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_cutmix_is_torchvisions(seed: int) -> None:
    images, targets = mixed(seed, cutmix=1.0)
    changed = (images != IMAGES).any(dim=1).any(dim=0).nonzero()
    (top, left), (bottom, right) = (
        (changed.amin(dim=0).tolist(), (changed.amax(dim=0) + 1).tolist()) if len(changed) else ((0, 0), (0, 0))
    )
    lam = 1 - (bottom - top) * (right - left) / (9 * 12)
    parameters = {"labels": LABELS, "batch_size": BATCH, "box": (left, top, right, bottom), "lam_adjusted": lam}
    theirs = CutMix(num_classes=BATCH)
    assert torch.equal(images, theirs.transform(IMAGES, parameters))
    assert torch.allclose(targets, theirs.transform(LABELS, parameters), atol=1e-6)


def test_where_both_are_on_a_coin_chooses() -> None:
    found = [is_cutmix(mixed(seed, mixup=1.0, cutmix=1.0)[0]) for seed in range(300)]
    assert 0.4 < np.mean(found) < 0.6
    assert not any(is_cutmix(mixed(seed, mixup=1.0)[0]) for seed in range(20))
    assert all(is_cutmix(mixed(seed, cutmix=1.0)[0]) for seed in range(20))


def test_shares_are_drawn_from_the_beta_distribution() -> None:
    shares = [float(mixed(seed, mixup=0.4)[1][0, 0]) for seed in range(500)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)
    # Of Beta(a, a).
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * 0.4 + 1)), rel=0.1)


@given(height=st.integers(1, 300), width=st.integers(1, 300), share=st.floats(0, 1), seed=st.integers(0, 10_000))
def test_a_window_lies_in_the_image_and_covers_at_most_its_share(
    height: int, width: int, share: float, seed: int
) -> None:
    top, bottom, left, right = random_window(height, width, share, np.random.default_rng(seed))
    assert 0 <= top <= bottom <= height and 0 <= left <= right <= width
    side = math.sqrt(1 - share)
    assert bottom - top <= side * height and right - left <= side * width
    if 0 < top and bottom < height:
        assert bottom - top == 2 * int(side * height / 2)


def test_a_lone_image_is_mixed_with_itself() -> None:
    images, targets = mix(IMAGES[:1], LABELS[:1], num_classes=2, mixup=1.0, cutmix=0.0, rng=np.random.default_rng(0))
    assert torch.equal(images, IMAGES[:1])
    assert torch.equal(targets, torch.tensor([[1.0, 0.0]]))


@pytest.mark.parametrize("alphas", [(0.8, 0.0), (0.0, 1.0)])
def test_the_memory_format_and_dtype_stay(alphas: tuple[float, float]) -> None:
    images = IMAGES.bfloat16().contiguous(memory_format=torch.channels_last)
    found, targets = mix(
        images, LABELS, num_classes=BATCH, mixup=alphas[0], cutmix=alphas[1], rng=np.random.default_rng(1)
    )
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert (found.dtype, targets.dtype) == (torch.bfloat16, torch.float32)


def test_the_labels_of_mixed_images_are_a_union_in_which_no_needs_both() -> None:
    values = torch.tensor([1, 0, -1], dtype=torch.int8)
    first, second = values.repeat_interleave(3)[None], values.repeat(3)[None]
    assert union(first, second).tolist() == [[1, 1, 1, 1, 0, -1, 1, -1, -1]]
    assert union(first, second).dtype == torch.int8


@pytest.mark.parametrize("alphas", [(0.8, 0.0), (0.0, 0.2)], ids=["mixup", "cutmix"])
def test_a_mixed_image_has_the_labels_of_what_is_seen_in_it(alphas: tuple[float, float]) -> None:
    targets, partial = torch.eye(BATCH, dtype=torch.int8), 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        images, found = mix(IMAGES, targets, num_classes=BATCH, mixup=alphas[0], cutmix=alphas[1], rng=rng)
        # Every image is of a class of its own, so its column says whether it is seen.
        other = torch.cat([IMAGES[-1:], IMAGES[:-1]])
        sees_own, sees_other = not torch.equal(images, other), not torch.equal(images, IMAGES)
        expected = sees_own * targets + sees_other * targets.roll(1, 0)
        assert torch.equal(found, expected.to(torch.int8))
        partial += sees_own and sees_other
    assert partial > 5
