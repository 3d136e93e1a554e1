"""Find all digits in images that show two of them, one, or none: multi-label training from Python, without a download.

Usage: python examples/two_digits.py FOLDER [WEIGHTS]
    FOLDER is created. WEIGHTS is the first backbone; `resnet-cli finetune --help` lists the choices.
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from sklearn.datasets import load_digits

import resnet_cli

NUM_TRAIN, NUM_NEW = 600, 5
#: Side of an image, and of a digit in it.
SIDE, DIGIT = 64, 32


def make_image(digits: list[np.ndarray], rng: np.random.Generator) -> Image.Image:
    """Digits side by side on dark noise, each 8 x 8 with values from 0 to 16."""
    canvas = Image.fromarray(rng.integers(0, 40, (SIDE, SIDE, 3), dtype=np.uint8))
    for place, digit in enumerate(digits):
        pixels = Image.fromarray((digit * 255 / 16).astype(np.uint8)).resize((DIGIT, DIGIT))
        canvas.paste(pixels.convert("RGB"), (place * DIGIT, (SIDE - DIGIT) // 2))
    return canvas


def write_data(folder: Path) -> Path:
    """Writes images, and a table with one row per image: labels are joined by ";", and may be none."""
    data, rng = load_digits(), np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "new").mkdir()
    table = folder / "labels.csv"
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "labels"])
        for number in range(NUM_TRAIN + NUM_NEW):
            chosen = rng.choice(len(data.images), size=rng.choice(3, p=[0.1, 0.3, 0.6]), replace=False)
            names = sorted({str(label) for label in data.target[chosen]})
            name = f"{'images' if number < NUM_TRAIN else 'new'}/{number:04d}.png"
            make_image([data.images[index] for index in chosen], rng).save(folder / name)
            if number < NUM_TRAIN:
                rows.writerow([name, ";".join(names)])
    return table


def main(folder: Path, weights: str = "auto") -> None:
    """Trains, evaluates, predicts, exports, and predicts with the exported file alone."""
    result = resnet_cli.finetune(
        write_data(folder), weights=weights, mode="frozen", image_size=SIDE, out=folder / "run", progress=True
    )
    scores = resnet_cli.evaluate(result)
    print(scores)

    new = sorted((folder / "new").iterdir())
    for prediction in resnet_cli.load(result).predict(new):
        print(prediction.path, prediction.labels, prediction.label_probs)

    exported = resnet_cli.export(result, out=folder / "digits.onnx")
    for path, labels in zip(new, predict_without_resnet_cli(exported.path, new), strict=True):
        print(path, labels)


def predict_without_resnet_cli(model: Path, paths: list[Path]) -> list[list[str]]:
    """The labels of images, from an exported file; it needs only onnxruntime, numpy and Pillow."""
    session = onnxruntime.InferenceSession(model)
    metadata = session.get_modelmeta().custom_metadata_map
    classes, thresholds = json.loads(metadata["classes"]), json.loads(metadata["thresholds"])
    found = []
    for path in paths:
        with Image.open(path) as image:
            (probs,) = session.run(["probs"], {"pictures": np.asarray(image.convert("RGB"))[None]})
        found.append([name for name, prob, least in zip(classes, probs[0], thresholds, strict=True) if prob >= least])
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
