"""DICOM, the images of medical devices, through pydicom: as a viewer shows them first."""

from __future__ import annotations

import importlib
import io
import struct
from typing import Any

import numpy as np
from PIL import Image

from resnet_cli.errors import ImageError
from resnet_cli.images.extras import load_library
from resnet_cli.images.formats import DICOM
from resnet_cli.images.pixels import Decoded, Pixels, check_size, from_pixels

#: Transfer syntax whose data set is inflated without a limit. Source: DICOM PS3.5, A.5.
_DEFLATED = b"1.2.840.10008.1.2.1.99"
#: Where a file names its transfer syntax, at the latest: the preamble and a file meta information of usual length.
_META_BYTES = 4096
#: Part of a compression's name -> packages with which pydicom reads it. Source: pydicom's guide to pixel data plugins.
_PACKAGES = {"JPEG-LS": "pyjpegls", "2000": "pylibjpeg pylibjpeg-openjpeg", "JPEG": "pylibjpeg pylibjpeg-libjpeg"}
#: GDCM ends the process on some damaged files, with an exception of C++ that nobody catches (3.2.6).
_UNSAFE_PLUGIN = "gdcm"
#: Markers of frame headers: SOF0 to SOF15 without DHT, JPG and DAC, and SOF55 of JPEG-LS.
_FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
#: Further from zero than any window.
_FAR = 1e12


def decode_dicom(data: bytes, path: str, *, max_pixels: int) -> Decoded:
    """Decodes the image of a DICOM file: rescaled, in its first window, and MONOCHROME1 inverted.

    Gray values without a window are stretched from the image's lowest to its highest value, except for 8 bits.

    Args:
        data: The whole file.
        path: Name of the file in errors.
        max_pixels: Larger images are rejected before they are decoded.

    Raises:
        ImageError: pydicom or a package for the file's compression is not installed, or the file contains no image, a
            series of images, or one that is too large.
        Exception: Whatever the library raises on a damaged file.
    """
    library = load_library(DICOM, path)
    # Any: it does not declare all functions that its documentation names.
    tools: Any = importlib.import_module("pydicom.pixels")

    if _DEFLATED in data[:_META_BYTES]:
        raise ImageError(path, "DICOM with a deflated data set; convert it first: dcmconv +te IN.dcm OUT.dcm")
    dataset = library.dcmread(io.BytesIO(data), force=True)
    _check(dataset, path, max_pixels)
    stored = _read_values(dataset, library, tools, path)
    mode = "RGB" if stored.ndim == 3 else ("L" if stored.dtype.itemsize == 1 else "I;16")
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        stored = tools.apply_color_lut(stored, dataset)
        # Its entries have 8 or 16 bits, whatever the indices have.
        image = _rgb(stored, 8 * stored.dtype.itemsize)
    elif stored.ndim == 3:
        image = _rgb(stored, int(dataset.BitsStored))
    else:
        image = _gray(stored, dataset, tools)
    return Decoded(image.convert("RGB"), "DICOM", mode, 1, False)


def _check(dataset: Any, path: str, max_pixels: int) -> None:
    if "Rows" not in dataset or "PixelData" not in dataset:
        what = dataset.get("Modality") or "no modality"
        raise ImageError(path, f"DICOM without integer pixels ({what}); leave it out")
    check_size(path, int(dataset.Columns), int(dataset.Rows), max_pixels)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ImageError(
            path,
            f"DICOM with {frames:,} frames, any of which could be the image; write the ones that you need to files of "
            "their own, for example: dcm2img --frame 1 IN.dcm OUT.png",
        )
    if int(dataset.get("SamplesPerPixel") or 1) not in (1, 3):
        raise ImageError(path, f"DICOM with {dataset.SamplesPerPixel} samples per pixel; convert it to PNG first")


def _read_values(dataset: Any, library: Any, tools: Any, path: str) -> np.ndarray:
    """The stored values [h x w], or RGB [h x w x 3], to which YBR is converted."""
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    if syntax is None:
        # A file without the header: little endian without value representations, the standard's default.
        from pydicom.uid import ImplicitVRLittleEndian

        dataset.ensure_file_meta()
        dataset.file_meta.TransferSyntaxUID = syntax = ImplicitVRLittleEndian
    try:
        decoder = tools.get_decoder(syntax)
    except NotImplementedError:
        raise ImageError(path, f"DICOM compressed as {syntax.name}, which pydicom does not read") from None
    if not syntax.is_compressed:
        values: np.ndarray = tools.pixel_array(dataset)
        return values
    _check_frame(dataset, library, path)
    told = ""
    for plugin in decoder.available_plugins:
        if plugin != _UNSAFE_PLUGIN:
            try:
                values = tools.pixel_array(dataset, decoding_plugin=plugin)
            except RuntimeError as error:
                told += f"; {' '.join(str(error).rpartition(f'{plugin}: ')[2].split())}"
            else:
                return values
    packages = next((packages for part, packages in _PACKAGES.items() if part in syntax.name), "pylibjpeg")
    raise ImageError(
        path, f"DICOM compressed as {syntax.name}, for which pydicom may need: pip install {packages}{told}"
    )


def _check_frame(dataset: Any, library: Any, path: str) -> None:
    """Compares the size in the compressed frame with the file's: plugins allocate whatever the frame declares."""
    frame = library.encaps.get_frame(dataset.PixelData, 0, number_of_frames=1)
    declared = _declared_size(frame)
    if declared is not None and declared != (int(dataset.Columns), int(dataset.Rows)):
        raise ImageError(path, f"damaged: {dataset.Columns} x {dataset.Rows} pixels, compressed as {declared}")


def _declared_size(frame: bytes) -> tuple[int, int] | None:
    """Width and height in the header of a JPEG, JPEG-LS or JPEG 2000; None for run lengths, which declare none.

    Source: ITU-T T.81, B.1.1.3 and B.2.2; ITU-T T.87, C.2.2; ITU-T T.800, A.5.1.

    Raises:
        ValueError: The header is damaged.
    """
    if frame.startswith(b"\xff\x4f\xff\x51"):
        right, bottom, left, top = struct.unpack_from(">4I", frame, 8)
        return right - left, bottom - top
    if not frame.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker, length = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4], "big")
        if marker in _FRAME_HEADERS:
            height, width = struct.unpack_from(">2H", frame, at + 5)
            return width, height
        # Fill bytes have no length.
        at += 1 if marker == 0xFF else 2 + length
    raise ValueError("the compressed image has no frame header")


def _rgb(stored: np.ndarray, bits: int) -> Image.Image:
    return from_pixels((stored >> max(0, bits - 8)).clip(0, 255).astype(np.uint8))


def _gray(stored: np.ndarray, dataset: Any, tools: Any) -> Image.Image:
    values = tools.apply_modality_lut(stored, dataset)
    has_window = None not in (dataset.get("WindowCenter"), dataset.get("WindowWidth"))
    if has_window or dataset.get("VOILUTSequence"):
        shown = _windowed(values, dataset, tools)
    elif values.dtype == np.uint8 and int(dataset.BitsStored) == 8:
        shown = values
    else:
        padding = dataset.get("PixelPaddingValue")
        seen = values[stored != padding] if padding is not None and (stored != padding).any() else values
        shown = _scaled(values, float(seen.min()), float(seen.max()))
    return Image.fromarray(255 - shown if dataset.PhotometricInterpretation == "MONOCHROME1" else shown)


def _windowed(values: np.ndarray, dataset: Any, tools: Any) -> Pixels:
    if dataset.get("VOILUTSequence"):
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return _scaled(tools.apply_voi(values, dataset), 0, 2**bits - 1)
    with np.errstate(over="ignore"):
        shown = tools.apply_windowing(values, dataset)
        # The range depends on the bits and on the rescaling; values far outside of the window show it.
        low, high = tools.apply_windowing(np.array([-_FAR, _FAR]), dataset)
    return _scaled(shown, float(low), float(high))


def _scaled(values: np.ndarray, low: float, high: float) -> Pixels:
    """Values from ``low`` (black) to ``high`` (white) as uint8."""
    share = (values.astype(np.float64) - low) / ((high - low) or 1)
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)
