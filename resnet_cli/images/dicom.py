"""DICOM, the images of medical devices, through pydicom: as a viewer shows them first."""

from __future__ import annotations

import io
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
#: Packages without which pydicom cannot read a compression. Source: pydicom's guide to decoding pixel data.
_HIGH_THROUGHPUT = "pylibjpeg pylibjpeg-openjpeg"
_OTHERS = "python-gdcm"
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
    from pydicom import pixels as tools

    if _DEFLATED in data[:_META_BYTES]:
        raise ImageError(path, "DICOM with a deflated data set; convert it first: dcmconv +te IN.dcm OUT.dcm")
    dataset = library.dcmread(io.BytesIO(data), force=True)
    _check(dataset, path, max_pixels)
    _check_compression(dataset, tools, path)
    # YBR is converted to RGB here.
    stored = tools.pixel_array(dataset)  # [h x w] or [h x w x 3]
    mode = "RGB" if stored.ndim == 3 else ("L" if stored.dtype.itemsize == 1 else "I;16")
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        stored = tools.apply_color_lut(stored, dataset)
    image = _rgb(stored) if stored.ndim == 3 else _gray(stored, dataset, tools)
    return Decoded(image.convert("RGB"), "DICOM", mode, 1, False)


def _check(dataset: Any, path: str, max_pixels: int) -> None:
    if "Rows" not in dataset or "PixelData" not in dataset:
        what = dataset.get("Modality") or "no modality"
        raise ImageError(path, f"DICOM without an image of integers ({what}); leave it out")
    check_size(path, int(dataset.Columns), int(dataset.Rows), max_pixels)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ImageError(
            path,
            f"DICOM with {frames:,} frames, of which each could be the image; write those that you mean to files of "
            "their own, for example: dcm2img --frame 1 IN.dcm OUT.png",
        )
    if int(dataset.get("SamplesPerPixel") or 1) not in (1, 3):
        raise ImageError(path, f"DICOM with {dataset.SamplesPerPixel} samples per pixel; convert it to PNG first")


def _check_compression(dataset: Any, tools: Any, path: str) -> None:
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
    if not decoder.is_available:
        packages = _HIGH_THROUGHPUT if "High-Throughput" in syntax.name else _OTHERS
        raise ImageError(path, f"DICOM compressed as {syntax.name}, for which pydicom needs: pip install {packages}")


def _rgb(stored: np.ndarray) -> Image.Image:
    wide = stored.dtype.itemsize > 1
    return from_pixels((stored >> 8 if wide else stored).astype(np.uint8))


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
