from __future__ import annotations

import io
import logging
import re
import struct
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.tiff_files import tiff_file, tiff_page
from test_images import UPRIGHT, gray, over_white

from resnet_cli.errors import ImageError, SetupError
from resnet_cli.images import decode, decode_whole, decoding, missing_library_command

RNG = np.random.default_rng(0)
WIDE = RNG.integers(0, 65536, (20, 30), dtype=np.uint16)
WIDE_RGB = RNG.integers(0, 65536, (20, 30, 3), dtype=np.uint16)


@pytest.fixture(autouse=True)
def fresh_warning_filters() -> None:
    # pytest restores the filters after each test; decode() sets its own once per process.
    decoding._treat_bombs_as_errors.cache_clear()


def needs_tifffile() -> None:
    pytest.importorskip("tifffile", reason="the extra formats is not installed")
    pytest.importorskip("imagecodecs", reason="the extra formats is not installed")


def pixels(data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(decode(data, "x.tif"))


def refusal(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, "x.tif")
    assert caught.value.path == "x.tif" and "\n" not in caught.value.reason
    return caught.value.reason


ENCODINGS = [
    (deflate, big_endian, big) for deflate in (False, True) for big_endian in (False, True) for big in (False, True)
]
encodings = pytest.mark.parametrize(("deflate", "big_endian", "big"), ENCODINGS)


@encodings
def test_sixteen_bit_planes_of_colors_are_their_upper_bytes(deflate: bool, big_endian: bool, big: bool) -> None:
    needs_tifffile()
    page = tiff_page(WIDE_RGB, photometric=2, planar=True, deflate=deflate)
    np.testing.assert_array_equal(pixels(tiff_file(page, big_endian=big_endian, big=big)), WIDE_RGB >> 8)


@encodings
def test_sixteen_bit_gray_in_which_white_is_zero_is_no_negative(deflate: bool, big_endian: bool, big: bool) -> None:
    needs_tifffile()
    page = tiff_page(WIDE, photometric=0, deflate=deflate)
    expected = gray((255 - (WIDE >> 8)).astype(np.uint8))
    np.testing.assert_array_equal(pixels(tiff_file(page, big_endian=big_endian, big=big)), expected)


@encodings
def test_gray_and_colors_of_sixteen_bits_are_their_upper_bytes(deflate: bool, big_endian: bool, big: bool) -> None:
    if big and big_endian:
        needs_tifffile()
    of_gray = tiff_file(tiff_page(WIDE, photometric=1, deflate=deflate), big_endian=big_endian, big=big)
    np.testing.assert_array_equal(pixels(of_gray), gray((WIDE >> 8).astype(np.uint8)))
    of_color = tiff_file(tiff_page(WIDE_RGB, photometric=2, deflate=deflate), big_endian=big_endian, big=big)
    np.testing.assert_array_equal(pixels(of_color), WIDE_RGB >> 8)
    assert decode_whole(of_gray, "x.tif").mode.startswith("I;16")
    assert decode_whole(of_color, "x.tif").mode == "RGB;16"


def test_what_tifffile_decodes_is_cut_to_eight_bits_whatever_the_compression() -> None:
    needs_tifffile()
    import tifffile

    for compression in (None, "lzw", "zlib", "packbits"):
        for predictor in (False, True) if compression in ("lzw", "zlib") else (False,):
            for tile in (None, (16, 16)):
                file = io.BytesIO()
                options: Any = {"compression": compression, "predictor": predictor, "tile": tile}
                tifffile.imwrite(file, WIDE, photometric="miniswhite", **options)
                stored = tifffile.imread(io.BytesIO(file.getvalue()))
                expected = gray((255 - (stored >> 8)).astype(np.uint8))
                np.testing.assert_array_equal(pixels(file.getvalue()), expected, str(options))


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["Pillow, 8 bits", "Pillow, 16 bits", "tifffile, gray", "tifffile, planes"])
def test_every_orientation_comes_out_upright_once(kind: str, orientation: int) -> None:
    tags = {274: (orientation,)}
    if kind.startswith("tifffile"):
        needs_tifffile()
    narrow = (WIDE_RGB >> 8).astype(np.uint8)
    data, stored = {
        "Pillow, 8 bits": (tiff_file(tiff_page(narrow, photometric=2, tags=tags)), narrow),
        "Pillow, 16 bits": (tiff_file(tiff_page(WIDE, photometric=1, tags=tags)), gray((WIDE >> 8).astype(np.uint8))),
        "tifffile, gray": (
            tiff_file(tiff_page(65535 - WIDE, photometric=0, tags=tags)),
            gray((WIDE >> 8).astype(np.uint8)),
        ),
        "tifffile, planes": (tiff_file(tiff_page(WIDE_RGB, photometric=2, planar=True, tags=tags)), narrow),
    }[kind]
    np.testing.assert_array_equal(pixels(data), UPRIGHT[orientation](stored))


def test_transparency_of_sixteen_bits_is_composited_on_white() -> None:
    needs_tifffile()
    values = RNG.integers(0, 65536, (20, 30, 4), dtype=np.uint16)
    narrow = (values >> 8).astype(np.uint8)
    planes = decode_whole(tiff_file(tiff_page(values, photometric=2, planar=True, tags={338: (2,)})), "x.tif")
    expected = over_white(narrow[..., :3], narrow[..., 3])
    assert planes.transparent and abs(np.asarray(planes.image) - expected).max() <= 1
    of_gray = tiff_file(tiff_page(values[..., :2], photometric=1, tags={338: (2,)}))
    assert abs(pixels(of_gray) - over_white(gray(narrow[..., 0]), narrow[..., 1])).max() <= 1


def test_packed_twelve_bits_are_scaled_by_what_the_file_says() -> None:
    needs_tifffile()
    values = RNG.integers(0, 4096, (20, 30), dtype=np.uint16)
    pairs = values.reshape(-1, 2).astype(np.uint32)
    packed = (pairs[:, 0] << 12) | pairs[:, 1]
    row = np.stack([packed >> 16, packed >> 8, packed], axis=-1).astype(np.uint8).reshape(20, 45)
    data = tiff_file(tiff_page(row, photometric=1, tags={256: (30,), 258: (12,)}))
    np.testing.assert_array_equal(pixels(data), gray((values >> 4).astype(np.uint8)))


@pytest.mark.parametrize(
    ("values", "photometric", "reason"),
    [
        (WIDE.astype(np.int16), 1, r"int16.*brightness range"),
        (WIDE.astype(np.int16), 0, r"int16"),
        (WIDE.astype(np.uint32), 1, r"uint32.*gdal_translate"),
        (WIDE.astype(np.uint32), 0, r"uint32"),
        (WIDE_RGB.astype(np.uint32), 2, r"uint32"),
        (WIDE.astype(np.int32) * 4, 1, r"int32"),
        (WIDE.astype(np.int8), 1, r"int8"),
        (WIDE.astype(np.uint64), 1, r"64-bit integer"),
        (WIDE.astype(np.float32), 1, r"32-bit floating-point.*brightness range"),
        (WIDE.astype(np.float64), 1, r"64-bit floating-point"),
        (WIDE_RGB.astype(np.float32), 2, r"floating-point"),
        (RNG.integers(0, 65536, (20, 30, 13), dtype=np.uint16), 1, r"13 bands.*red, green and blue.*gdal_translate"),
        (RNG.integers(0, 256, (20, 30, 13), dtype=np.uint8), 1, r"13 bands"),
        (RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8), 1, r"3 bands"),
        (RNG.integers(0, 65536, (20, 30, 2), dtype=np.uint16), 1, r"2 bands"),
    ],
)
@encodings
def test_measurements_and_bands_are_refused_by_name(
    values: np.ndarray[Any, Any], photometric: int, reason: str, deflate: bool, big_endian: bool, big: bool
) -> None:
    for planar in (False, True) if values.ndim == 3 else (False,):
        page = tiff_page(values, photometric=photometric, planar=planar, deflate=deflate)
        text = refusal(tiff_file(page, big_endian=big_endian, big=big))
        assert re.search(reason, text), text


def test_pillow_is_not_asked_about_bands_which_it_would_log(caplog: pytest.LogCaptureFixture) -> None:
    values = RNG.integers(0, 65536, (20, 30, 13), dtype=np.uint16)
    with caplog.at_level(logging.DEBUG):
        refusal(tiff_file(tiff_page(values, photometric=1)))
    assert not caplog.records


def test_integers_that_hold_eight_or_sixteen_bits_are_still_read() -> None:
    low = WIDE % 256
    for kind in (np.int16, np.int32, np.uint32):
        page = tiff_page(low.astype(kind), photometric=1)
        np.testing.assert_array_equal(pixels(tiff_file(page)), gray(low.astype(np.uint8)))
    # As Pillow saves a 16-bit image of its mode I.
    data = io.BytesIO()
    Image.fromarray(WIDE.astype(np.int32)).save(data, "TIFF")
    np.testing.assert_array_equal(pixels(data.getvalue()), gray((WIDE >> 8).astype(np.uint8)))


def rgb_page(height: int = 20, width: int = 30, color: int = 200, **tags: int) -> Any:
    numbers = {"new_subfile": 254, "depth": 32997}
    values = np.full((height, width, 3), color, dtype=np.uint8)
    return tiff_page(values, photometric=2, tags={numbers[name]: (value,) for name, value in tags.items()})


def test_several_pages_are_refused_by_name() -> None:
    for others in (
        [rgb_page()],
        [rgb_page(7, 9)],
        [rgb_page(new_subfile=1), rgb_page(40, 60)],
        [rgb_page(new_subfile=2)],
    ):
        assert "several pages" in refusal(tiff_file(rgb_page(), *others))
    frames = [Image.new("RGB", (30, 20), color) for color in ("#ff0000", "#00ff00")]
    data = io.BytesIO()
    frames[0].save(data, "TIFF", save_all=True, append_images=frames[1:])
    assert "tiffsplit" in refusal(data.getvalue())


def test_reduced_copies_and_masks_after_the_image_are_no_further_pages() -> None:
    for others in (
        [rgb_page(5, 7, new_subfile=1)],
        [rgb_page(20, 30, new_subfile=4)],
        [rgb_page(10, 15), rgb_page(5, 7)],
    ):
        assert pixels(tiff_file(rgb_page(), *others)).shape == (20, 30, 3)


def test_a_thumbnail_before_the_image_is_not_taken_for_it() -> None:
    assert "reduced copy" in refusal(tiff_file(rgb_page(5, 7, new_subfile=1), rgb_page()))
    # Alone, it is the image.
    assert pixels(tiff_file(rgb_page(5, 7, new_subfile=1))).shape == (5, 7, 3)


def test_a_volume_is_refused_by_name() -> None:
    assert "12 slices" in refusal(tiff_file(rgb_page(depth=12)))


def test_pages_that_follow_each_other_in_a_circle_end() -> None:
    data = bytearray(tiff_file(rgb_page()))
    (first,) = struct.unpack_from("<I", data, 4)
    data[-4:] = struct.pack("<I", first)
    assert "several pages" in refusal(bytes(data))


def test_values_that_all_name_the_whole_file_are_refused_before_they_are_read() -> None:
    entries = b"".join(struct.pack("<HHII", tag, 2, 1000, 8) for tag in range(40_000, 40_008))
    data = b"II*\0" + struct.pack("<I", 1008) + bytes(1000) + struct.pack("<H", 8) + entries + bytes(4)
    assert "overlap" in refusal(data)


def test_a_tag_with_two_values_is_refused() -> None:
    # Libraries differ in which of the two they take.
    data = bytearray(tiff_file(rgb_page(new_subfile=0)))
    at = data.index(struct.pack("<HHII", 254, 4, 1, 0))
    data[at : at + 12] = struct.pack("<HHII", 277, 4, 1, 1)
    assert "two different values of tag 277" in refusal(bytes(data))


@pytest.mark.parametrize("side", [512, 2048])
def test_images_and_tiles_above_the_limit_are_refused_before_they_are_decoded(
    side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnet_cli.images.tiff._MAX_TILE_PIXELS", 600)
    page = tiff_page(WIDE, photometric=0, tags={256: (side,), 257: (side,), 278: (side,)})
    pages = [
        page,
        *(tiff_page(WIDE, photometric=kind, deflate=True, tags={322: (side,), 323: (side,)}) for kind in (0, 1)),
    ]
    for data in map(tiff_file, pages):
        with pytest.raises(ImageError, match="more than the limit"):
            decode(data, "x.tif", max_pixels=600)


def test_a_small_image_may_be_part_of_a_usual_tile() -> None:
    data = io.BytesIO()
    Image.fromarray(WIDE).save(data, "TIFF", compression="tiff_adobe_deflate", tiffinfo={322: 256, 323: 256})
    assert decode(data.getvalue(), "x.tif", max_pixels=600).size == (30, 20)


def test_a_file_that_only_tifffile_reads_names_the_extra_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tifffile", "imagecodecs"):
        monkeypatch.setitem(sys.modules, name, None)
    for page in (tiff_page(WIDE, photometric=0), tiff_page(WIDE_RGB, photometric=2, planar=True)):
        with pytest.raises(ImageError, match=r"tifffile.*\[formats\]") as caught:
            decode(tiff_file(page), "x.tif")
        # The index of scanned images does not remember such an error, and the hint is the command.
        assert "[formats]" in missing_library_command(caught.value.reason)
        assert isinstance(caught.value.__cause__, SetupError)
    # What Pillow reads right does not need it.
    assert pixels(tiff_file(tiff_page(WIDE, photometric=1))).shape == (20, 30, 3)


SOUND = {
    "planes": tiff_page(WIDE_RGB, photometric=2, planar=True),
    "white is zero": tiff_page(WIDE, photometric=0, deflate=True),
    "gray": tiff_page(WIDE, photometric=1),
    "signed": tiff_page((WIDE % 256).astype(np.int16), photometric=1),
}


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize(("big_endian", "big"), [(False, False), (True, False), (False, True), (True, True)])
def test_a_cut_file_is_refused_or_gives_the_whole_image(name: str, big_endian: bool, big: bool) -> None:
    needs_tifffile()
    whole = tiff_file(SOUND[name], big_endian=big_endian, big=big)
    try:
        expected = pixels(whole)
    except ImageError:
        pytest.skip("this kind is refused")
    for cut in sorted({*range(1, 60), *range(0, len(whole), len(whole) // 40), *range(len(whole) - 30, len(whole))}):
        try:
            got = pixels(whole[:cut])
        except ImageError:
            continue
        np.testing.assert_array_equal(got, expected)


@given(
    name=st.sampled_from(sorted(SOUND)),
    big_endian=st.booleans(),
    big=st.booleans(),
    edits=st.lists(st.tuples(st.integers(-600, 40), st.binary(max_size=8)), max_size=6),
)
def test_altered_bytes_give_an_image_or_an_image_error(
    name: str, big_endian: bool, big: bool, edits: list[tuple[int, bytes]]
) -> None:
    data = bytearray(tiff_file(SOUND[name], big_endian=big_endian, big=big))
    for position, patch in edits:
        # The header is at the beginning and the tags are at the end.
        start = position % len(data)
        data[start : start + len(patch)] = patch
    try:
        image = decode(bytes(data), "x", max_pixels=10_000)
    except ImageError:
        return
    assert image.mode == "RGB" and 1 <= image.width * image.height <= 10_000
