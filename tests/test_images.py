from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.errors import ImageError
from resnet_cli.images import FORMATS, MAX_PIXELS, decode, decode_whole, decoding, is_image_name, read_image

Pixels = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def fresh_warning_filters() -> None:
    # pytest restores the filters after each test; decode() sets its own once per process.
    decoding._treat_bombs_as_errors.cache_clear()


def noise(height: int = 20, width: int = 30, channels: int = 3, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def encode(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, file_format, **options)
    return data.getvalue()


def decoded(data: bytes) -> Pixels:
    image = decode(data, "x")
    assert image.mode == "RGB"
    return np.asarray(image)


def gray(values: Pixels) -> Pixels:
    return np.repeat(values[..., None], 3, axis=-1)


def over_white(colour: Pixels, alpha: Pixels) -> NDArray[np.float64]:
    share = alpha[..., None] / 255
    return colour * share + 255 * (1 - share)


# Source: Exif 2.32, 4.6.4 A, Orientation: where row 0 and column 0 of the stored pixels lie.
UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: p.transpose(1, 0, 2)[:, ::-1],
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: p.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
def test_every_exif_orientation_comes_out_upright(orientation: int, file_format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"lossless": True} if file_format == "WEBP" else {}
    data = encode(Image.fromarray(noise()), file_format, exif=exif, **options)
    np.testing.assert_array_equal(decoded(data), UPRIGHT[orientation](noise()))


def exif_block(*entries: tuple[int, int, int, int], tail: bytes = b"") -> bytes:
    """An EXIF block of (tag, type, count, value or offset) entries, well formed or not."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed + bytes(4) + tail


ROTATED = (0x0112, 3, 1, 6)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0garbage",
        exif_block((0x0112, 3, 1, 99)),
        exif_block((0x0112, 2, 4, 0)),
        exif_block(*[(0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF)] * 3),
        exif_block(ROTATED)[:20],
    ],
    ids=["no header", "unknown orientation", "text orientation", "nonsense", "cut"],
)
def test_a_damaged_exif_block_does_not_spoil_a_sound_image(file_format: str, exif: bytes) -> None:
    assert decoded(encode(Image.fromarray(noise()), file_format, exif=exif)).shape == (20, 30, 3)


@pytest.mark.parametrize(
    "odd",
    # Pillow reads each of these tags and fails to write it again.
    [(0x010F, 5, 1, 8), (0x011A, 2, 4, 0x41), (0x0128, 4, 1, 2**31)],
    ids=["rational maker", "text resolution", "huge unit"],
)
def test_a_rotated_image_with_odd_exif_tags_is_still_turned(odd: tuple[int, int, int, int]) -> None:
    exif = exif_block(*sorted([odd, ROTATED]), tail=bytes(range(64)))
    data = encode(Image.fromarray(noise()), exif=exif)
    np.testing.assert_array_equal(decoded(data), UPRIGHT[6](noise()))


def test_gray_has_three_equal_channels() -> None:
    values = noise()[..., 0]
    np.testing.assert_array_equal(decoded(encode(Image.fromarray(values))), gray(values))


def test_one_bit_is_black_and_white() -> None:
    bits = noise()[..., 0] > 127
    data = encode(Image.fromarray(bits))
    np.testing.assert_array_equal(decoded(data), gray(np.where(bits, 255, 0).astype(np.uint8)))


def test_a_palette_gives_its_colours_and_its_transparent_entry_is_white() -> None:
    palette = noise(1, 8, seed=1)[0]
    indices = noise()[..., 0] % 8
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    np.testing.assert_array_equal(decoded(encode(image)), palette[indices])
    palette_over_white = palette.copy()
    palette_over_white[3] = 255
    np.testing.assert_array_equal(decoded(encode(image, transparency=3)), palette_over_white[indices])


def test_one_transparent_colour_is_white() -> None:
    pixels = noise()
    expected = pixels.copy()
    expected[(pixels == pixels[4, 5]).all(axis=-1)] = 255
    data = encode(Image.fromarray(pixels), transparency=tuple(pixels[4, 5].tolist()))
    np.testing.assert_array_equal(decoded(data), expected)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_composited_on_white(file_format: str) -> None:
    pixels = noise(channels=4)
    options: dict[str, Any] = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    got = decoded(encode(Image.fromarray(pixels), file_format, **options))
    assert abs(got - over_white(pixels[..., :3], pixels[..., 3])).max() <= 1


def test_transparent_gray_lies_over_white() -> None:
    pixels = noise(channels=2)
    image = Image.merge("LA", [Image.fromarray(np.ascontiguousarray(pixels[..., i])) for i in range(2)])
    expected = over_white(gray(pixels[..., 0]), pixels[..., 1])
    assert abs(decoded(encode(image)) - expected).max() <= 1


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bit_gray_is_scaled_and_not_clipped(file_format: str) -> None:
    values = np.arange(600, dtype=np.uint16).reshape(20, 30) * 109
    data = encode(Image.fromarray(values), file_format)
    np.testing.assert_array_equal(decoded(data), gray((values // 256).astype(np.uint8)))


def test_a_cmyk_jpeg_has_the_colours_of_its_rgb_twin() -> None:
    smooth = Image.fromarray(noise(4, 6)).resize((60, 40), Image.Resampling.BICUBIC)
    data = encode(smooth.convert("CMYK"), "JPEG", quality=100, subsampling=0)
    with Image.open(io.BytesIO(data)) as stored:
        assert stored.mode == "CMYK"
    assert abs(decoded(data).astype(int) - np.asarray(smooth)).max() <= 8


@pytest.mark.parametrize("file_format", ["GIF", "WEBP"])
def test_an_animation_gives_its_first_frame(file_format: str) -> None:
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("#ff0000", "#00ff00", "#0000ff")]
    options: dict[str, Any] = {"lossless": True} if file_format == "WEBP" else {}
    data = encode(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(data)) as stored:
        assert getattr(stored, "n_frames", 1) == 3
    np.testing.assert_array_equal(decoded(data), np.asarray(frames[0]))


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "WEBP"])
def test_a_lossless_format_gives_the_pixels_that_went_in(file_format: str) -> None:
    options: dict[str, Any] = {"lossless": True} if file_format == "WEBP" else {}
    data = encode(Image.fromarray(noise()), file_format, **options)
    np.testing.assert_array_equal(decoded(data), noise())


def test_a_jpeg_gives_the_pixels_that_pillow_reads() -> None:
    data = encode(Image.fromarray(noise()), "JPEG")
    with Image.open(io.BytesIO(data)) as stored:
        np.testing.assert_array_equal(decoded(data), np.asarray(stored))


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_cut_file_is_refused_or_gives_the_whole_image(file_format: str) -> None:
    whole = encode(Image.fromarray(noise(64, 64)), file_format)
    expected = decoded(whole)
    cuts = sorted({*range(40), *range(0, len(whole), len(whole) // 40), *range(len(whole) - 10, len(whole))})
    refused = 0
    for cut in cuts:
        try:
            got = decoded(whole[:cut])
        except ImageError as error:
            assert error.path == "x"
            refused += 1
        else:
            # Only what follows the pixels (a checksum, an end mark) may be missing.
            np.testing.assert_array_equal(got, expected)
    assert refused >= 0.8 * len(cuts)


SOUND_FILES = {name: encode(Image.fromarray(noise(16, 16)), name) for name in FORMATS}


@given(
    name=st.sampled_from(FORMATS), edits=st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=8)), max_size=6)
)
def test_altered_bytes_give_an_image_or_an_image_error(name: str, edits: list[tuple[int, bytes]]) -> None:
    data = bytearray(SOUND_FILES[name])
    for position, patch in edits:
        start = position % len(data)
        data[start : start + len(patch)] = patch
    try:
        image = decode(bytes(data), "x", max_pixels=10_000)
    except ImageError:
        return
    assert image.mode == "RGB" and 1 <= image.width * image.height <= 10_000


@pytest.mark.parametrize("data", [b"hello\n" * 40, b"%PDF-1.4\n%%EOF", b"<svg xmlns='x'/>", bytes(1000), b"\xff\xd8"])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"^x: "):
        decode(data, "x")


def test_an_empty_file_is_called_empty() -> None:
    with pytest.raises(ImageError, match="empty"):
        decode(b"", "x")


@pytest.mark.parametrize(
    ("file_format", "reason"),
    [
        *((name, "not an image in a known format") for name in ("EPS", "SGI", "TGA", "PCX", "SPIDER")),
        ("ICO", "an icon"),
        ("PDF", "a PDF document"),
    ],
)
def test_formats_off_the_list_are_refused_though_pillow_knows_them(file_format: str, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(encode(Image.fromarray(noise()), file_format), "x")


def png_of_declared_size(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that says it is ``width`` x ``height``."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(100_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [7_072, 10_000, 20_000, 2**31 - 1])
def test_a_bomb_is_refused_before_it_is_decoded(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = png_of_declared_size(side, side)
    assert len(data) < 1000 and side**2 > MAX_PIXELS
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("it was decoded"))
    start = time.thread_time()
    with pytest.raises(ImageError, match=r"pixels.*limit of 50,000,000"):
        decode(data, "x")
    assert time.thread_time() - start < 1


def test_the_limit_is_the_callers_and_counts_pixels() -> None:
    data = encode(Image.fromarray(noise(20, 30)))
    assert decode(data, "x", max_pixels=600).size == (30, 20)
    with pytest.raises(ImageError, match="30 x 20"):
        decode(data, "x", max_pixels=599)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.jpg", tmp_path):
        with pytest.raises(ImageError) as caught:
            read_image(path)
        assert caught.value.path == str(path) and caught.value.exit_code == 3


def test_reading_a_file_is_decoding_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(Image.fromarray(noise())))
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.png")), noise())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.jpg", True), ("A.JPEG", True), ("a.b.webp", True), (".a.jpg", False), ("a.txt", False), ("jpg", False)],
)
def test_images_are_known_by_their_extension(name: str, expected: bool) -> None:
    assert is_image_name(Path("folder") / name) is expected


@pytest.mark.parametrize(("colour_type", "mode"), [(2, "RGB;16"), (6, "RGBA;16")])
def test_sixteen_bits_a_channel_keep_the_upper_eight_and_are_told(colour_type: int, mode: str) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    channels = 3 if colour_type == 2 else 4
    values = np.linspace(0, 65535, 5 * 4 * channels).astype(">u2").reshape(4, 5, channels)
    if channels == 4:
        values[..., 3] = 65535
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">IIBBBBB", 5, 4, 16, colour_type, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    found = decode_whole(data, "wide.png")
    assert found.mode == mode
    assert np.array_equal(np.asarray(found.image), (values[..., :3] >> 8).astype(np.uint8))
