#!/usr/bin/env bash
# torch 2.14.1, torch.load(weights_only=True) with torch.serialization.safe_globals.
# One would guess: a checkpoint is read once the types that it names are allowed; the error message and
#   get_unsafe_globals_in_checkpoint() list them.
# Seen: for subclasses of dict that is not enough. With collections.defaultdict and builtins.list allowed, which is all that is
#   listed, the checkpoint is still refused ("Can only SETITEM for dict, collections.OrderedDict, collections.Counter"); and so
#   is one with any other subclass of dict, while the subclasses that torch knows itself are read. The way out is to save
#   dict(history).
# Why a user of this field meets it: training scripts keep their history in a defaultdict(list) and save it beside the weights.
#   torch.load refuses such a checkpoint since version 2.6, and following its message does not help.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "torch==2.14.1" "numpy==2.4.6" 2>/dev/null
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import collections
import io
import sys

import torch

print(f"torch {torch.__version__}")
history = collections.defaultdict(list, {"loss": [0.7, 0.5]})


def saved(history):
    file = io.BytesIO()
    torch.save({"state_dict": {"weight": torch.ones(2)}, "history": history}, file)
    file.seek(0)
    return file


listed = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(saved(history)))
print("listed as not allowed:", listed)


def read(history):
    with torch.serialization.safe_globals([collections.defaultdict, list]):
        try:
            return f"read, history: {torch.load(saved(history), weights_only=True)['history']}"
        except Exception as error:
            lines = [line.strip() for line in str(error).splitlines() if "SETITEM" in line]
            return lines[0][lines[0].index("Can only") :] if lines else f"another refusal: {error}"


seen = [read(history), read(dict(history)), read(collections.OrderedDict(history))]
for line in seen:
    print(line)
expected = ["Can only SETITEM for dict", "read, history: {'loss': [0.7, 0.5]}", "read, history: OrderedDict("]
if listed != ["builtins.list", "collections.defaultdict"] or not all(map(str.startswith, seen, expected)):
    sys.exit(f"the behavior has changed; expected {expected}")
PYTHON
