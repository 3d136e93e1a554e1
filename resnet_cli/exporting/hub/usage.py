"""What a card on the Hugging Face Hub says about how to use an exported file."""

from __future__ import annotations

from resnet_cli.exported.metadata import IMAGES, NOVELTY, PIXELS, PROBS, RAW_IMAGES
from resnet_cli.exporting.hub.exported_file import Exported
from resnet_cli.exporting.hub.wording import WORDING
from resnet_cli.installation import install_command

#: Format -> the code that opens it; ``image``: an ONNX file that takes decoded images; ``folder``: formats that are
#: opened by resnet-cli here.
_CODE = {
    "image": f"""\
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
probs = session.run(["{PROBS}"], {{"{RAW_IMAGES}": pixels[None]}})[0][0]
<decide>
```""",
    "safetensors": """\
```python
<imports_timm>

model = timm.create_model("hf-hub:REPO", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
logits = model(transform(Image.open("photo.jpg").convert("RGB")).unsqueeze(0))
<decide_timm>
```

<note_timm>""",
    "pt2": """\
```python
import torch
from huggingface_hub import hf_hub_download

# Loading a program can run any code that is in it: load only what you trust.
program = torch.export.load(hf_hub_download("REPO", "NAME")).module()
```""",
    "openvino": """\
```python
import openvino
from huggingface_hub import snapshot_download

# Without the hint, OpenVINO computes in bfloat16 where it can, and changes probabilities by up to 0.06.
options = {"INFERENCE_PRECISION_HINT": "f32"}
model = openvino.Core().compile_model(snapshot_download("REPO") + "/model.xml", "CPU", options)
```""",
    "folder": """\
```console
$ INSTALL
$ hf download REPO --local-dir FORMAT
$ resnet-cli predict photo.jpg --model FORMAT
```

`labels.txt` lists the classes in the order of the probabilities, one per line.""",
    "web": """\
```console
$ hf download REPO --local-dir web
$ python -m http.server --directory web
```

Open the address that this prints: the page classifies images in the browser. Any web server can offer the folder.""",
    "onnx": """\
```python
import onnxruntime
from huggingface_hub import hf_hub_download

session = onnxruntime.InferenceSession(hf_hub_download("REPO", "NAME"))
```""",
}


def how_to_use(exported: Exported) -> str:
    """The code that uses the file, and what its input and outputs are, in Markdown."""
    usage = f"{_usage(exported)}{_unfamiliar(exported)}"
    bit_depth = exported.metadata.preprocess.get("bit_depth")
    if bit_depth is None:
        return usage
    return (
        f"{usage}\n\nThe 16-bit images that the model was trained on use {bit_depth} bits. resnet-cli reads "
        f"such images in the same way; other programs have to divide their values by {2 ** (bit_depth - 8)} to get the "
        "8 bits that the exported model takes."
    )


def _unfamiliar(exported: Exported) -> str:
    limit = exported.metadata.most_novel
    if limit is None:
        return ""
    output = "The second output" if exported.format == "pt2" else f"The output `{NOVELTY}` [b]"
    return (
        f"\n\n{output} says how unlike the training images an image is. Above {limit!r} (`most_novel` in "
        "`config.json`) it counts as unlike them, and its class means little: the model predicts "
        f"{WORDING[exported.metadata.task].predicts.format('its classes')}."
    )


def _usage(exported: Exported) -> str:
    metadata, kind = exported.metadata, exported.format
    side, num_classes = metadata.preprocess.get("crop_size"), len(metadata.classes)
    takes_images = kind == "onnx" and metadata.input_kind == "picture"
    wording = WORDING[metadata.task]
    text = _CODE["image" if takes_images else kind if kind in _CODE else "folder"]
    for place in ("decide", "imports_timm", "decide_timm", "note_timm"):
        text = text.replace(f"<{place}>", getattr(wording, place))
    text = text.replace("METADATA", "session.get_modelmeta().custom_metadata_map")
    text = text.replace("REPO", exported.repo).replace("NAME", exported.files[-1])
    if takes_images:
        return text.replace("INSTALL", install_command("hub", elsewhere=True))
    if kind in {"safetensors", "web"}:
        return text
    name = f"`{IMAGES}`: " if kind == "onnx" else f"`{PIXELS}`: " if kind in {"openvino", "ncnn", "mnn"} else ""
    is_tensor = metadata.input_kind == "tensor"
    dtype, done = ("float32", ", cropped and normalized") if is_tensor else ("uint8", " and cropped")
    shape = f"1 x {side} x {side} x 3" if metadata.input_kind == "squares" else f"b x 3 x {side} x {side}"
    text = text.replace("INSTALL", install_command(f"hub,{kind}", elsewhere=True)).replace("FORMAT", kind)
    if metadata.input_kind == "float_pixels":
        dtype = "float32 from 0 to 255,"
    given = f"{name}{dtype} [{shape}] in RGB" if kind != "coreml" else f"`image`: RGB, {side} x {side} pixels"
    shape = "by class" if (kind, metadata.task) == ("coreml", "single-label") else f"[b x {num_classes}]"
    return (
        f"{text}\n\nThe input is {given}, resized{done} as described by "
        f"`preprocess` in `config.json`. The output is `{PROBS}` {shape}, {wording.output}."
    )
