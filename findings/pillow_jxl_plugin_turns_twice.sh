#!/usr/bin/env bash
# pillow-jxl-plugin 1.3.8 (the usual way to give Pillow JPEG XL), with Pillow 13.0.0 and ImageOps.exif_transpose.
# One would guess: open, then exif_transpose, gives an upright image, as for JPEG, PNG, WebP and AVIF.
# Seen: the decoder turns the image by the orientation of the codestream and also hands out the EXIF block with the same
#   orientation, so that exif_transpose turns it a second time. Only a JPEG that was packed without loss comes out right,
#   because the plugin restores the JPEG and its unturned pixels. JPEG XL's specification says that the orientation in
#   EXIF is to be ignored.
# Why a user of this field meets it: cjxl writes both when it converts a phone's photos with loss. Portraits end up on
#   their side or upside down, and neither training nor prediction reports it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet \
  "pillow-jxl-plugin==1.3.8" "pillow==13.0.0" "imagecodecs==2026.3.6" "numpy>=2" 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import io
import sys

import imagecodecs
import numpy as np
import pillow_jxl  # noqa: F401: registers the format
from PIL import Image, ImageOps

print("pillow-jxl-plugin", importlib.metadata.version("pillow-jxl-plugin"), imagecodecs.jpegxl_version())
# Stored on its side, 32 x 64, to be shown as 64 x 32: orientation 6.
exif = Image.Exif()
exif[0x0112] = 6
jpeg = io.BytesIO()
Image.fromarray(np.zeros((64, 32, 3), np.uint8)).save(jpeg, "JPEG", exif=exif)
packed = imagecodecs.jpegxl_encode_jpeg(jpeg.getvalue())


def with_exif_alone(data):
    """What a conversion with loss writes: the EXIF block, and no box from which the JPEG is restored."""
    at, boxes = 0, []
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big") or len(data) - at
        boxes.append((data[at + 4 : at + 8], data[at + 8 : at + size]))
        at += size
    print("boxes of the packed JPEG:", *(kind.decode() for kind, _ in boxes))
    boxes = [(kind, content) for kind, content in boxes if kind not in (b"jbrd", b"Exif", b"brob")]
    boxes.insert(2, (b"Exif", bytes(4) + exif.tobytes().removeprefix(b"Exif\0\0")))
    return b"".join((len(content) + 8).to_bytes(4, "big") + kind + content for kind, content in boxes)


seen = []
for name, data in (("a packed JPEG", packed), ("converted with loss", with_exif_alone(packed))):
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
        print(f"{name}: opened as {image.size}, orientation {image.getexif().get(0x0112)}, turned {upright.size}")
        seen.append(upright.size)
if seen != [(64, 32), (32, 64)]:
    sys.exit(f"the behavior has changed: {seen}")
PYTHON
