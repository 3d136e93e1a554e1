#!/usr/bin/env bash
# coremltools 9.0 with torch 2.14.1, a program of torch.export whose batch is Dim.DYNAMIC (or Dim.AUTO).
# One would guess: the converted model takes any number of images, as the exported program does in torch, where a batch of one
#   works.
# Seen: torch.export records a dynamic size as "2 or more", since it treats 0 and 1 as special; torch itself does not enforce the 2
#   when the program runs, but coremltools writes it into the file as the lower bound. Such a model takes no single image. There is
#   no warning. With Dim("batch", min=1, max=8) the bounds are 1 and 8.
# Why a user of this field meets it: apps classify one photo at a time, and the fault is first seen on a Mac or a phone, since Core
#   ML runs nowhere else.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "coremltools==9.0" "torch==2.14.1" "numpy==2.4.6" 2>/dev/null
cd "$folder"
"$folder/venv/bin/python" -W ignore - 2>stderr.txt <<'PYTHON' || { tail -5 stderr.txt; exit 1; }
import sys

import coremltools as ct
import torch

print(f"coremltools {ct.__version__}, torch {torch.__version__}")
Dim = torch.export.Dim
model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 2)).eval()
seen = {}
batches = {"Dim.DYNAMIC": Dim.DYNAMIC, "Dim.AUTO": Dim.AUTO, "Dim(min=1)": Dim("batch", min=1, max=8)}
for name, batch in batches.items():
    program = torch.export.export(model, (torch.zeros(2, 3, 8, 8),), dynamic_shapes=({0: batch},)).run_decompositions({})
    (alone,) = program.module()(torch.zeros(1, 3, 8, 8)).shape[:1]
    converted = ct.convert(program, skip_model_load=True)
    size = converted.get_spec().description.input[0].type.multiArrayType.shapeRange.sizeRanges[0]
    seen[name] = (alone, size.lowerBound)
    print(f"{name}: torch computes a batch of {alone}; the Core ML model takes {size.lowerBound} to {size.upperBound} images")
if seen != {"Dim.DYNAMIC": (1, 2), "Dim.AUTO": (1, 2), "Dim(min=1)": (1, 1)}:
    sys.exit(f"the behavior has changed: {seen}")
PYTHON
