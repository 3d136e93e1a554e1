#!/usr/bin/env bash
# webdataset 1.0.2, TarWriter and WebDataset.
# One would guess: what TarWriter writes under three keys comes back as three samples with the fields jpg and cls.
# Seen: the writer accepts keys with a dot, and the reader ends a key at the first dot of the name. cat.1 and cat.2 come
#   back as one sample with the fields 1.jpg, 1.cls, 2.jpg and 2.cls, dog.1 as one with 1.jpg and 1.cls. Neither the
#   writer nor the reader warns; the first error occurs where a field is requested.
# Why a user of this field meets it: names with dots are common (cat.1.jpg of dogs-vs-cats, *.rf.HASH.jpg of annotation
#   services), and a pipeline that looks for any image in a sample trains on fewer images than were written.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "webdataset==1.0.2" "numpy==2.4.6" "pillow==13.0.0" 2>/dev/null
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
import webdataset

print(f"webdataset {version('webdataset')}, numpy {np.__version__}")
keys = ["cat.1", "cat.2", "dog.1"]
with webdataset.TarWriter("shard.tar") as writer:
    for number, key in enumerate(keys):
        image = np.full((8, 8, 3), 80 * number, dtype=np.uint8)
        writer.write({"__key__": key, "jpg": image, "cls": number})
found = {
    sample["__key__"]: sorted(field for field in sample if not field.startswith("__"))
    for sample in webdataset.WebDataset("shard.tar", shardshuffle=False)
}
print(f"written: {keys}")
print(f"read: {found}")
if found != {"cat": ["1.cls", "1.jpg", "2.cls", "2.jpg"], "dog": ["1.cls", "1.jpg"]}:
    sys.exit("the behavior has changed")
PYTHON
