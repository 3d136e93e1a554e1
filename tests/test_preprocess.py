from __future__ import annotations

import dataclasses
import json
import math
import time
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import ResNet50_Weights
from torchvision.transforms import v2

from resnet_cli.errors import ModelError
from resnet_cli.preprocess import IMAGENET_MEAN, IMAGENET_STD, Interpolation, Preprocess

PRESET = Preprocess(resize_size=256, crop_size=224)


def noise(width: int, height: int) -> Image.Image:
    """The hardest content for a resampler: nothing that neighbouring pixels share."""
    rng = np.random.default_rng(width * 10_000 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def blobs(width: int, height: int) -> Image.Image:
    """Soft content, as out-of-focus photos have it."""
    return noise(5, 5).resize((width, height), Image.Resampling.BICUBIC)


def torchvisions(preprocess: Preprocess, image: Image.Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
    resize = v2.Resize(preprocess.resize_size, v2.InterpolationMode(preprocess.interpolation))
    return np.asarray(v2.CenterCrop(preprocess.crop_size)(resize(image)))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("resize_size", "crop_size"), [(256, 224), (232, 224), (224, 224), (73, 64)])
@pytest.mark.parametrize(
    "size", [(500, 375), (375, 500), (224, 224), (301, 299), (1, 1), (3, 2), (32, 32), (257, 100), (131, 17)], ids=str
)
def test_it_is_torchvisions_resize_and_centre_crop_bit_by_bit(
    size: tuple[int, int], resize_size: int, crop_size: int, interpolation: Interpolation
) -> None:
    preprocess = Preprocess(resize_size=resize_size, crop_size=crop_size, interpolation=interpolation)
    for image in (noise(*size), blobs(*size)):
        np.testing.assert_array_equal(preprocess(image), torchvisions(preprocess, image))


def test_a_picture_of_the_right_size_is_left_alone() -> None:
    image = noise(224, 224)
    np.testing.assert_array_equal(Preprocess(resize_size=224, crop_size=224)(image), np.asarray(image))


def test_one_pixel_fills_the_crop() -> None:
    pixels = PRESET(Image.new("RGB", (1, 1), (10, 20, 30)))
    np.testing.assert_array_equal(pixels, np.broadcast_to([10, 20, 30], (224, 224, 3)))


@pytest.mark.parametrize("size", [(1, 1_000_000), (1_000_000, 1)], ids=str)
def test_a_panorama_is_as_cheap_as_any_other_picture(size: tuple[int, int]) -> None:
    """Resized as a whole, its shorter side to 256, it would fill 262 GB."""
    image = blobs(*size)
    start = time.process_time()
    assert PRESET(image).shape == (224, 224, 3)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("size", [(10, 5000), (5000, 10)], ids=str)
def test_a_panorama_is_cropped_where_torchvision_crops_it(size: tuple[int, int]) -> None:
    image = blobs(*size)
    assert abs(PRESET(image).astype(int) - torchvisions(PRESET, image)).max() <= 1


def test_normalize_is_torchvisions() -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 9, 7), dtype=np.uint8))
    expected = v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)(pixels / 255)
    normalized = PRESET.normalize(pixels)
    assert normalized.dtype == torch.float32
    torch.testing.assert_close(normalized, expected, rtol=1e-5, atol=1e-6)


def test_normalize_leaves_its_input_alone() -> None:
    pixels = torch.full((1, 3, 2, 2), 7, dtype=torch.uint8)
    PRESET.normalize(pixels)
    assert pixels.eq(7).all()


@pytest.mark.parametrize("weights", list(ResNet50_Weights), ids=lambda weights: weights.name)
def test_a_preset_of_torchvision_gives_the_same_input(weights: ResNet50_Weights) -> None:
    preset = weights.transforms()
    preprocess = Preprocess(resize_size=preset.resize_size[0], crop_size=preset.crop_size[0])
    image = blobs(500, 375)
    got = preprocess.normalize(torch.tensor(preprocess(image)).permute(2, 0, 1)[None])[0]
    # Two levels of 255, divided by the smallest standard deviation.
    torch.testing.assert_close(got, preset(image), rtol=0, atol=2.01 / 255 / min(IMAGENET_STD))


def test_a_description_survives_json() -> None:
    preprocess = Preprocess(
        resize_size=73, crop_size=64, interpolation="bicubic", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)
    )
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess


NO_SIZES: list[Any] = ["256", None, 256.5, 0, -1, 10**9, math.nan, [256], {}, True]
NO_TRIPLES: list[Any] = [None, 0.5, "abc", [], [0.5], [0.5] * 4, ["a"] * 3, [[0.5]] * 3, [math.nan] * 3, [math.inf] * 3]
HOSTILE: dict[str, list[Any]] = {
    "unknown": [1],
    "resize_size": [*NO_SIZES, 223],
    "crop_size": [*NO_SIZES, 257],
    "interpolation": ["nearest", None, 2, [], {}],
    "mean": NO_TRIPLES,
    "std": [*NO_TRIPLES, [0.2, 0.2, 0], [0.2, 0.2, -0.2], [0.2, 0.2, 1e-320], [0.2, 0.2, 10**400]],
}


@pytest.mark.parametrize("change", [{name: value} for name, values in HOSTILE.items() for value in values], ids=str)
def test_a_hostile_description_is_a_model_error(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="preprocessing"):
        Preprocess.from_dict({**PRESET.to_dict(), **change})


@pytest.mark.parametrize("missing", ["resize_size", "crop_size"])
def test_a_description_without_its_sizes_is_a_model_error(missing: str) -> None:
    values = {name: value for name, value in PRESET.to_dict().items() if name != missing}
    with pytest.raises(ModelError, match=missing):
        Preprocess.from_dict(values)


def test_the_fingerprint_changes_with_every_field_and_with_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: dict[str, Any] = {
        "resize_size": 257,
        "crop_size": 223,
        "interpolation": "bicubic",
        "mean": (0.485, 0.456, 0.407),
        "std": (0.229, 0.224, 0.226),
    }
    assert changes.keys() == {field.name for field in dataclasses.fields(Preprocess)}
    prints = {dataclasses.replace(PRESET, **{name: value}).fingerprint() for name, value in changes.items()}
    prints.add(PRESET.fingerprint())
    assert PRESET.fingerprint() in prints
    monkeypatch.setattr("resnet_cli.preprocess.decoder_version", lambda: "another pillow")
    prints.add(PRESET.fingerprint())
    assert len(prints) == len(changes) + 2
