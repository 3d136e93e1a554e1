#!/usr/bin/env bash
# ncnn 1.0.20261020 (Python package), ncnn.Mat(array) with an array of numpy that is a view.
# One would guess: ncnn.Mat(array) has the values of the array, as cv2, onnxruntime and openvino have, or refuses a view.
# Seen: it takes the shape of the view, and reads the memory behind it in its own order. A photo [h x w x 3] that is turned into
#   [3 x h x w] by transpose(2, 0, 1) stays interleaved in memory, and so red, green and blue end up mixed in each channel; of
#   every second column, and of a cutout, the wrong pixels are read. There is no error and no warning.
#   np.ascontiguousarray(view) helps.
# Why a user of this field meets it: images are decoded as [h x w x 3], transposed for the network and cropped, and all three are
#   views. The network answers with plausible probabilities for a scrambled image.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "ncnn==1.0.20261020" "numpy==2.4.6" 2>/dev/null
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import ncnn
import numpy as np

print(f"ncnn {ncnn.__version__}, numpy {np.__version__}")
photo = np.zeros((4, 4, 3), dtype=np.float32)
photo[..., 0] = 255  # red
photo[:, 2:, 2] = 99  # with some blue on the right
channels = photo.transpose(2, 0, 1)
cases = {
    "channels first": channels,
    "channels first, cut out": np.ascontiguousarray(channels)[:, 1:3, 1:3],
    "channels first, every second column": np.ascontiguousarray(channels)[:, :, ::2],
}
seen = {}
for name, view in cases.items():
    found, copied = (np.array(ncnn.Mat(one)) for one in (view, np.ascontiguousarray(view)))
    means = [one.mean(axis=(1, 2)).round(1).tolist() for one in (view, found, copied)]
    print(f"{name}: means of red, green and blue {means[0]}; in ncnn {means[1]}; of a copy {means[2]}")
    seen[name] = (np.array_equal(found, view), np.array_equal(copied, view))
if set(seen.values()) != {(False, True)}:
    sys.exit(f"the behavior has changed: {seen}")
PYTHON
