"""The formats of image files: their extensions, how their content is recognized, and what each one needs."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from resnet_cli.images.raw import is_raw_tiff


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        name: What it is called in messages.
        extensions: Extensions of its files, in lower case.
        pillow: Name of Pillow's decoder; empty if Pillow does not read it.
        feature: Name of the part of Pillow that not every build of it has; empty if every build reads the format.
        module: Module of the extra ``formats`` that reads it; empty if it is not needed.
        package: Name of that module's package.
        refusal: Why such a file is never read, and what to do instead; empty if it is read.
    """

    name: str
    extensions: tuple[str, ...]
    pillow: str = ""
    feature: str = ""
    module: str = ""
    package: str = ""
    refusal: str = ""


JPEG = Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), pillow="JPEG")
PNG = Format("PNG", (".png",), pillow="PNG")
WEBP = Format("WebP", (".webp",), pillow="WEBP")
BMP = Format("BMP", (".bmp",), pillow="BMP")
GIF = Format("GIF", (".gif",), pillow="GIF")
# The first extension is the one that unnamed images of a Parquet file get.
TIFF = Format("TIFF", (".tiff", ".tif"), pillow="TIFF")
PPM = Format("PPM", (".ppm", ".pgm", ".pbm", ".pnm"), pillow="PPM")
AVIF = Format("AVIF", (".avif",), pillow="AVIF", feature="avif")
JPEG_2000 = Format("JPEG 2000", (".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc"), pillow="JPEG2000", feature="jpg_2000")
HEIF = Format("HEIC", (".heic", ".heif", ".hif"), module="pillow_heif", package="pillow-heif")
JPEG_XL = Format("JPEG XL", (".jxl",), module="imagecodecs", package="imagecodecs")
DICOM = Format("DICOM", (".dcm", ".dicom"), module="pydicom", package="pydicom")
RAW = Format(
    "camera raw",
    (
        *(".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".dng", ".orf", ".rw2", ".raf", ".pef"),
        *(".srw", ".x3f", ".3fr", ".iiq", ".rwl", ".erf", ".kdc", ".mrw"),
    ),
    refusal="a camera raw file: its sensor data is not an image yet, and its preview is a different image; convert "
    "it first, for example: darktable-cli IMAGE.NEF IMAGE.jpg",
)
#: Formats whose files count as images, even where they cannot be read.
IMAGE_FORMATS = (JPEG, PNG, WEBP, BMP, GIF, TIFF, PPM, AVIF, JPEG_2000, HEIF, JPEG_XL, DICOM, RAW)
EXTENSIONS = frozenset(extension for known in IMAGE_FORMATS for extension in known.extensions)

GIT_LFS = Format(
    "Git LFS pointer",
    (),
    refusal="a Git LFS pointer, not the image itself; in its repository, run: git lfs pull",
)
WEB_PAGE = Format("web page", (), refusal="a web page, not an image: its download went wrong; download it again")
PDF = Format("PDF", (".pdf",), refusal="a PDF document; convert its pages first: pdftoppm -png FILE.pdf PAGE")
SVG = Format("SVG", (".svg",), refusal="an SVG drawing, which has no pixels; convert it first: rsvg-convert")
VIDEO = Format(
    "video",
    (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"),
    refusal="a video; take single images from it first: ffmpeg -i VIDEO FOLDER/%05d.png",
)
LAYERED = Format(
    "Photoshop or GIMP", (".psd", ".psb", ".xcf"), refusal="a document with layers; export it as PNG or JPEG first"
)
HDR = Format(
    "high dynamic range",
    (".exr", ".hdr"),
    refusal="a high dynamic range image, which has no agreed brightness; convert it to PNG or JPEG first",
)
ICON = Format("icon", (".ico", ".cur", ".icns"), refusal="an icon, which contains several images; save one as PNG")
TGA = Format("TGA", (".tga",), refusal="a TGA image, which is not read; convert it to PNG first")
#: Formats that are recognized only so that they can be refused by name.
OTHER_FORMATS = (GIT_LFS, WEB_PAGE, PDF, SVG, VIDEO, LAYERED, HDR, ICON, TGA)

#: First bytes -> format. Source: the formats' specifications, as in file(1); raw: ExifTool's tables of TIFF headers.
_SIGNATURES: tuple[tuple[bytes, Format], ...] = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF8", GIF),
    (b"BM", BMP),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    # BigTIFF.
    (b"II+\0", TIFF),
    (b"MM\0+", TIFF),
    (b"\xff\x0a", JPEG_XL),
    (b"\0\0\0\x0cJXL \r\n\x87\n", JPEG_XL),
    (b"\0\0\0\x0cjP  \r\n\x87\n", JPEG_2000),
    (b"\xff\x4f\xff\x51", JPEG_2000),
    (b"IIRO", RAW),
    (b"IIRS", RAW),
    (b"MMOR", RAW),
    (b"IIU\0", RAW),
    (b"FUJIFILMCCD-RAW", RAW),
    (b"II\x1a\0\0\0HEAP", RAW),
    (b"FOVb", RAW),
    (b"\0MRM", RAW),
    (b"version https://git-lfs", GIT_LFS),
    (b"%PDF-", PDF),
    (b"8BPS", LAYERED),
    (b"gimp xcf", LAYERED),
    (b"v/1\x01", HDR),
    (b"#?RADIANCE", HDR),
    (b"\0\0\x01\0", ICON),
    (b"icns", ICON),
    (b"\x1aE\xdf\xa3", VIDEO),
)
#: Brands of files that begin with a box `ftyp`. Source: ISO/IEC 23008-12, annex B; the AVIF specification; CR3 files.
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), AVIF),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"), HEIF),
    b"crx ": RAW,
    **dict.fromkeys((b"isom", b"iso2", b"mp41", b"mp42", b"avc1", b"qt  ", b"M4V ", b"3gp4", b"3gp5"), VIDEO),
}
#: Brands that other formats share: HEIF unless a compatible brand says more.
_STRUCTURES = (b"mif1", b"msf1", b"miaf")
_TEXT_BYTES = 512


def is_image_name(path: Path | str) -> bool:
    """Whether a file has the extension of an image (hidden files never count)."""
    # Strings instead of Path, which would double the seconds for a folder with millions of files.
    name = os.path.basename(path)
    return os.path.splitext(name)[1].lower() in EXTENSIONS and not name.startswith(".")


def recognize(data: bytes, path: str = "") -> Format | None:
    """The format of a file by its first bytes; None for content that is not known.

    Args:
        data: The whole file, or at least its first kilobytes.
        path: Name of the file. It decides only where the content leaves it open.
    """
    extension = os.path.splitext(path)[1].lower()
    found = next((known for start, known in _SIGNATURES if data.startswith(start)), None)
    # The preamble of a DICOM file is free, and often that of a TIFF. Source: DICOM PS3.10, 7.1.
    if data[128:132] == b"DICM" and extension not in TIFF.extensions:
        return DICOM
    if found is TIFF:
        return RAW if extension in RAW.extensions or is_raw_tiff(data) else TIFF
    if found is not None:
        return found
    if data[4:8] == b"ftyp":
        return _by_brand(data)
    if data[:4] == b"RIFF":
        return {b"WEBP": WEBP, b"AVI ": VIDEO}.get(data[8:12])
    # Without the preamble, a data set begins with an element of group 2 or 8.
    if extension in DICOM.extensions and data[:2] in {b"\x02\0", b"\x08\0"}:
        return DICOM
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return PPM
    return _by_text(data) or (TGA if extension in TGA.extensions else None)


def recognize_image(data: bytes) -> Format | None:
    """The format of an image by signatures that no text or other data has by accident; None for anything else.

    Args:
        data: The first kilobyte of a file.
    """
    found = recognize(data)
    is_sure = found in IMAGE_FORMATS and found not in (BMP, PPM) and not data.startswith(b"\xff\x0a")
    return found if is_sure else None


def _by_brand(data: bytes) -> Format | None:
    end = min(int.from_bytes(data[:4], "big"), len(data), 256)
    major, *others = (data[at : at + 4] for at in (8, *range(16, end - 3, 4)))
    if major not in _STRUCTURES:
        return _BRANDS.get(major)
    return next((_BRANDS[brand] for brand in others if brand in _BRANDS), HEIF)


def _by_text(data: bytes) -> Format | None:
    start = data[:_TEXT_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return WEB_PAGE
    return SVG if start.startswith((b"<svg", b"<?xml", b"<!doctype svg")) and b"<svg" in start else None
