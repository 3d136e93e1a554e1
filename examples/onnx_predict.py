"""Classify images with an exported model, onnxruntime, numpy and Pillow; without resnet-cli and torch.

Usage: python examples/onnx_predict.py model.onnx IMAGE [IMAGE ...]
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1])
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
for path in sys.argv[2:]:
    with Image.open(path) as image:
        pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))  # [h x w x 3]
    probs = session.run(["probs"], {"pictures": pixels[None]})[0][0]
    print(path, classes[probs.argmax()], f"{probs.max():.4f}", sep="\t")
