"""Camera raw files in the form of a TIFF: their first image is a preview, which Pillow would take for the image."""

from __future__ import annotations

from resnet_cli.images.tiff_header import read_all_pages

#: Values of PhotometricInterpretation of sensor data. Source: TIFF/EP (color filter array), DNG 1.7 (linear raw).
_SENSOR = {32803, 34892}


def is_raw_tiff(data: bytes) -> bool:
    """Whether a TIFF file contains the data of a camera's sensor (DNG, NEF, CR2, ARW, PEF, ...).

    Args:
        data: The whole file.
    """
    # Canon's CR2 declares its sensor data in no tag.
    return data[8:10] == b"CR" or any(
        page.number("photometric", 1) in _SENSOR or "dng_version" in page.tags for page in read_all_pages(data)
    )
