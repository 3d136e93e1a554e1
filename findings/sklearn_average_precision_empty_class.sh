#!/usr/bin/env bash
# scikit-learn 1.9.1, average_precision_score of several labels per image (its macro average is what mAP usually means).
# One would guess: a class that no evaluated image has is not part of the mean, or makes it undefined, as in roc_auc_score.
# Seen: its average precision is 0 and counts in the mean; a class that every image has counts as 1, whatever is predicted. The
#   warning ("recall is set to one for all thresholds") does not say that the mean changes. Two perfectly ranked classes have an
#   mAP of 1; with a third one that no image has, 0.67. roc_auc_score of the same three is nan.
# Why a user of this field meets it: rare classes are often absent from a small test split or from one group of images, so mAP
#   of the groups differs for no other reason.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "scikit-learn==1.9.1" "numpy==2.4.6" 2>/dev/null
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
import sklearn
from sklearn.metrics import average_precision_score, roc_auc_score

print(f"scikit-learn {sklearn.__version__}, numpy {np.__version__}")
targets = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0]])
probs = np.array([[0.9, 0.1, 0.1], [0.2, 0.8, 0.1], [0.7, 0.3, 0.2], [0.1, 0.9, 0.1]])
seen = {}
for name, columns in {"two classes": [0, 1], "and one that no image has": [0, 1, 2]}.items():
    truth, scores = targets[:, columns], probs[:, columns]
    means = average_precision_score(truth, scores), roc_auc_score(truth, scores)
    seen[name] = [round(float(mean), 2) for mean in means]
    print(f"{name}: mAP {seen[name][0]}, ROC-AUC {seen[name][1]}, AP {average_precision_score(truth, scores, average=None)}")
full = average_precision_score(np.ones((4, 2)), 1 - probs[:, :2], average=None)
print(f"two classes that every image has: AP {full}")
(before, _), (after, auc) = seen.values()
if (before, after) != (1.0, 0.67) or not np.isnan(auc) or full.tolist() != [1.0, 1.0]:
    sys.exit("the behavior has changed")
PYTHON
