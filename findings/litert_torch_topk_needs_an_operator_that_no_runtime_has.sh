#!/usr/bin/env bash
# litert-torch 0.10.0 with ai-edge-litert 2.3.0 and torch 2.14.1.
# One would guess: a .tflite file that litert-torch writes without an error can be loaded by LiteRT of the same release.
# Seen: torch.topk becomes the operator STABLEHLO_SORT, which LiteRT's interpreter does not have, although LiteRT has its own
#   TOPK_V2. The conversion ends without a warning, and the file cannot be opened: "Didn't find op for builtin opcode
#   'STABLEHLO_SORT'". The largest values one after another (amax, argmax and where) are converted into operators that exist.
# Why a user of this field meets it: a classifier that returns its best five classes, or the nearest training images, is
#   converted on a server and opened on a phone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "litert-torch==0.10.0" "ai-edge-litert==2.3.0" "torch==2.14.1" 2>/dev/null
cd "$folder"
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import sys
from importlib.metadata import version

import litert_torch
import torch
from ai_edge_litert.interpreter import Interpreter

print(*(f"{name} {version(name)}" for name in ("litert-torch", "ai-edge-litert", "torch")))


class TopK(torch.nn.Module):
    def forward(self, values):
        return values.topk(2, dim=1).values


class OneAfterAnother(torch.nn.Module):
    def forward(self, values):
        first = values.amax(dim=1)
        places = torch.arange(values.shape[1])
        rest = torch.where(places == values.argmax(dim=1, keepdim=True), -torch.inf, values)
        return torch.stack([first, rest.amax(dim=1)], dim=1)


seen = {}
for module in (TopK(), OneAfterAnother()):
    name = type(module).__name__
    litert_torch.convert(module.eval(), (torch.zeros(1, 5),)).export(f"{name}.tflite")
    try:
        interpreter = Interpreter(f"{name}.tflite")
    except ValueError as error:
        seen[name] = str(error).partition("version")[0].strip()
        continue
    interpreter.allocate_tensors()
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(given["index"], torch.tensor([[3.0, 1, 4, 1, 5]]).numpy())
    interpreter.invoke()
    seen[name] = interpreter.get_tensor(result["index"]).tolist()
for name, found in seen.items():
    print(f"{name}: {found}")
if seen != {
    "TopK": "Didn't find op for builtin opcode 'STABLEHLO_SORT'",
    "OneAfterAnother": [[5.0, 4.0]],
}:
    sys.exit("the behavior has changed")
PYTHON
