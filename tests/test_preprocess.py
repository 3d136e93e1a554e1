from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torchvision.models import ResNet50_Weights
from torchvision.transforms import v2

from resnet_cli.errors import ModelError
from resnet_cli.images import decoder_version
from resnet_cli.preprocess import IMAGENET_MEAN, IMAGENET_STD, MAX_ASPECT, Fit, Interpolation, Preprocess

PRESET = Preprocess(resize_size=256, crop_size=224)
FITS: tuple[Fit, ...] = ("crop", "pad", "squash")
SIZES = [(500, 375), (375, 500), (224, 224), (301, 299), (1, 1), (3, 2), (32, 32), (257, 100), (131, 17)]


def noise(width: int, height: int) -> Image.Image:
    """The hardest content for a resampler: neighboring pixels are independent."""
    rng = np.random.default_rng(width * 10_000 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def blobs(width: int, height: int) -> Image.Image:
    """Soft content, as in out-of-focus photos."""
    return noise(5, 5).resize((width, height), Image.Resampling.BICUBIC)


def torchvisions(preprocess: Preprocess, image: Image.Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
    resize = v2.Resize(preprocess.resize_size, v2.InterpolationMode(preprocess.interpolation))
    return np.asarray(v2.CenterCrop(preprocess.crop_size)(resize(image)))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("resize_size", "crop_size"), [(256, 224), (232, 224), (224, 224), (73, 64)])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_it_is_torchvisions_resize_and_centre_crop_bit_by_bit(
    size: tuple[int, int], resize_size: int, crop_size: int, interpolation: Interpolation
) -> None:
    preprocess = Preprocess(resize_size=resize_size, crop_size=crop_size, interpolation=interpolation)
    for image in (noise(*size), blobs(*size)):
        np.testing.assert_array_equal(preprocess(image), torchvisions(preprocess, image))


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 260), st.integers(1, 260)),
    scale=st.sampled_from([(1, 1), (2, 1), (3, 2), (2, 3), (1, 4)]),
    resize_size=st.sampled_from([16, 64, 73, 128, 256]),
    share=st.floats(0.05, 1),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
)
def test_what_the_crop_discards_is_left_out_without_changing_a_bit(
    size: tuple[int, int], scale: tuple[int, int], resize_size: int, share: float, interpolation: Interpolation
) -> None:
    crop_size = max(1, round(share * resize_size))
    preprocess = Preprocess(resize_size=resize_size, crop_size=crop_size, interpolation=interpolation)
    # Sides in simple ratios are those of photos, for which a part of both axes is left out.
    for width, height in (size, (scale[0] * size[0], scale[1] * size[0])):
        image = noise(width, height)
        new = [int(resize_size * side / min(width, height)) for side in (width, height)]
        if max(new) > MAX_ASPECT * resize_size:
            # A panorama is never resized as a whole.
            continue
        left, top = (round((side - crop_size) / 2) for side in new)
        whole = image.resize((new[0], new[1]), Image.Resampling[interpolation.upper()])
        expected = whole.crop((left, top, left + crop_size, top + crop_size))
        np.testing.assert_array_equal(preprocess(image), np.asarray(expected))


@pytest.mark.parametrize(
    ("size", "computed"),
    [((500, 375), (341, 224)), ((375, 500), (224, 341)), ((600, 400), (224, 224)), ((32, 32), (224, 224))],
    ids=str,
)
def test_only_the_part_that_the_crop_keeps_is_resized_where_that_is_exact(
    size: tuple[int, int], computed: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    resize = Image.Image.resize

    def record(image: Image.Image, new: tuple[int, int], *rest: Any) -> Image.Image:
        asked.append(new)
        return resize(image, new, *rest)

    image = noise(*size)
    monkeypatch.setattr(Image.Image, "resize", record)
    PRESET(image)
    assert asked == [computed]


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = noise(224, 224)
    np.testing.assert_array_equal(Preprocess(resize_size=224, crop_size=224)(image), np.asarray(image))


def test_one_pixel_fills_the_crop() -> None:
    pixels = PRESET(Image.new("RGB", (1, 1), (10, 20, 30)))
    np.testing.assert_array_equal(pixels, np.broadcast_to([10, 20, 30], (224, 224, 3)))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pad_keeps_the_whole_image_and_its_aspect_on_the_mean_colour(
    size: tuple[int, int], interpolation: Interpolation
) -> None:
    preprocess = Preprocess(resize_size=224, crop_size=224, interpolation=interpolation, fit="pad")
    image = noise(*size)
    expected = ImageOps.pad(image, (224, 224), Image.Resampling[interpolation.upper()], (124, 116, 104))
    np.testing.assert_array_equal(preprocess(image), np.asarray(expected))


def test_what_pad_adds_is_about_zero_for_the_network() -> None:
    pixels = torch.tensor(PRESET.with_fit("pad")(noise(500, 100))).permute(2, 0, 1)[None]
    bar = PRESET.normalize(pixels)[:, :, :80]
    assert bar.abs().max() < 0.01


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", SIZES[:-1], ids=str)
def test_squash_is_torchvisions_resize_to_a_square_bit_by_bit(
    size: tuple[int, int], interpolation: Interpolation
) -> None:
    preprocess = Preprocess(resize_size=64, crop_size=64, interpolation=interpolation, fit="squash")
    image = noise(*size)
    expected = v2.Resize((64, 64), v2.InterpolationMode(interpolation))(image)
    np.testing.assert_array_equal(preprocess(image), np.asarray(expected))


@pytest.mark.parametrize("fit", FITS)
def test_a_square_without_margin_is_the_same_whatever_the_fit(fit: Fit) -> None:
    preprocess = Preprocess(resize_size=64, crop_size=64)
    np.testing.assert_array_equal(preprocess.with_fit(fit)(noise(99, 99)), preprocess(noise(99, 99)))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(1, 1_000_000), (1_000_000, 1), (50, 50_000)], ids=str)
def test_a_panorama_is_as_cheap_as_any_other_image(size: tuple[int, int], fit: Fit) -> None:
    """Resized as a whole, its shorter side to 256, it would fill 262 GB; squashed in one go, 900 MB on the way."""
    image = blobs(*size)
    start = time.thread_time()
    assert PRESET.with_fit(fit)(image).shape == (224, 224, 3)
    assert time.thread_time() - start < 0.5


@pytest.mark.parametrize("size", [(40, 4000), (4000, 40)], ids=str)
@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_a_panorama_is_resized_by_the_filter_alone_with_its_longer_side_first(size: tuple[int, int], fit: Fit) -> None:
    preprocess, image = PRESET.with_fit(fit), noise(*size)
    inner = (224, 224) if fit == "squash" else tuple(max(1, round(224 * side / 4000)) for side in size)
    between = (inner[0], size[1]) if size[0] > size[1] else (size[0], inner[1])
    expected = image.resize(between, Image.Resampling.BILINEAR).resize((inner[0], inner[1]), Image.Resampling.BILINEAR)
    left, top = (round((224 - side) / 2) for side in inner)
    found = preprocess(image)[top : top + inner[1], left : left + inner[0]]
    np.testing.assert_array_equal(found, np.asarray(expected))


@pytest.mark.parametrize("size", [(10, 5000), (5000, 10)], ids=str)
def test_a_panorama_is_cropped_where_torchvision_crops_it(size: tuple[int, int]) -> None:
    image = blobs(*size)
    assert abs(PRESET(image).astype(int) - torchvisions(PRESET, image)).max() <= 1


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [128, 160, 224, 288])
def test_another_size_is_the_same_geometry(size: int, fit: Fit) -> None:
    preprocess = PRESET.with_fit(fit).with_size(size)
    assert preprocess(blobs(500, 375)).shape == (size, size, 3)
    assert Preprocess.from_dict(preprocess.to_dict()) == preprocess
    small = Image.fromarray(preprocess(blobs(500, 375))).resize((32, 32))
    same = Image.fromarray(PRESET.with_fit(fit)(blobs(500, 375))).resize((32, 32))
    assert abs(np.asarray(small).astype(int) - np.asarray(same)).mean() < 3


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


@pytest.mark.parametrize("fit", FITS)
def test_a_description_survives_json(fit: Fit) -> None:
    preprocess = Preprocess(
        resize_size=73, crop_size=64, interpolation="bicubic", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)
    ).with_fit(fit)
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess


def test_a_description_and_a_fingerprint_of_a_crop_are_what_they_were_before_there_was_a_fit() -> None:
    before = {
        "resize_size": 256,
        "crop_size": 224,
        "interpolation": "bilinear",
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
    }
    assert PRESET.to_dict() == before
    assert Preprocess.from_dict(before) == PRESET == Preprocess.from_dict({**before, "fit": "crop"})
    text = json.dumps([before, decoder_version()], sort_keys=True)
    assert PRESET.fingerprint() == hashlib.sha256(text.encode()).hexdigest()


NO_SIZES: list[Any] = ["256", None, 256.5, 0, -1, 10**9, math.nan, [256], {}, True]
NO_TRIPLES: list[Any] = [None, 0.5, "abc", [], [0.5], [0.5] * 4, ["a"] * 3, [[0.5]] * 3, [math.nan] * 3, [math.inf] * 3]
HOSTILE: dict[str, list[Any]] = {
    "unknown": [1],
    "resize_size": [*NO_SIZES, 223],
    "crop_size": [*NO_SIZES, 257],
    "interpolation": ["nearest", None, 2, [], {}],
    "mean": NO_TRIPLES,
    "std": [*NO_TRIPLES, [0.2, 0.2, 0], [0.2, 0.2, -0.2], [0.2, 0.2, 1e-320], [0.2, 0.2, 10**400]],
    # Neither pads nor squashes: PRESET's sizes are those of a crop.
    "fit": ["stretch", "", None, 1, [], {}, ["pad"], "pad", "squash"],
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
        "fit": "squash",
        "bit_depth": 12,
    }
    assert changes.keys() == {field.name for field in dataclasses.fields(Preprocess)}
    prints = {dataclasses.replace(PRESET, **{name: value}).fingerprint() for name, value in changes.items()}
    prints.add(PRESET.fingerprint())
    assert PRESET.fingerprint() in prints
    monkeypatch.setattr("resnet_cli.preprocess.decoder_version", lambda *_: "another pillow")
    prints.add(PRESET.fingerprint())
    assert len(prints) == len(changes) + 2


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("size", [(300, 200), (200, 300), (128, 128), (61, 47), (2000, 30)])
def test_what_the_network_sees_of_an_image_is_where_the_preprocessing_takes_it(fit: Fit, size: tuple[int, int]) -> None:
    preprocess = Preprocess(resize_size=72, crop_size=64).with_fit(fit)
    width, height = size
    # Red grows to the right and green downwards: a pixel of the input tells where it comes from.
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.linspace(0, 255, width), np.linspace(0, 255, height)[:, None]
    (left, top, right, bottom), (x0, y0, x1, y1) = preprocess.seen(width, height)
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    part = preprocess(Image.fromarray(ramp))[y0:y1, x0:x1].astype(float)
    for values, start, end, length in ((part[..., 0], left, right, width), (part[..., 1].T, top, bottom, height)):
        wanted = 255 * (start + (end - start) * np.array([0.25, 0.5, 0.75])) / length
        places = (values.shape[1] * np.array([0.25, 0.5, 0.75])).astype(int)
        # Half a pixel of the input, and what rounding to levels adds.
        tolerance = 2 + 255 * (end - start) / length / values.shape[1]
        if values.shape[1] >= 8:
            assert np.abs(values.mean(axis=0)[places] - wanted).max() <= tolerance
