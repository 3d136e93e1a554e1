#!/usr/bin/env bash
# pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6: a column of lists, read from Parquet and written as CSV.
# One would guess: the cells of the CSV are lists as Python writes them, ['cat', 'dog'], as they are for a frame that was not
#   stored as Parquet in between; ast.literal_eval, the usual way to read them again, returns the lists or fails.
# Seen: read_parquet returns NumPy arrays, and to_csv writes these without commas, ['cat' 'dog']. Two strings beside each other
#   are one string in Python: ast.literal_eval returns ['catdog'], without an error. More than 1,000 labels are written with
#   "..." in place of those in the middle, and a long cell has line breaks.
# Why a user of this field meets it: tables of several labels per image are stored in both formats, and a data set whose classes
#   are 'catdog' and 'cat' trains without complaint.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "pandas==3.1.1" "pyarrow==26.0.1" "numpy==2.4.6" 2>/dev/null
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import ast
import sys

import numpy as np
import pandas as pd
import pyarrow as pa

print(f"pandas {pd.__version__}, pyarrow {pa.__version__}, numpy {np.__version__}")
frame = pd.DataFrame({"image": ["1.jpg", "2.jpg"], "labels": [["cat", "dog"], ["cat"]]})


def through_csv(frame):
    frame.to_csv("labels.csv", index=False)
    print(open("labels.csv").read())
    found = [ast.literal_eval(cell) for cell in pd.read_csv("labels.csv")["labels"]]
    print(f"-> {found}")
    return found


direct = through_csv(frame)
frame.to_parquet("labels.parquet")
stored = pd.read_parquet("labels.parquet")
print(f"after Parquet: {type(stored['labels'][0]).__name__}")
joined = through_csv(stored)
pd.DataFrame({"labels": [[str(number) for number in range(1001)]]}).to_parquet("many.parquet")
many = pd.read_parquet("many.parquet").to_csv(index=False)
print(f"1,001 labels: {many.count(chr(39)) // 2} are in the CSV")
if (direct, joined, "..." in many) != ([["cat", "dog"], ["cat"]], [["catdog"], ["cat"]], True):
    sys.exit("the behavior has changed")
PYTHON
