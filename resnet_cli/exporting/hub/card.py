"""What the Hugging Face Hub shows about an exported file: ``README.md`` with its front matter, and ``config.json``."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import yaml

from resnet_cli.errors import ConfigError
from resnet_cli.exported.metadata import IMAGES, PIXELS, PROBS, ExportMetadata
from resnet_cli.exporting.parity import Parity
from resnet_cli.installation import install_command
from resnet_cli.model.model_file import MODEL_FILE, Model
from resnet_cli.text import percent, percent_range, shorten, size
from resnet_cli.version import SCHEMA_VERSION

#: Beside the model in its run folder.
CARD_FILE = "model_card.md"
#: A card is a few pages of text.
MAX_CARD_BYTES = 1_000_000
#: Names that the Hub knows. Source: https://huggingface.co/docs/hub/repositories-licenses
LICENCES = frozenset(
    "afl-3.0 agpl-3.0 apache-2.0 bsd bsd-2-clause bsd-3-clause bsl-1.0 cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 "
    "cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 "
    "cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 "
    "cdla-sharing-1.0 ecl-2.0 epl-1.0 epl-2.0 eupl-1.1 eupl-1.2 gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 mit "
    "mpl-2.0 ms-pl odbl odc-by openrail openrail++ osl-3.0 pddl unlicense wtfpl zlib".split()
)
#: As the model card has it where nobody has said more.
UNKNOWN_LICENCE = {"license": "other", "license_name": "to-be-filled-in"}
TAGS = ("image-classification", "resnet", "resnet-50")
_FRONT = re.compile(r"\A---\r?\n(.*?)^---\r?\n", re.S | re.M)
_HOW_TO_USE = re.compile(r"^## How to use\n.*?(?=^## |\Z)", re.S | re.M)
_TO_FILL_IN = re.compile(r"\*\*fill in|to-be-filled-in", re.I)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exported:
    """What is to be shown.

    Attributes:
        repo: ``OWNER/NAME``.
        files: Names in the repository, the largest last.
        format: As for ``--format``.
        num_bytes: Of all files.
        sha256: Of the largest one.
        metadata: The metadata in the file.
        parity: What the gate saw.
        licence: As the user asked; None for what the card says.
    """

    repo: str
    files: tuple[str, ...]
    format: str
    num_bytes: int
    sha256: str
    metadata: ExportMetadata
    parity: Parity
    licence: str | None


@dataclasses.dataclass(frozen=True)
class Card:
    """A model card in two parts: the front matter's values, and the Markdown below them."""

    front: dict[str, Any]
    body: str


def read_card(model: Model) -> Card | None:
    """The card of the run that a model lies in, with what people have filled in; None where there is none.

    Raises:
        ConfigError: It cannot be read, or its front matter is no YAML mapping.
    """
    if model.path is None or model.path.name != MODEL_FILE:
        return None
    path = model.path.parent / CARD_FILE
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            raise ConfigError(f"{path}: more than {MAX_CARD_BYTES:,} bytes, which is no model card")
        return _parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path}: not a model card: {reason}", hint="mend it, or move it away") from error


def hub_readme(card: Card | None, exported: Exported) -> str:
    """The content of ``README.md``: the run's card, with what is true of this file in it.

    Args:
        card: From :func:`read_card`.
        exported: What is to be shown.
    """
    front = _front_matter(card, exported)
    body = card.body if card else _body(exported)
    ours = f"{_this_file(exported)}\n\n{_how_to_use(exported)}\n\n"
    found = _HOW_TO_USE.search(body)
    body = body[: found.start()] + ours + body[found.end() :] if found else f"{body.rstrip()}\n\n{ours}"
    text = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{text}---\n\n{body.strip()}\n"


def is_to_be_filled_in(readme: str) -> bool:
    """Whether a card has places left that only people can fill in."""
    return _TO_FILL_IN.search(readme) is not None


def hub_config(exported: Exported) -> bytes:
    """The content of ``config.json``: all that whoever runs the file has to know."""
    metadata = exported.metadata
    values = {
        "schema_version": SCHEMA_VERSION,
        "architecture": "resnet50",
        "format": exported.format,
        "files": exported.files,
        "input": metadata.input_kind,
        "number": metadata.precision,
        "classes": metadata.classes,
        "preprocess": dict(metadata.preprocess),
        "temperature": metadata.temperature,
        "licence": metadata.licence,
        "sha256": exported.sha256,
        "source_sha256": metadata.source_sha256,
        "resnet_cli_version": metadata.version,
    }
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def _parse(text: str) -> Card:
    text = text.removeprefix("\N{BYTE ORDER MARK}").replace("\r\n", "\n")
    found = _FRONT.match(text)
    front = yaml.safe_load(found[1]) if found else {}
    if not isinstance(front, dict):
        raise ValueError("its front matter is no mapping")
    return Card(front, text[found.end() :] if found else text)


def _front_matter(card: Card | None, exported: Exported) -> dict[str, Any]:
    """Source: https://huggingface.co/docs/hub/model-cards, and its model-index for figures."""
    front = dict(card.front) if card else {}
    known = front.get("tags")
    tags = [str(tag) for tag in known] if isinstance(known, list) else []
    kind = "timm" if exported.format == "safetensors" else exported.format
    front["tags"] = list(dict.fromkeys([*tags, *TAGS, kind]))
    front["library_name"] = "timm" if kind == "timm" else "resnet-cli"
    front.setdefault("pipeline_tag", "image-classification")
    if exported.licence is not None:
        front = {name: value for name, value in front.items() if not name.startswith("license")}
        front = _licence(exported.licence) | front
    elif "license" not in front:
        front = UNKNOWN_LICENCE | front
    # The card's figures are the model's, which float32 shares.
    if exported.metadata.precision != "fp32" or "model-index" not in front:
        front |= _figures(exported)
    return front


def _licence(text: str) -> dict[str, Any]:
    if text.lower() in LICENCES:
        return {"license": text.lower()}
    return {"license": "other", "license_name": text}


def _figures(exported: Exported) -> dict[str, Any]:
    """The file's accuracy on the images that it was checked with."""
    name = shorten(exported.parity.data, 80)
    dataset = {"name": name, "type": re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "images"}
    accuracy = round(exported.parity.file_accuracy.value, 4)
    result = {
        "task": {"type": "image-classification"},
        "dataset": dataset,
        "metrics": [{"type": "accuracy", "value": accuracy, "name": "Top-1 accuracy"}],
    }
    return {"metrics": ["accuracy"], "model-index": [{"name": exported.repo, "results": [result]}]}


def _body(exported: Exported) -> str:
    return f"""\
# {exported.repo.partition("/")[2]}

A ResNet-50 that classifies images into {len(exported.metadata.classes):,} classes, which `config.json` lists. It \
predicts one of them for every image.
"""


def _this_file(exported: Exported) -> str:
    metadata, parity = exported.metadata, exported.parity
    difference = max(check.max_difference for check in parity.checks)
    rows = [
        ("Files", f"{', '.join(map(_code, exported.files))}; {size(exported.num_bytes)}"),
        ("Format", f"{exported.format}, numbers in {metadata.precision}"),
        ("SHA-256" if len(exported.files) == 1 else f"SHA-256 of {_code(exported.files[-1])}", _code(exported.sha256)),
        ("Made from the model with SHA-256", _code(metadata.source_sha256 or "none: it was in no file")),
        ("Checked on", _code(parity.data)),
        ("Same class as the model there", percent(parity.checks[0].agreement)),
        ("Largest difference of a probability", f"{difference:.1e}"),
        ("Accuracy of the model there (95 % interval)", _share(*parity.model_accuracy)),
        ("Accuracy of this file there (95 % interval)", _share(*parity.file_accuracy)),
        ("Licence that the file names", _code(metadata.licence)),
    ]
    table = "\n".join(["| What | Value |", "| --- | --- |", *(f"| {what} | {value} |" for what, value in rows)])
    note = "" if metadata.precision == "fp32" else "\n\nOther figures on this page are of the model in float32."
    return f"## This file\n\n{table}{note}"


def _how_to_use(exported: Exported) -> str:
    name, side = exported.files[-1], exported.metadata.preprocess.get("crop_size")
    if exported.format == "safetensors":
        return _TIMM.replace("REPO", exported.repo)
    if exported.format == "onnx" and exported.metadata.input_kind == "picture":
        install = install_command("hub", elsewhere=True)
        return _ONNX.replace("REPO", exported.repo).replace("NAME", name).replace("INSTALL", install)
    code, input_name = _OTHERS[exported.format]
    dtype, done = (
        ("float32", ", cropped and normalised")
        if exported.metadata.input_kind == "tensor"
        else ("uint8", " and cropped")
    )
    return (
        code.replace("REPO", exported.repo).replace("NAME", name)
        + f"\n\nIt takes {input_name}{dtype} [b x 3 x {side} x {side}] in RGB, resized{done} as `preprocess` in "
        f"`config.json` says, and gives `{PROBS}` [b x {len(exported.metadata.classes)}]: softmax is inside."
    )


_ONNX = """\
## How to use

```console
$ INSTALL
$ hf download REPO NAME --local-dir .
$ resnet-cli predict photo.jpg --model NAME
```

Or without resnet-cli; the file takes the decoded image, of any size:

```python
import json

import numpy as np
import onnxruntime
from huggingface_hub import hf_hub_download
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(hf_hub_download("REPO", "NAME"))
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
with Image.open("photo.jpg") as image:
    pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))  # [h x w x 3]
probs = session.run(["probs"], {"pictures": pixels[None]})[0][0]
print(classes[probs.argmax()], probs.max())
```"""

_TIMM = """\
## How to use

```python
import timm
from PIL import Image

model = timm.create_model("hf-hub:REPO", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
logits = model(transform(Image.open("photo.jpg").convert("RGB")).unsqueeze(0))
print(model.pretrained_cfg["label_names"][logits.argmax()])
```

The temperature is part of the last layer: `softmax` gives calibrated probabilities."""

_PT2 = """\
## How to use

```python
import torch
from huggingface_hub import hf_hub_download

# A program is run when it is loaded: load only what you trust.
program = torch.export.load(hf_hub_download("REPO", "NAME")).module()
```"""

_OPENVINO = """\
## How to use

```python
import openvino
from huggingface_hub import snapshot_download

model = openvino.Core().compile_model(snapshot_download("REPO") + "/model.xml")
```"""

_TENSOR = """\
## How to use

```python
import onnxruntime
from huggingface_hub import hf_hub_download

session = onnxruntime.InferenceSession(hf_hub_download("REPO", "NAME"))
```"""


#: Format -> the code that opens it, and what its input is called.
_OTHERS = {"pt2": (_PT2, ""), "openvino": (_OPENVINO, f"`{PIXELS}`: "), "onnx": (_TENSOR, f"`{IMAGES}`: ")}


def _share(value: float, low: float, high: float) -> str:
    return f"{percent(value)} ({percent_range(low, high)})"


def _code(text: str) -> str:
    """Strangers' text as itself: nothing is Markdown or HTML within it."""
    return f"`{shorten(text, 200).replace('`', chr(39)).replace('|', '/')}`"
