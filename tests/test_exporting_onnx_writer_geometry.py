"""The graph's preprocessing gives the pixels that ``Preprocess`` gives."""

from __future__ import annotations

import functools
from itertools import product

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from resnet_cli.engines.graph import GraphWriter
from resnet_cli.exporting.onnx_writer.geometry import add_preprocessing
from resnet_cli.images import Pixels
from resnet_cli.preprocess import Fit, Interpolation, Preprocess

FITS: tuple[Fit, ...] = ("crop", "pad", "squash")
#: Of the square: more than one tile of output pixels, and not a whole number of them.
SIDE, RESIZED = 40, 46


def described(fit: Fit, interpolation: Interpolation = "bilinear") -> Preprocess:
    return Preprocess(resize_size=RESIZED, crop_size=SIDE, interpolation=interpolation).with_fit(fit)


@functools.cache
def session_of(preprocess: Preprocess) -> onnxruntime.InferenceSession:
    graph = GraphWriter()
    add_preprocessing(graph, "pictures", preprocess, name="images")
    side = preprocess.crop_size
    made = graph.build({"pictures": (np.uint8, ["b", "h", "w", 3])}, {"images": ["b", 3, side, side]})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])


def in_graph(preprocess: Preprocess, photos: Pixels) -> Pixels:
    """Whole levels [b x s x s x 3]: what the graph normalised, taken back."""
    (images,) = session_of(preprocess).run(None, {"pictures": photos})
    levels = images.transpose(0, 2, 3, 1) * (255 * np.array(preprocess.std)) + 255 * np.array(preprocess.mean)
    whole = np.round(levels)
    assert np.abs(levels - whole).max() < 1e-3
    found: Pixels = whole.astype(np.uint8)
    return found


def noise(width: int, height: int, seed: int = 0) -> Pixels:
    return np.random.default_rng((seed, width, height)).integers(0, 256, (height, width, 3), dtype=np.uint8)


def furthest(preprocess: Preprocess, pixels: Pixels) -> int:
    """The largest difference between graph and ``Preprocess``, in levels."""
    expected = preprocess(Image.fromarray(pixels)).astype(int)
    return int(np.abs(in_graph(preprocess, pixels[None])[0].astype(int) - expected).max())


@pytest.mark.parametrize(("fit", "interpolation"), list(product(FITS, ("bilinear", "bicubic"))))
@pytest.mark.parametrize(
    "size",
    [(46, 46), (40, 40), (1, 1), (3, 5), (97, 450), (45, 64), (500, 375), (375, 500), (1201, 1600), (80, 640)],
    ids=lambda size: "x".join(map(str, size)),
)
def test_pixels_are_pillows_bit_by_bit(size: tuple[int, int], fit: Fit, interpolation: Interpolation) -> None:
    assert furthest(described(fit, interpolation), noise(*size)) == 0


@given(st.integers(1, 300), st.integers(1, 300))
@settings(max_examples=60)
def test_any_size_is_cropped_as_pillow_crops_it(width: int, height: int) -> None:
    assert furthest(described("crop"), noise(width, height)) == 0


@given(st.integers(1, 300), st.integers(1, 300))
@settings(max_examples=60)
def test_any_size_is_padded_as_pillow_pads_it(width: int, height: int) -> None:
    assert furthest(described("pad"), noise(width, height)) == 0


@pytest.mark.parametrize("size", [(1, 30), (3, 200), (200, 3), (2000, 20), (20, 2000), (50, 9000), (9000, 50)])
@pytest.mark.parametrize(("fit", "interpolation"), list(product(FITS, ("bilinear", "bicubic"))))
def test_panoramas_are_resized_bit_by_bit(size: tuple[int, int], fit: Fit, interpolation: Interpolation) -> None:
    assert furthest(described(fit, interpolation), noise(*size)) == 0


@pytest.mark.parametrize("fit", FITS)
def test_images_of_a_batch_do_not_see_each_other(fit: Fit) -> None:
    photos = np.stack([noise(70, 50, seed) for seed in range(3)])
    together = in_graph(described(fit), photos)
    for photo, found in zip(photos, together, strict=True):
        assert (in_graph(described(fit), photo[None])[0] == found).all()


def test_before_pillow_13_every_image_is_resized_horizontally_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def num_products(version: str) -> int:
        monkeypatch.setattr("PIL.__version__", version)
        graph = GraphWriter()
        add_preprocessing(graph, "pictures", described("crop"), name="images")
        return [node.op_type for node in graph.nodes].count("MatMul")

    # Later, both orders are in the graph, and the size of the image chooses between them.
    assert num_products("13.0.0") == 2 * num_products("12.1.0")
