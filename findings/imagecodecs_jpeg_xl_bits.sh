#!/usr/bin/env bash
# imagecodecs 2026.3.6 (libjxl 0.11.2), jpegxl_decode.
# One would guess: a JPEG XL file of 10 or 12 bits decodes to uint16 in [0, 65535], as Pillow scales JPEG 2000 of 12 bits.
# Seen: the values are in [0, 1023] and [0, 4095], and nothing that the function returns tells; `values >> 8`, which is
#   right for 16 bits, is nearly black.
# Why a user of this field meets it: cameras and converters write 10 and 12 bits, and 12-bit photos become black images
#   without an error.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "imagecodecs==2026.3.6" "pillow==13.0.0" 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import io
import sys

import imagecodecs
import numpy as np
from PIL import Image

print(f"imagecodecs {imagecodecs.__version__}, {imagecodecs.jpegxl_version()}")
seen = []
for bits in (10, 12, 16):
    ramp = np.linspace(0, 2**bits - 1, 64 * 64).astype(np.uint16).reshape(64, 64)
    found = imagecodecs.jpegxl_decode(imagecodecs.jpegxl_encode(ramp, lossless=True, bitspersample=bits))
    twin = imagecodecs.jpeg2k_encode(ramp, level=0, reversible=True, bitspersample=bits)
    with Image.open(io.BytesIO(twin)) as image:
        scaled = np.asarray(image)
    print(f"white of {bits} bits: JPEG XL {found.dtype} {found.max()}, JPEG 2000 through Pillow {scaled.dtype} {scaled.max()}")
    seen.append(int(found.max()))
if seen != [1023, 4095, 65535]:
    sys.exit(f"the behavior has changed: {seen}")
PYTHON
