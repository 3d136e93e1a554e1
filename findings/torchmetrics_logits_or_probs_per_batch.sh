#!/usr/bin/env bash
# torchmetrics 1.9.0, multi-label metrics on logits (MultilabelF1Score, MultilabelAveragePrecision and their relatives).
# One would guess: a metric takes logits or probabilities, for all images alike; the documentation says that logits are
#   recognized by values outside of 0 to 1 and pass through a sigmoid.
# Seen: this is decided in each call of update(), by its own values. A batch whose logits all happen to be between 0 and 1 is
#   taken for probabilities: 0.3 stays 0.3 and is below the threshold, while the same logit beside a 2.0 becomes 0.57 and is
#   above it. So the result depends on how the images are divided into batches: F1 1.00 and 0.75, mAP 1.00 and 0.67 below.
#   Apply the sigmoid yourself: probabilities are never changed.
# Why a user of this field meets it: the last, incomplete batch of a validation split often has one image, and with a few
#   classes and a young model its logits are small.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "torchmetrics==1.9.0" "torch==2.14.1" "numpy==2.4.6" 2>/dev/null
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import torch
import torchmetrics
from torchmetrics.classification import MultilabelAveragePrecision, MultilabelF1Score

print(f"torchmetrics {torchmetrics.__version__}, torch {torch.__version__}")
logits = torch.tensor([[2.0, -1.0], [0.4, -2.0], [3.0, -1.0], [0.3, 0.2]])
targets = torch.tensor([[1, 0], [1, 0], [1, 0], [1, 1]])


def score(metric, values, size):
    for part, truth in zip(values.split(size), targets.split(size)):
        metric.update(part, truth)
    return round(float(metric.compute()), 2)


seen = {}
for name, make in {
    "F1": lambda: MultilabelF1Score(num_labels=2, average="micro"),
    "mAP": lambda: MultilabelAveragePrecision(num_labels=2),
}.items():
    for kind, values in {"logits": logits, "probs": logits.sigmoid()}.items():
        seen[name, kind] = [score(make(), values, size) for size in (4, 3)]
        print(f"{name} of {kind}: batches of 4 -> {seen[name, kind][0]}, batches of 3 and 1 -> {seen[name, kind][1]}")
expected = {
    ("F1", "logits"): [1.0, 0.75],
    ("F1", "probs"): [1.0, 1.0],
    ("mAP", "logits"): [1.0, 0.67],
    ("mAP", "probs"): [1.0, 1.0],
}
if seen != expected:
    sys.exit(f"the behavior has changed; expected {expected}")
PYTHON
