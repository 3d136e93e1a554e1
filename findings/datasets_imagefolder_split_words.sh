#!/usr/bin/env bash
# datasets 5.2.0, load_dataset("imagefolder" layout): one folder per class, no split folders.
# One would guess: every image of the class folders is in the split "train", with its folder as its label.
# Seen: a word that denotes a split, anywhere in one path, decides about the whole folder. Two images that are called
#   test_1.png make a data set of these two images, and the other six are missing; a class folder `dev` becomes the
#   validation split and its neighbor `prod` is missing; of the classes test_tube, train_station and valve the first is the
#   test split, the second has no label, and the third is missing. There is no error and no warning.
# Why a user of this field meets it: names such as test_1.png, dev or train_station are common in folders of photos, and
#   training on the rest completes without an error.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "datasets==5.2.0" "pillow==13.0.0" 2>/dev/null
cd "$folder"
HF_HUB_OFFLINE=1 HF_HOME="$folder/home" "$folder/venv/bin/python" - <<'PYTHON'
import sys
from pathlib import Path

import datasets
import PIL
from PIL import Image

datasets.disable_progress_bars()
print(f"datasets {datasets.__version__}, pillow {PIL.__version__}")


def read(name, files):
    for number, file in enumerate(files):
        path = Path(name, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number * 20, 0, 0)).save(path)
    found = {
        split: (part.num_rows, part["label"][:] if "label" in part.column_names else "no labels")
        for split, part in datasets.load_dataset(name, cache_dir="cache").items()
    }
    print(f"{name}: {len(files)} images in {len({Path(file).parent for file in files})} folders -> {found}")
    return found


plain = [f"{label}/{number}.png" for label in ("cat", "dog") for number in range(3)]
seen = [
    read("plain", [*plain, "cat/one_1.png", "dog/one_1.png"]),
    read("one_word", [*plain, "cat/test_1.png", "dog/test_1.png"]),
    read("stages", [f"{label}/{number}.png" for label in ("dev", "prod") for number in range(3)]),
    read("things", [f"{label}/{number}.png" for label in ("test_tube", "train_station", "valve") for number in range(3)]),
]
expected = [
    {"train": (8, [0, 0, 0, 0, 1, 1, 1, 1])},
    {"test": (2, [0, 1])},
    {"validation": (3, "no labels")},
    {"train": (3, [None] * 3), "test": (3, [0] * 3)},
]
if seen != expected:
    sys.exit(f"the behavior has changed; expected {expected}")
PYTHON
