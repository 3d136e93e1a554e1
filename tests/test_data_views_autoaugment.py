"""The policies equal torchvision's, operation by operation, but use our own random generator."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode, RandAugment, TrivialAugmentWide
from torchvision.transforms.autoaugment import _apply_op

from resnet_cli.data.views import autoaugment
from resnet_cli.data.views.autoaugment import NUM_BINS, OPERATIONS, SIGNED, Policy, apply_policy, magnitude

FILL = (124, 116, 104)
POLICIES: tuple[Policy, ...] = ("randaugment", "trivialaugment")


def photo(width: int, height: int, kind: str = "noise") -> Image.Image:
    rng = np.random.default_rng(width * 1000 + height)
    side = {"noise": (height, width), "blobs": (5, 5), "flat": (1, 1)}[kind]
    pixels = rng.integers(10, 200, (*side, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def table(policy: Policy, width: int, height: int) -> dict[str, tuple[torch.Tensor, bool]]:
    """What torchvision itself uses: name -> (magnitudes, whether they are signed)."""
    wide, rand = TrivialAugmentWide(), RandAugment()
    is_rand = policy == "randaugment"
    found = rand._augmentation_space(NUM_BINS, (height, width)) if is_rand else wide._augmentation_space(NUM_BINS)
    return dict(found)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("size", [(224, 224), (128, 128), (32, 32), (160, 90)], ids=str)
def test_the_magnitudes_are_torchvisions(policy: Policy, size: tuple[int, int]) -> None:
    expected = table(policy, *size)
    assert list(OPERATIONS) == list(expected)
    assert {name for name, (_, signed) in expected.items() if signed} == SIGNED
    for name, (magnitudes, _) in expected.items():
        levels = magnitudes.expand(NUM_BINS) if magnitudes.ndim == 0 else magnitudes
        ours = [magnitude(policy, name, level, size) for level in range(NUM_BINS)]
        np.testing.assert_allclose(ours, levels.numpy(), rtol=1e-6, atol=1e-5, err_msg=name)
        if name == "Posterize":
            assert ours == levels.tolist()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("kind", ["noise", "blobs", "flat"])
def test_an_operation_is_torchvisions_bit_by_bit(name: str, policy: Policy, kind: str) -> None:
    for image in (photo(64, 64, kind), photo(61, 47, kind)):
        magnitudes, signed = table(policy, *image.size)[name]
        for value in magnitudes.reshape(-1).tolist():
            for signed_value in (value, -value) if signed else (value,):
                ours = OPERATIONS[name](image, signed_value, FILL)
                theirs = _apply_op(image, name, signed_value, InterpolationMode.BILINEAR, list(map(float, FILL)))
                np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs), err_msg=f"{name} {signed_value}")


@pytest.mark.parametrize("policy", get_args(Policy))
def test_a_policy_leaves_its_input_and_the_size_alone(policy: Policy) -> None:
    image = photo(40, 30)
    before = image.tobytes()
    for seed in range(100):
        result = apply_policy(policy, image, np.random.default_rng(seed), fill=FILL)
        assert (result.size, result.mode) == ((40, 30), "RGB")
    assert image.tobytes() == before


@given(policy=st.sampled_from(POLICIES), seed=st.integers(0, 2**32 - 1))
def test_a_policy_is_a_function_of_its_generator_alone(policy: Policy, seed: int) -> None:
    image = photo(24, 24)
    first = apply_policy(policy, image, np.random.default_rng(seed), fill=FILL)
    torch.rand(1)
    apply_policy(policy, image, np.random.default_rng(seed + 1), fill=FILL)
    assert apply_policy(policy, image, np.random.default_rng(seed), fill=FILL).tobytes() == first.tobytes()


@pytest.mark.parametrize(("policy", "per_image"), [("randaugment", 2), ("trivialaugment", 1)])
def test_every_operation_is_as_likely_as_any_other_and_half_are_negative(
    policy: Policy, per_image: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[tuple[str, float]] = []

    def note(name: str) -> autoaugment.Operation:
        return lambda image, value, _: used.append((name, value)) or image  # type: ignore[func-returns-value]

    monkeypatch.setattr(autoaugment, "OPERATIONS", {name: note(name) for name in OPERATIONS})
    rng, image = np.random.default_rng(0), photo(8, 8)
    for _ in range(2800):
        apply_policy(policy, image, rng, fill=FILL)
    assert len(used) == 2800 * per_image
    for name in OPERATIONS:
        values = [value for used_name, value in used if used_name == name]
        assert 140 * per_image < len(values) < 260 * per_image, name
        if name in SIGNED:
            negative = np.mean([value < 0 for value in values])
            assert 0.35 < negative < 0.6, name
        num_levels = len({abs(value) for value in values})
        has_levels = policy == "trivialaugment" and (name in SIGNED or name == "Solarize")
        assert num_levels > 25 if has_levels else num_levels <= 7, name


def test_none_is_the_image_itself() -> None:
    image = photo(9, 9)
    assert apply_policy("none", image, np.random.default_rng(0), fill=FILL) is image
