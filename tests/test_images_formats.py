"""Formats beyond those that every Pillow reads: recognized by content, and read correctly or refused by name."""

from __future__ import annotations

import contextlib
import io
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, features
from test_images import UPRIGHT, encode, gray, noise

from resnet_cli.errors import ImageError, SetupError
from resnet_cli.images import decode, decode_whole, decoder_version, decoding, is_image_name, readable_extensions
from resnet_cli.images.formats import EXTENSIONS, OTHER_FORMATS, RAW, TIFF, recognize, recognize_image
from resnet_cli.images.raw import is_raw_tiff

Pixels = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def fresh_warning_filters() -> None:
    # pytest restores the filters after each test; decode() sets its own once per process.
    decoding._treat_bombs_as_errors.cache_clear()


def reason_of(data: bytes, path: str = "x") -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, path)
    return caught.value.reason


def blocks() -> Pixels:
    """Four colors that survive compression and show every orientation: 32 x 64."""
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:16, :32], pixels[:16, 32:], pixels[16:, :32], pixels[16:, 32:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), 255
    return pixels


def stored_as(pixels: Pixels, orientation: int) -> Image.Image:
    """The pixels that a file must contain to be shown as ``pixels`` with that orientation."""
    undone = next(turn for turn in UPRIGHT.values() if np.array_equal(UPRIGHT[orientation](turn(pixels)), pixels))
    return Image.fromarray(np.ascontiguousarray(undone(pixels)))


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def assert_upright(data: bytes) -> None:
    got = np.asarray(decode(data, "x")).astype(int)
    assert got.shape == blocks().shape
    assert np.abs(got - blocks()).mean() < 8


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("file_format", ["JPEG", "AVIF", "TIFF", "WEBP", "PNG"])
def test_an_image_is_turned_upright_exactly_once(orientation: int, file_format: str) -> None:
    if file_format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    assert_upright(encode(stored_as(blocks(), orientation), file_format, exif=exif(orientation)))


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_photo_of_a_phone_is_turned_upright_exactly_once(orientation: int) -> None:
    assert_upright(heic(stored_as(blocks(), orientation), exif(orientation).tobytes()))


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_jpeg_inside_jpeg_xl_is_turned_upright_exactly_once(orientation: int) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    inner = encode(stored_as(blocks(), orientation), "JPEG", exif=exif(orientation))
    assert_upright(imagecodecs.jpegxl_encode_jpeg(inner))


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_beside_the_rotation_of_a_jpeg_xl_does_not_turn_it_again(orientation: int) -> None:
    # What a conversion of a photo with loss writes: the rotation of the pixels, and the EXIF block as it was.
    imagecodecs = pytest.importorskip("imagecodecs")
    inner = encode(stored_as(blocks(), orientation), "JPEG", exif=exif(orientation))
    data, at, boxes = imagecodecs.jpegxl_encode_jpeg(inner), 0, []
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big") or len(data) - at
        boxes.append((data[at + 4 : at + 8], data[at + 8 : at + size]))
        at += size
    boxes = [(kind, content) for kind, content in boxes if kind not in (b"jbrd", b"brob")]
    boxes.insert(2, (b"Exif", bytes(4) + exif(orientation).tobytes().removeprefix(b"Exif\0\0")))
    assert_upright(b"".join(struct.pack(">I", len(content) + 8) + kind + content for kind, content in boxes))


def heic(image: Image.Image, exif_block: bytes = b"") -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    file = pillow_heif.from_pillow(image)
    if exif_block:
        # The encoder makes a rotation and mirroring of it.
        file[0].info["exif"] = exif_block
    data = io.BytesIO()
    file.save(data, quality=95)
    return data.getvalue()


def jxl(pixels: np.ndarray, **options: Any) -> bytes:
    data: bytes = pytest.importorskip("imagecodecs").jpegxl_encode(pixels, lossless=True, **options)
    return data


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_xl_is_scaled_by_the_bits_that_its_file_names(bits: int, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 2**bits, (12, 20, channels), dtype=np.uint16)
    found = decode_whole(jxl(values.squeeze(2) if channels == 1 else values, bitspersample=bits), "x.jxl")
    # Since the file says it, the other images of a data set do not matter.
    assert found.bit_depth == 0
    expected = (values >> (bits - 8)).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(found.image), np.broadcast_to(expected, (12, 20, 3)))


def test_the_phones_format_keeps_the_colors_and_puts_transparency_on_white() -> None:
    pixels = np.dstack([blocks(), np.full((32, 64), 255, np.uint8)])
    pixels[:, :8, 3] = 0
    found = decode_whole(heic(Image.fromarray(pixels)), "x.heic")
    assert found.transparent and found.format == "HEIF"
    expected = blocks().astype(int)
    expected[:, :8] = 255
    assert np.abs(np.asarray(found.image) - expected).mean() < 8


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_jpeg_xl_gives_the_pixels_that_its_png_twin_gives(channels: int, dtype: type) -> None:
    pixels = noise(channels=channels)
    stored = pixels.astype(np.uint16) * 257 if dtype is np.uint16 else pixels
    found = decode_whole(jxl(stored[..., 0] if channels == 1 else stored), "x.jxl")
    modes = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
    twin = Image.fromarray(pixels[..., 0] if channels == 1 else pixels, None if channels != 2 else "LA")
    np.testing.assert_array_equal(np.asarray(found.image), np.asarray(decode(encode(twin), "x")))
    assert found.format == "JXL" and found.transparent is (channels in (2, 4))
    wide = {1: "I;16"}.get(channels, f"{modes[channels]};16")
    assert found.mode == (wide if dtype is np.uint16 else modes[channels])


def test_an_animated_jpeg_xl_gives_its_first_frame() -> None:
    frames = np.stack([noise(seed=seed) for seed in range(3)])
    np.testing.assert_array_equal(np.asarray(decode(jxl(frames), "x.jxl")), frames[0])


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (256, 256), (40, 30), (513, 9), (7, 2000), (300, 200), (1600, 900)])
def test_the_declared_size_of_a_jpeg_xl_is_known_before_it_is_decoded(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    width, height = size
    data = jxl(np.zeros((height, width, 3), np.uint8))
    assert decode(data, "x").size == size
    monkeypatch.setattr(imagecodecs, "jpegxl_decode", lambda *_, **__: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match=rf"{width} x {height} pixels, more than the limit"):
        decode(data, "x", max_pixels=width * height - 1)


def test_the_header_of_a_jpeg_xl_may_be_in_several_parts() -> None:
    bare = jxl(noise())
    parts = [bare[:3], bare[3:5], bare[5:]]
    boxes = [(b"jxlp", struct.pack(">I", number) + part) for number, part in enumerate(parts)]
    boxes[-1] = (b"jxlp", struct.pack(">I", 2 | 2**31) + parts[2])
    container = b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\x14ftypjxl \0\0\0\0jxl "
    container += b"".join(struct.pack(">I", len(content) + 8) + kind + content for kind, content in boxes)
    np.testing.assert_array_equal(np.asarray(decode(container, "x.jxl")), noise())


def test_a_jpeg_xl_with_many_channels_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    data = jxl(np.zeros((12, 20, 30), np.uint8), photometric="gray", planar=True)
    monkeypatch.setattr(imagecodecs, "jpegxl_decode", lambda *_, **__: pytest.fail("it was decoded"))
    assert "more than four additional channels" in reason_of(data)


def test_a_floating_point_jpeg_xl_is_refused_by_name() -> None:
    assert "float32" in reason_of(jxl(noise().astype(np.float32) / 255))


def test_portable_maps_give_the_pixels_that_went_in() -> None:
    np.testing.assert_array_equal(np.asarray(decode(encode(Image.fromarray(noise()), "PPM"), "x.ppm")), noise())
    values = noise()[..., 0]
    np.testing.assert_array_equal(np.asarray(decode(encode(Image.fromarray(values), "PPM"), "x.pgm")), gray(values))


def test_jpeg_2000_gives_the_pixels_that_went_in() -> None:
    if not features.check("jpg_2000"):
        pytest.skip("this Pillow has no JPEG 2000")
    data = encode(Image.fromarray(noise()), "JPEG2000", irreversible=False)
    np.testing.assert_array_equal(np.asarray(decode(data, "x.jp2")), noise())


@pytest.mark.parametrize(
    ("start", "library"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "pillow-heif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "pillow-heif"),
        (b"\xff\x0a\x98\x40", "imagecodecs"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "imagecodecs"),
        (bytes(128) + b"DICM", "pydicom"),
    ],
)
def test_without_its_library_an_image_is_named_with_the_command_that_installs_it(
    start: bytes, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("pillow_heif", "imagecodecs", "pydicom"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImageError, match=rf"needs {library}, which is not installed: .*install.*formats") as caught:
        decode(start + bytes(999), "IMG_1")
    assert isinstance(caught.value.__cause__, SetupError)


@pytest.mark.parametrize(("feature", "file_format"), [("avif", "AVIF"), ("jpg_2000", "JPEG2000")])
def test_a_pillow_build_without_a_decoder_says_how_to_get_it(
    feature: str, file_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not features.check(feature):
        pytest.skip(f"this Pillow has no {feature}")
    data = encode(Image.fromarray(noise()), file_format)
    monkeypatch.setattr(features, "check", lambda name: name != feature)
    assert "this build of Pillow cannot read; its wheels can: pip install" in reason_of(data)
    assert not {".avif", ".jp2"} <= set(readable_extensions())


def tiff(entries: dict[int, tuple[int, ...]], order: str = "<", sub: dict[int, tuple[int, ...]] | None = None) -> bytes:
    """A TIFF of one directory of short numbers, with ``sub`` as the directory that tag 330 leads to."""

    def directory(tags: dict[int, tuple[int, ...]], links: dict[int, int]) -> bytes:
        rows = [(tag, 3, len(values), values) for tag, values in tags.items()]
        rows += [(tag, 4, 1, (at,)) for tag, at in links.items()]
        packed = b""
        for tag, kind, count, values in sorted(rows):
            code = {3: "H", 4: "I"}[kind]
            packed += struct.pack(f"{order}HHI", tag, kind, count)
            packed += struct.pack(f"{order}{count}{code}", *values)[:4].ljust(4, b"\0")
        return struct.pack(f"{order}H", len(rows)) + packed + bytes(4)

    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    links = {330: 8 + len(directory(entries, {330: 0}))} if sub is not None else {}
    return start + directory(entries, links) + (directory(sub, {}) if sub is not None else b"")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("entries", "sub"),
    [
        ({254: (1,), 262: (2,)}, {262: (32803,)}),  # Nikon, Sony: a preview first, the sensor's data below.
        ({262: (32803,)}, None),  # Pentax.
        ({254: (1,), 262: (2,)}, {262: (34892,)}),  # A linear DNG.
        ({262: (2,), 50706: (1, 4)}, None),  # Any other DNG.
    ],
)
def test_camera_raw_is_refused_by_its_content_whatever_its_name(
    entries: dict[int, tuple[int, ...]], sub: dict[int, tuple[int, ...]] | None, order: str
) -> None:
    data = tiff(entries, order, sub)
    assert recognize(data, "photo.tif") is RAW
    assert "camera raw" in reason_of(data, "photo.tif")


@pytest.mark.parametrize(
    "start",
    [b"II*\0\x10\0\0\0CR\2\0", b"\0\0\0\x18ftypcrx \0\0\0\1", b"FUJIFILMCCD-RAW 0201", b"IIRO\x08", b"IIU\0\x18"],
)
def test_camera_raw_of_every_kind_is_refused_by_its_first_bytes(start: bytes) -> None:
    assert "camera raw" in reason_of(start + bytes(200))


def test_a_tiff_by_a_raw_name_is_raw_and_an_ordinary_tiff_is_not() -> None:
    data = encode(Image.fromarray(noise()), "TIFF")
    assert recognize(data, "photo.NEF") is RAW
    assert recognize(data, "photo.tif") is TIFF and not is_raw_tiff(data)
    assert decode(data, "photo.tif").size == (30, 20)


@given(st.binary(max_size=400), st.sampled_from([b"II*\0", b"MM\0*"]))
def test_the_search_for_raw_ends_on_any_bytes(data: bytes, start: bytes) -> None:
    assert is_raw_tiff(start + data) in (True, False)


def test_directories_in_a_circle_are_visited_once() -> None:
    circle = b"II*\0" + struct.pack("<I", 8) + struct.pack("<HHHII", 1, 330, 4, 1, 8) + struct.pack("<I", 8)
    assert not is_raw_tiff(circle)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n", "git lfs pull"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"\n <HTML>", "web page"),
        (b"%PDF-1.7\n", "PDF"),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "video"),
        (b"RIFF\0\0\0\0AVI LIST", "video"),
        (b"8BPS\0\1", "layers"),
        (b"v/1\x01\2\0\0\0", "high dynamic range"),
        (b"\0\0\1\0\1\0", "icon"),
    ],
)
def test_what_is_often_taken_for_an_image_is_refused_by_name(data: bytes, words: str) -> None:
    assert words in reason_of(data + b" " * 40)


def test_every_refusal_says_what_to_do_and_files_of_other_formats_are_no_images_by_name() -> None:
    for known in (RAW, *OTHER_FORMATS):
        assert any(word in known.refusal for word in ("convert", "export", "save", "run:", "take", "download it again"))
    assert not any(is_image_name(f"a{extension}") for known in OTHER_FORMATS for extension in known.extensions)


@pytest.mark.parametrize(
    "name", ["IMG_1.HEIC", "a.heif", "a.avif", "a.jxl", "a.jp2", "a.dcm", "a.ppm", "a.PGM", "a.NEF"]
)
def test_files_of_every_format_count_as_images_whatever_is_installed(name: str) -> None:
    assert is_image_name(name)


def test_only_what_no_text_begins_with_is_surely_an_image() -> None:
    assert recognize_image(encode(Image.fromarray(noise()), "JPEG")) is not None
    for text in (b"BMW is a car", b"P5 is a chapter", b"\xff\x0a", b"hello", b"", b"%PDF-1.4"):
        assert recognize_image(text) is None


def test_a_library_changes_the_cache_keys_of_its_own_format_only(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = decoder_version()
    assert decoder_version(["a.jpg", "b.png", "c.webp", "noname"]) == plain
    assert decoder_version(["a.jpg", "b.HEIC"]) != plain != decoder_version(["b.jxl"])
    assert decoder_version(["a.heic"]) == decoder_version(["b.heif", "c.jpg"])
    assert decoder_version(["a.heic"]) != decoder_version(["a.dcm"]) != decoder_version(["a.tiff"]) != plain


def test_readable_extensions_are_a_part_of_all() -> None:
    assert {".jpg", ".png", ".ppm"} <= set(readable_extensions()) <= EXTENSIONS - set(RAW.extensions)


def sound_files() -> dict[str, bytes]:
    makers: dict[str, Callable[[], bytes]] = {
        "heic": lambda: heic(Image.fromarray(noise(16, 16))),
        "jxl": lambda: jxl(noise(16, 16)),
        "jxl16": lambda: jxl(noise(16, 16)[..., 0].astype(np.uint16) * 200),
    }
    found: dict[str, bytes] = {}
    for name, make in makers.items():
        with contextlib.suppress(pytest.skip.Exception):
            found[name] = make()
    return found


SOUND = sound_files()


@pytest.mark.parametrize("name", SOUND)
def test_a_cut_file_of_an_optional_format_is_refused(name: str) -> None:
    whole = SOUND[name]
    expected = np.asarray(decode(whole, "x"))
    cuts = sorted({*range(1, min(len(whole), 60)), *range(1, len(whole), max(1, len(whole) // 60))})
    refused = 0
    for cut in cuts:
        try:
            got = np.asarray(decode(whole[:cut], "x"))
        except ImageError:
            refused += 1
        else:
            np.testing.assert_array_equal(got, expected)
    assert refused >= 0.8 * len(cuts)


@pytest.mark.skipif(not SOUND, reason="neither pillow-heif nor imagecodecs is installed")
@given(data=st.data())
def test_altered_bytes_of_an_optional_format_give_an_image_or_an_image_error(data: st.DataObject) -> None:
    whole = bytearray(SOUND[data.draw(st.sampled_from(sorted(SOUND)))])
    for position, patch in data.draw(
        st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=8)), min_size=1, max_size=6)
    ):
        start = position % len(whole)
        whole[start : start + len(patch)] = patch
    try:
        image = decode(bytes(whole), "x", max_pixels=10_000)
    except ImageError:
        return
    assert image.mode == "RGB" and 1 <= image.width * image.height <= 10_000


def test_a_file_read_by_name_and_by_bytes_gives_the_same_error(tmp_path: Path) -> None:
    (tmp_path / "a.nef").write_bytes(b"II*\0\x10\0\0\0CR\2\0")
    with pytest.raises(ImageError, match="camera raw"):
        decode((tmp_path / "a.nef").read_bytes(), str(tmp_path / "a.nef"))
