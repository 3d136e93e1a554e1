#!/usr/bin/env bash
# torch 2.14.1, torch.save and torch.load.
# One would guess: torch.load reads back what torch.save wrote, whatever the file is called; and the content tells what it is.
# Seen: torch.load takes every path that ends with .safetensors for a safetensors file, while torch.save writes its own format
#   under any name. So torch.save(state, "model.safetensors") succeeds, torch.load of the same path fails ("header too large"),
#   and it succeeds again from an open file or under another name. A safetensors file under the name of a .pth is not recognized.
# Why a user of this field meets it: scripts that are changed from .pth to .safetensors often change only the name. Training
#   completes, and its checkpoints look damaged on the day when they are needed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "torch==2.14.1" "numpy==2.4.6" "safetensors==0.8.0" 2>/dev/null
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import shutil
import sys

import safetensors
import safetensors.torch
import torch

print(f"torch {torch.__version__}, safetensors {safetensors.__version__}")
state = {"weight": torch.ones(2)}
torch.save(state, "model.safetensors")
shutil.copy("model.safetensors", "model.pth")
safetensors.torch.save_file(state, "renamed.pth")


def read(name, source):
    try:
        found = f"read {list(torch.load(source))}"
    except Exception as error:
        found = f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
    print(f"{name}: {found}")
    return found.startswith("read")


with open("model.safetensors", "rb") as file:
    seen = [
        read("torch.save, then torch.load of model.safetensors", "model.safetensors"),
        read("the same file, opened", file),
        read("the same bytes as model.pth", "model.pth"),
        read("safetensors under the name renamed.pth", "renamed.pth"),
    ]
if seen != [False, True, True, False]:
    sys.exit("the behavior has changed")
PYTHON
