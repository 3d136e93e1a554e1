"""Classify images with an exported model, onnxruntime, numpy and Pillow; without resnet-cli and torch.

Usage: python examples/onnx_predict.py model.onnx IMAGE [IMAGE ...]
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1])
metadata = session.get_modelmeta().custom_metadata_map
classes = json.loads(metadata["classes"])
names = [output.name for output in session.get_outputs() if output.name in ("probs", "novelty")]
for path in sys.argv[2:]:
    with Image.open(path) as image:
        pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))  # [h x w x 3]
    outputs = dict(zip(names, session.run(names, {"pictures": pixels[None]}), strict=True))
    probs = outputs["probs"][0]
    if "thresholds" in metadata:
        # A multi-label model: each class has a threshold of its own, and there may be several labels or none.
        thresholds = json.loads(metadata["thresholds"])
        rows = zip(classes, probs, thresholds, strict=True)
        cells = [path, "; ".join(name for name, prob, threshold in rows if prob >= threshold) or "none"]
    else:
        cells = [path, classes[probs.argmax()], f"{probs.max():.4f}"]
    # The model predicts one of its classes for every image; this tells whether the image resembles its training images.
    if "most_novel" in metadata and outputs["novelty"][0] > float(metadata["most_novel"]):
        cells.append("unlike the training images")
    print(*cells, sep="\t")
