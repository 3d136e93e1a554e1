"""16-bit files: which of their bits become the 8 that a network sees."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from support.tiff_files import tiff_file, tiff_page
from test_images import gray

from resnet_cli.config.units import BIT_DEPTHS
from resnet_cli.errors import ImageError
from resnet_cli.images import decode_whole
from resnet_cli.images.wide import bits_needed, narrow

Values = NDArray[np.uint16]
#: Samples of a pixel -> color type. Source: PNG specification, section 11.2.2.
COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def values_of(bits: int, samples: int) -> Values:
    values = np.random.default_rng(bits).integers(0, 2**bits, (12, 16, samples), dtype=np.uint16)
    values[0, 0] = 2**bits - 1
    return values


def png(values: Values) -> bytes:
    """A 16-bit PNG; Pillow itself writes only gray ones."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, samples = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, COLOR_TYPES[samples], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(values: Values, **options: Any) -> bytes:
    samples = values.shape[2]
    tags = {338: (2,)} if samples == 4 else {}
    page = tiff_page(values if samples > 1 else values[..., 0], photometric=2 if samples > 1 else 1, tags=tags)
    return tiff_file(page, **options)


def compressed_tiff(values: Values) -> bytes:
    samples = values.shape[2]
    return tiff_file(tiff_page(values if samples > 1 else values[..., 0], photometric=min(samples, 2), deflate=True))


WRITERS = {
    "gray png": (png, 1),
    "color png": (png, 3),
    "gray tiff": (tiff, 1),
    "color tiff": (tiff, 3),
    "big-endian gray tiff": (lambda values: tiff(values, big_endian=True), 1),
    "big-endian color tiff": (lambda values: tiff(values, big_endian=True), 3),
    "compressed gray tiff": (compressed_tiff, 1),
    "compressed color tiff": (compressed_tiff, 3),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("bits", BIT_DEPTHS)
@pytest.mark.parametrize("bit_depth", [*BIT_DEPTHS, None])
def test_the_upper_eight_of_the_used_bits_are_the_pixels(kind: str, bits: int, bit_depth: int | None) -> None:
    write, samples = WRITERS[kind]
    values = values_of(bits, samples)
    data = write(values)
    if bit_depth is not None and bit_depth < bits:
        with pytest.raises(ImageError, match=f"need {bits} bits, more than the {bit_depth}"):
            decode_whole(data, "x", bit_depth=bit_depth)
        return
    found = decode_whole(data, "x", bit_depth=bit_depth)
    expected = (values >> ((bit_depth or bits) - 8)).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(found.image), expected if samples == 3 else gray(expected[..., 0]))
    # Of 16-bit colors at 16 bits only the upper bytes are read, which is enough to know the bits.
    assert found.bit_depth == bits


@pytest.mark.parametrize("kind", ["gray png", "color png", "gray tiff", "color tiff"])
@pytest.mark.parametrize("largest_alpha", [4095, 65535])
def test_alpha_is_opaque_at_its_own_largest_value(kind: str, largest_alpha: int) -> None:
    write, samples = WRITERS[kind]
    if kind == "gray tiff":
        pytest.importorskip("tifffile", reason="the extra formats is not installed")
        write = lambda values: tiff_file(tiff_page(values, photometric=1, tags={338: (2,)}))  # noqa: E731
    values = values_of(12, samples)
    opaque = np.full((12, 16, 1), largest_alpha, dtype=np.uint16)
    found = decode_whole(write(np.concatenate([values, opaque], axis=-1)), "x", bit_depth=12)
    expected = (values >> 4).astype(np.uint8)
    assert found.transparent
    np.testing.assert_array_equal(np.asarray(found.image), expected if samples == 3 else gray(expected[..., 0]))


def test_white_is_zero_of_the_used_bits() -> None:
    pytest.importorskip("tifffile", reason="the extra formats is not installed")
    values = values_of(12, 1)
    data = tiff_file(tiff_page(values[..., 0], photometric=0))
    expected = gray(255 - (values[..., 0] >> 4).astype(np.uint8))
    np.testing.assert_array_equal(np.asarray(decode_whole(data, "x", bit_depth=12).image), expected)


@pytest.mark.parametrize(("largest", "bit_depth"), [(1023, 16), (4095, 16), (4095, None), (65534, 12)])
def test_a_pgm_file_says_itself_what_its_largest_value_is(largest: int, bit_depth: int | None) -> None:
    values = np.linspace(0, largest, 192).astype(">u2").reshape(12, 16)
    found = decode_whole(b"P5 16 12 %d\n" % largest + values.tobytes(), "x.pgm", bit_depth=bit_depth)
    assert found.bit_depth == 0
    pixels = np.asarray(found.image)
    assert abs(pixels[..., 0] - values * (255 / largest)).max() <= 1 and pixels.max() == 255


def test_a_dark_pgm_file_of_all_sixteen_bits_is_dark() -> None:
    values = np.linspace(0, 255, 192).astype(">u2").reshape(12, 16)
    data = b"P5 16 12 65535\n" + values.tobytes()
    assert np.asarray(decode_whole(data, "x.pgm").image).max() == 0
    np.testing.assert_array_equal(
        np.asarray(decode_whole(data, "x.pgm", bit_depth=8).image), gray(values.astype(np.uint8))
    )


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "CMYK"])
def test_eight_bit_files_do_not_know_a_bit_depth(mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(data, "TIFF" if mode == "CMYK" else "PNG")
    found = [decode_whole(data.getvalue(), "x", bit_depth=bit_depth) for bit_depth in (8, 12, 16, None)]
    assert [one.bit_depth for one in found] == [0] * 4
    assert len({one.image.tobytes() for one in found}) == 1


@given(st.integers(0, 65535), st.sampled_from(BIT_DEPTHS))
def test_narrow_keeps_order_and_range(value: int, bit_depth: int) -> None:
    assert value < 2 ** bits_needed(value)
    if bits_needed(value) <= bit_depth:
        (pixel,), needed = narrow(np.array([value]), "x", bit_depth)
        assert needed == bits_needed(value)
        assert pixel == 256 * value // 2**bit_depth
