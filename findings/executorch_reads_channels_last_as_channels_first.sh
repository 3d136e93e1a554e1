#!/usr/bin/env bash
# executorch 1.5.1 (Python runtime) with torch 2.14.1, an input in another memory format than the one of the export.
# One would guess: a torch tensor is its values, whatever its memory format; or the runtime refuses a format that the program was
#   not exported for, since it refuses other strides ("should be contiguous or channels-last").
# Seen: it accepts a tensor that is contiguous in channels_last, and reads its memory as if it were contiguous. An image
#   [1 x h x w x 3] that is turned into [1 x 3 x h x w] by permute(0, 3, 1, 2) is such a tensor: red, green and blue end up mixed
#   in each channel, without an error or a warning. The same program in torch is right; tensor.contiguous() helps.
# Why a user of this field meets it: this permute is how a decoded image becomes the input of a network. The exported file passes
#   a test with torch.randn, and gives plausible, wrong answers to photos.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "executorch==1.5.1" "torch==2.14.1" "numpy==2.4.6" 2>/dev/null
cd "$folder"
"$folder/venv/bin/python" -W ignore - 2>stderr.txt <<'PYTHON' || { tail -5 stderr.txt; exit 1; }
import sys
from importlib.metadata import version

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime

print(f"executorch {version('executorch')}, torch {torch.__version__}")


class MeanOfEachChannel(torch.nn.Module):
    def forward(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(2 * images, 1).flatten(1) / 2


photo = torch.zeros(1, 8, 8, 3)
photo[..., 0] = 255.0  # red
photo[:, :4, :, 2] = 100.0  # with some blue in its upper half
permuted = photo.permute(0, 3, 1, 2)
model = MeanOfEachChannel().eval()
exported = torch.export.export(model, (torch.randn(1, 3, 8, 8),))
print(f"in torch: {exported.module()(permuted).tolist()}")
right = [[255.0, 0.0, 50.0]]
seen = {}
for name, partitioner in {"portable operators": None, "XNNPACK": [XnnpackPartitioner()]}.items():
    program = to_edge_transform_and_lower(exported, partitioner=partitioner).to_executorch()
    method = Runtime.get().load_program(program.buffer).load_method("forward")
    results = [method.execute([images])[0].tolist() for images in (permuted, permuted.contiguous())]
    print(f"{name}: {results[0]}; with .contiguous(): {results[1]}")
    seen[name] = [all(abs(a - b) < 0.01 for a, b in zip(one[0], right[0])) for one in results]
    try:
        method.execute([torch.zeros(1, 3, 8, 16)[..., ::2]])
        seen[name].append("taken")
    except RuntimeError as error:
        print(f"{name}, every second column: {error}")
        seen[name].append("refused")
if any(one != [False, True, "refused"] for one in seen.values()):
    sys.exit(f"the behavior has changed: {seen}")
PYTHON
