"""DICOM files are shown as a viewer shows them first, or refused by name."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.errors import ImageError
from resnet_cli.images import decode, decode_whole, decoding

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")

Pixels = NDArray[np.integer[Any]]


@pytest.fixture(autouse=True)
def fresh_warning_filters() -> None:
    # pytest restores the filters after each test; decode() sets its own once per process.
    decoding._treat_bombs_as_errors.cache_clear()


def ramp(low: int, high: int, dtype: type = np.uint16) -> Pixels:
    """Values from ``low`` to ``high`` in 8 rows and 16 columns."""
    return np.linspace(low, high, 128).astype(dtype).reshape(8, 16)


def dicom(pixels: np.ndarray, photometric: str = "MONOCHROME2", *, syntax: str = "", **fields: Any) -> bytes:
    """A file with one image [h x w] or [h x w x 3], uncompressed unless ``fields`` bring their own PixelData."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax or pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Modality = "OT"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for name, value in fields.items():
        setattr(dataset, name, value)
    data = io.BytesIO()
    pydicom.dcmwrite(data, dataset, enforce_file_format=True)
    return data.getvalue()


def shown(data: bytes) -> NDArray[np.uint8]:
    """The gray values that the decoder gives."""
    pixels = np.asarray(decode(data, "x.dcm"))
    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 2])
    return pixels[..., 0]


def reason_of(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, "x.dcm")
    return caught.value.reason


def test_eight_bits_without_a_window_are_shown_as_they_are() -> None:
    values = ramp(20, 90, np.uint8)
    np.testing.assert_array_equal(shown(dicom(values)), values)
    found = decode_whole(dicom(values), "x")
    assert (found.format, found.mode, found.orientation, found.transparent) == ("DICOM", "L", 1, False)


def test_monochrome1_is_the_negative_of_monochrome2() -> None:
    for values in (ramp(0, 255, np.uint8), ramp(3, 4000)):
        np.testing.assert_array_equal(shown(dicom(values, "MONOCHROME1")), 255 - shown(dicom(values)))


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_the_window_is_applied_to_rescaled_values(dtype: type) -> None:
    stored = ramp(0, 4095, dtype)
    data = dicom(stored, RescaleSlope=2, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400)
    # Source: DICOM PS3.3, C.11.2.1.2.1: the linear function of center and width.
    hounsfield = stored.astype(float) * 2 - 1024
    expected = np.clip((hounsfield - 39.5) / 399 + 0.5, 0, 1) * 255
    assert np.abs(shown(data) - expected).max() <= 0.5001
    assert shown(data).min() == 0 and shown(data).max() == 255


def test_the_first_of_several_windows_is_used() -> None:
    stored = ramp(0, 4095)
    several = dicom(stored, WindowCenter=[500, 3000], WindowWidth=[300, 50])
    np.testing.assert_array_equal(shown(several), shown(dicom(stored, WindowCenter=500, WindowWidth=300)))


@pytest.mark.parametrize("function", ["LINEAR_EXACT", "SIGMOID"])
def test_the_functions_of_a_window_rise_from_black_to_white(function: str) -> None:
    values = shown(dicom(ramp(0, 4095), WindowCenter=2000, WindowWidth=300, VOILUTFunction=function)).ravel()
    assert (np.diff(values.astype(int)) >= 0).all() and values[0] == 0 and values[-1] == 255


def test_more_bits_without_a_window_are_stretched_over_their_own_range() -> None:
    values = shown(dicom(ramp(100, 1100)))
    assert values.min() == 0 and values.max() == 255
    assert np.abs(np.diff(values.ravel().astype(int)) - 2).max() <= 1


def test_padding_is_no_part_of_the_range() -> None:
    stored = ramp(100, 1100, np.int16)
    stored[0, :4] = -2000
    values = shown(dicom(stored, PixelPaddingValue=-2000))
    assert (values[0, :4] == 0).all()
    assert np.abs(values[1:].astype(int) - shown(dicom(ramp(100, 1100, np.int16)))[1:]).max() <= 12


def test_a_constant_image_is_black_and_no_error() -> None:
    assert (shown(dicom(np.full((8, 16), 700, np.uint16))) == 0).all()


def test_a_lookup_table_takes_the_place_of_a_window() -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor = [256, 0, 8]
    table.add_new("LUTData", "OW", np.arange(255, -1, -1, dtype="<u2").tobytes())
    stored = ramp(0, 255)
    data = dicom(stored, VOILUTSequence=pydicom.Sequence([table]), BitsStored=8, HighBit=7)
    np.testing.assert_array_equal(shown(data), 255 - stored)


def test_colors_are_those_that_were_stored() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(decode(dicom(pixels, "RGB"), "x")), pixels)
    planes = dicom(pixels, "RGB", PlanarConfiguration=1, PixelData=pixels.transpose(2, 0, 1).tobytes())
    np.testing.assert_array_equal(np.asarray(decode(planes, "x")), pixels)


@pytest.mark.parametrize("bits", [12, 16])
def test_wide_colors_keep_their_upper_eight_bits(bits: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**bits, (8, 16, 3), dtype=np.uint16)
    data = dicom(pixels, "RGB", BitsStored=bits, HighBit=bits - 1)
    np.testing.assert_array_equal(np.asarray(decode(data, "x")), pixels >> (bits - 8))


def test_a_preamble_in_the_form_of_a_tiff_does_not_hide_the_image() -> None:
    values = ramp(0, 255, np.uint8)
    data = b"II*\0\x08\0\0\0" + dicom(values)[8:]
    np.testing.assert_array_equal(np.asarray(decode(data, "IM0001"))[..., 0], values)


def test_luminance_and_chrominance_become_rgb() -> None:
    gray = np.full((8, 16, 3), 128, np.uint8)
    gray[..., 0] = 200
    assert np.abs(np.asarray(decode(dicom(gray, "YBR_FULL"), "x")).astype(int) - 200).max() <= 1


def test_a_palette_gives_its_colors() -> None:
    indices = ramp(0, 255, np.uint8)
    ramps = {color: (np.arange(256, dtype="<u2") * 257).tobytes() for color in ("Red", "Green")}
    fields: dict[str, Any] = {f"{color}PaletteColorLookupTableData": data for color, data in ramps.items()}
    fields["BluePaletteColorLookupTableData"] = bytes(512)
    fields |= {f"{color}PaletteColorLookupTableDescriptor": [256, 0, 16] for color in ("Red", "Green", "Blue")}
    pixels = np.asarray(decode(dicom(indices, "PALETTE COLOR", **fields), "x"))
    np.testing.assert_array_equal(pixels, np.dstack([indices, indices, np.zeros_like(indices)]))


def test_many_frames_are_refused_with_what_to_do() -> None:
    frames = np.zeros((8, 16), np.uint8)
    assert "DICOM with 3 frames" in reason_of(dicom(frames, NumberOfFrames=3, PixelData=frames.tobytes() * 3))


@pytest.mark.parametrize(
    ("syntax", "package"),
    [
        ("JPEGLosslessSV1", "pylibjpeg-libjpeg"),
        ("JPEGLSLossless", "pyjpegls"),
        ("HTJ2KLossless", "pylibjpeg-openjpeg"),
    ],
)
def test_a_compression_names_the_package_that_it_needs(
    syntax: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GDCM would end the process on some damaged files, and is never used.
    decoder = type("Decoder", (), {"available_plugins": ("gdcm",)})()
    monkeypatch.setattr(pydicom.pixels, "get_decoder", lambda _: decoder)
    frame = pydicom.encaps.encapsulate([bytes(40)])
    assert package in reason_of(dicom(ramp(0, 9), syntax=getattr(pydicom.uid, syntax), PixelData=frame))


def test_run_lengths_are_read_without_another_package() -> None:
    values = ramp(0, 255, np.uint8)
    dataset = pydicom.dcmread(io.BytesIO(dicom(values)))
    dataset.compress(pydicom.uid.RLELossless)
    data = io.BytesIO()
    dataset.save_as(data)
    np.testing.assert_array_equal(shown(data.getvalue()), values)


def test_an_unknown_compression_and_a_deflated_file_are_refused() -> None:
    data = dicom(ramp(0, 9), syntax=pydicom.uid.MPEG2MPML, PixelData=pydicom.encaps.encapsulate([bytes(40)]))
    assert "MPEG2" in reason_of(data)
    assert "deflated" in reason_of(dicom(ramp(0, 9), syntax=pydicom.uid.DeflatedExplicitVRLittleEndian))


def test_a_report_is_no_image() -> None:
    data = io.BytesIO()
    dataset = pydicom.dcmread(io.BytesIO(dicom(ramp(0, 9))))
    del dataset.PixelData
    dataset.Modality = "SR"
    dataset.save_as(data)
    assert "without integer pixels (SR)" in reason_of(data.getvalue())


def test_a_large_image_is_refused_before_its_pixels_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pydicom.pixels, "pixel_array", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match="16 x 8 pixels, more than the limit of 100"):
        decode(dicom(ramp(0, 9)), "x", max_pixels=100)


def test_a_file_without_its_preamble_is_known_by_its_name() -> None:
    whole = dicom(ramp(0, 255, np.uint8), syntax=pydicom.uid.ImplicitVRLittleEndian)
    dataset = pydicom.dcmread(io.BytesIO(whole))
    bare = io.BytesIO()
    file = pydicom.filebase.DicomIO(bare)
    file.is_little_endian, file.is_implicit_VR = True, True
    pydicom.filewriter.write_dataset(file, dataset)
    np.testing.assert_array_equal(np.asarray(decode(bare.getvalue(), "x.dcm")), np.asarray(decode(whole, "x")))


def test_a_cut_file_is_refused() -> None:
    whole = dicom(ramp(0, 4095), WindowCenter=40, WindowWidth=400)
    for end in range(140, len(whole), 3):
        with pytest.raises(ImageError):
            decode(whole[:end], "x.dcm")


WHOLE = dicom(ramp(0, 4095), RescaleSlope=1, RescaleIntercept=0, WindowCenter=40, WindowWidth=400)


@given(edits=st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=8)), min_size=1, max_size=6))
def test_altered_bytes_give_an_image_or_an_image_error(edits: list[tuple[int, bytes]]) -> None:
    data = bytearray(WHOLE)
    for position, patch in edits:
        start = position % len(data)
        data[start : start + len(patch)] = patch
    try:
        image = decode(bytes(data), "x.dcm", max_pixels=10_000)
    except ImageError:
        return
    assert image.mode == "RGB" and 1 <= image.width * image.height <= 10_000


@pytest.mark.parametrize("size", [(16, 8), (4000, 3000)])
def test_a_compressed_frame_must_have_the_size_of_the_image(size: tuple[int, int]) -> None:
    image = Image.new("L", size, 90)
    frame = io.BytesIO()
    image.save(frame, "JPEG", quality=95)
    data = dicom(
        np.zeros((8, 16), np.uint8),
        syntax=pydicom.uid.JPEGBaseline8Bit,
        PixelData=pydicom.encaps.encapsulate([frame.getvalue()]),
    )
    if size == (16, 8):
        assert np.abs(shown(data).astype(int) - 90).max() <= 2
    else:
        assert "16 x 8 pixels, compressed as (4000, 3000)" in reason_of(data)
