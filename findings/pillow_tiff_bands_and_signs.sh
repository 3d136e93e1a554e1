#!/usr/bin/env bash
# Pillow 13.0.0 (12.0.0 gives the same), Image.open on TIFF files that tifffile wrote.
# One would guess: a TIFF whose kind Pillow does not support is refused ("cannot identify image file"), as it refuses 13
#   interleaved bands.
# Seen, each without an error or a warning:
#   - 13 bands of uint16 in separate, compressed planes (a satellite image) are one gray image: the first band;
#   - int8 is read as uint8: -1 is 255;
#   - int16, int32 and float32 of big-endian, compressed files are read with swapped bytes;
#   - uncompressed 16-bit RGB, RGBA and CMYK in separate planes are noise (compressed they are right);
#   - 16-bit gray in which 0 is white is the negative (8 bits are inverted, 16 are not).
#   13 interleaved bands are refused, but with a line on stderr in every program that has not configured logging.
# Why a user of this field meets it: microscopes, scanners and satellites write exactly these files, and training on
#   noise, negatives or one band of 13 completes without an error.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "pillow==13.0.0" "tifffile==2026.3.3" "imagecodecs==2026.3.6" 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import io
import sys

import numpy as np
import PIL
import tifffile
from PIL import Image

print(f"pillow {PIL.__version__}, tifffile {tifffile.__version__}")
rng = np.random.default_rng(0)
seen = {}


def read(name, values, expected, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    with Image.open(io.BytesIO(file.getvalue())) as image:
        found = np.asarray(image)
    is_right = found.shape == expected.shape and np.array_equal(found, expected)
    print(f"{name}: {values.dtype} {values.shape} -> {found.dtype} {found.shape}, {'right' if is_right else 'WRONG'}")
    seen[name] = is_right


bands = rng.integers(0, 65536, (13, 16, 16), dtype=np.uint16)
read("13 bands", bands, bands, photometric="minisblack", planarconfig="separate", compression="zlib")
signed = rng.integers(-128, 128, (16, 16), dtype=np.int8)
read("int8", signed, signed, photometric="minisblack")
signed = rng.integers(-30000, 30000, (16, 16), dtype=np.int16)
read("int16, big-endian", signed, signed, byteorder=">", photometric="minisblack")
read("int16, big-endian, compressed", signed, signed, byteorder=">", photometric="minisblack", compression="zlib")
planes = rng.integers(0, 65536, (3, 16, 16), dtype=np.uint16)
upper = np.moveaxis(planes >> 8, 0, 2).astype(np.uint8)
read("RGB planes", planes, upper, photometric="rgb", planarconfig="separate")
read("RGB planes, compressed", planes, upper, photometric="rgb", planarconfig="separate", compression="zlib")
narrow = rng.integers(0, 256, (16, 16), dtype=np.uint8)
read("white is zero, 8 bits", narrow, 255 - narrow, photometric="miniswhite")
wide = rng.integers(0, 65536, (16, 16), dtype=np.uint16)
read("white is zero, 16 bits", wide, 65535 - wide, photometric="miniswhite")
right = {name for name, is_right in seen.items() if is_right}
if right != {"int16, big-endian", "RGB planes, compressed", "white is zero, 8 bits"}:
    sys.exit(f"the behavior has changed; right: {sorted(right)}")
PYTHON
