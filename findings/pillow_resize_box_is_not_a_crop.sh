#!/usr/bin/env bash
# Pillow 13.0.0, Image.resize(size, resample, box).
# One would guess: resizing only the part of an image that is needed, with the box that becomes the crop, gives the pixels of
#   resizing the whole image and cropping the result.
# Seen: some values differ by one level, for two reasons. The box is rounded to float32, which moves the weights of all pixels
#   unless the box is exact. And since Pillow 13 the height is resized before the width if it loses more than twice as many
#   pixels, which depends on the size that is asked for: a tall image is resized in another order when a part of it is. (The
#   whole of it also gives other pixels than in Pillow 12.)
# Why a user of this field meets it: the shortcut makes the preprocessing of a classifier faster, and its input is then not
#   that of torchvision's Resize and CenterCrop. Where the box has float32 coordinates without rounding and the order is the
#   same, the bits are equal.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "pillow==13.0.0" 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import random
import sys

import PIL
from PIL import Image

BILINEAR = Image.Resampling.BILINEAR
print(f"pillow {PIL.__version__}")


def differing(size, resized, part):
    """Values that differ between cropping the resized image to ``part`` and resizing the box of ``part``."""
    source = Image.frombytes("RGB", size, random.Random(0).randbytes(3 * size[0] * size[1]))
    cropped = source.resize(resized, BILINEAR).crop(part).tobytes()
    scale = [before / after for before, after in zip(size, resized)] * 2
    box = tuple(at * by for at, by in zip(part, scale))
    boxed = source.resize((part[2] - part[0], part[3] - part[1]), BILINEAR, box).tobytes()
    differences = [abs(a - b) for a, b in zip(cropped, boxed)]
    return sum(map(bool, differences)), max(differences)


seen = {
    # 500 / 341 is rounded.
    "a box that float32 rounds": differing((500, 375), (341, 256), (58, 16, 282, 240)),
    # All coordinates are multiples of 1/256, and the width comes first in both.
    "a box without rounding": differing((600, 400), (384, 256), (80, 16, 304, 240)),
    # The whole loses 768 and 244 rows and columns: height first. The part loses 976 and 276.
    "the same order, a tall image": differing((500, 1024), (256, 256), (16, 128, 240, 176)),
    # The whole loses 512 and 256: width first. The part loses 944 and 288: height first.
    "another order": differing((512, 1024), (256, 512), (16, 144, 240, 224)),
}
for name, (count, largest) in seen.items():
    print(f"{name}: {count} values differ, by at most {largest}")
if [largest for _, largest in seen.values()] != [1, 0, 0, 1]:
    sys.exit("the behavior has changed")
PYTHON
