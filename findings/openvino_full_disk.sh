#!/usr/bin/env bash
# openvino 2026.4.1, save_model where the disk is full, or the limit on file sizes is reached.
# One would guess: an OSError with the number and the text of the system ("No space left on device"), as from every other
#   library that writes files.
# Seen: RuntimeError "basic_ios::clear: iostream error", without a number, the path or the reason.
# Why a user of this field meets it: exported networks are large, and a conversion that fails with this text looks like a
#   fault of the model or of OpenVINO. A program that catches OSError to report a full disk does not see it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "openvino==2026.4.1" 2>/dev/null
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import resource
import sys
from importlib.metadata import version

import numpy as np
import openvino
import openvino.opset13 as operations

print(f"openvino {version('openvino')}")
pixels = operations.parameter([1, 3])
weights = operations.constant(np.ones((3, 3000), np.float32))
model = openvino.Model([operations.matmul(pixels, weights, False, False)], [pixels])
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
    openvino.save_model(model, "model.xml", compress_to_fp16=False)
    seen = "no error"
except Exception as error:
    seen = f"{type(error).__name__}: {error}"
print(seen)
if seen != "RuntimeError: basic_ios::clear: iostream error":
    sys.exit("the behavior has changed")
PYTHON
