#!/usr/bin/env bash
# Pillow 13.0.0 (12.0.0 gives the same), Image.save(..., "AVIF", exif=exif).
# One would guess: saving an image does not change the Exif object that it is given.
# Seen: the encoder removes the orientation from the caller's object (it becomes the file's own rotation), so that the next
#   file saved with the same object, in any format, has no orientation.
# Why a user of this field meets it: a loop that writes AVIF and then JPEG or HEIC copies of a photo loses the rotation of
#   all but the first; a test of several formats with one Exif object tests nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "pillow==13.0.0" 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import io
import sys

import PIL
from PIL import Image

print(f"pillow {PIL.__version__}")
seen = {}
for file_format in ("JPEG", "WEBP", "TIFF", "PNG", "AVIF"):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (32, 64)).save(io.BytesIO(), file_format, exif=exif)
    seen[file_format] = exif.get(0x0112)
    print(f"orientation in the object after saving {file_format}: {seen[file_format]}")
if seen != {"JPEG": 6, "WEBP": 6, "TIFF": 6, "PNG": 6, "AVIF": None}:
    sys.exit(f"the behavior has changed: {seen}")
PYTHON
