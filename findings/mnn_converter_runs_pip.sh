#!/usr/bin/env bash
# MNN 3.6.1 (Python package), the converter: MNN.tools.mnnconvert, also as the command mnnconvert.
# One would guess: it reads a model, writes a model, and changes nothing else.
# Seen: importing it runs `pip install -U aliyun-log-python-sdk` through the shell, with the first pip on PATH, whatever
#   environment that belongs to. The package that this installs is then used to report each conversion (options, sizes, the
#   machine's identifier from /etc/machine-id) to a server. The extension module _tools converts without any of this.
# Why a user of this field meets it: MNN's documentation names this command for models from ONNX, and a failing pip is
#   ignored.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "mnn==3.6.1" "numpy==2.4.6" 2>/dev/null
cd "$folder"
# A pip that only writes down what it is asked for: nothing is installed here, and so nothing is reported.
mkdir bin
printf '#!/bin/sh\necho "$@" >> "%s"\n' "$folder/asked" > bin/pip
chmod +x bin/pip
PATH="$folder/bin:$PATH" venv/bin/python -c "import MNN; print('MNN', MNN.version()); import MNN.tools.mnnconvert"
echo "pip was asked for: $(cat asked)"
rm asked
PATH="$folder/bin:$PATH" venv/bin/python -c "import _tools; print('_tools has mnnconvert:', hasattr(_tools, 'mnnconvert'))"
if [ -e asked ] || ! grep -q "aliyun" venv/lib/python3*/site-packages/MNN/tools/utils/log.py; then
    echo "the behavior has changed"
    exit 1
fi
