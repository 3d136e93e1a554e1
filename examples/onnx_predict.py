"""Classify images with an exported model, onnxruntime, numpy and Pillow; without resnet-cli and torch.

Usage: python examples/onnx_predict.py IMAGE [IMAGE ...]
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

MODEL = "model.onnx"


def read(path: str) -> Image.Image:
    """The image upright, as RGB: transparent areas are white, and 16-bit gray becomes 8-bit."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")


if len(sys.argv) < 2:
    sys.exit(f"usage: python {sys.argv[0]} IMAGE [IMAGE ...]")
session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs() if output.name in ("probs", "novelty")]
metadata = session.get_modelmeta().custom_metadata_map
classes = json.loads(metadata["classes"])
for path in sys.argv[1:]:
    try:
        image = read(path)
    except OSError as error:
        sys.exit(f"{path}: {error}")
    inputs = {"pictures": np.asarray(image)[None]}  # uint8 [1 x h x w x 3]
    outputs = dict(zip(names, session.run(names, inputs), strict=True))
    probs = outputs["probs"][0]
    ranked = np.argsort(-probs, kind="stable").tolist()
    if "thresholds" in metadata:
        # A multi-label model: each class has a threshold of its own, and there may be several labels or none.
        thresholds = json.loads(metadata["thresholds"])
        predicted = [index for index in ranked if probs[index] >= thresholds[index]]
    else:
        predicted = ranked[:3]
    cells = [cell for index in predicted for cell in (classes[index], f"{probs[index]:.4f}")] or ["none"]
    # The model predicts its classes for every image; this tells whether the image resembles its training images.
    if "most_novel" in metadata and outputs["novelty"][0] > float(metadata["most_novel"]):
        cells.append("unlike the training images")
    print(path, *cells, sep="\t")
