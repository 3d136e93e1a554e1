"""Train, evaluate and use a model from Python.

Usage: python examples/library.py PHOTOS IMAGE [IMAGE ...]
"""

import sys

import resnet_cli


def main(photos: str, images: list[str]) -> None:
    """Fine-tunes on a folder of class folders, evaluates the result and classifies some images."""
    result = resnet_cli.finetune(photos, mode="frozen", epochs=10, progress=True)
    print(f"validation top-1 {result.val.top1:.1%}, saved in {result.run.path}")

    scores = resnet_cli.evaluate(result)
    for name, row in zip(scores.classes, scores.per_class, strict=True):
        print(f"{name}: recall {row.recall:.1%} of {row.support} images")

    model = resnet_cli.load(result.run.path)
    for prediction in resnet_cli.predict(model, images):
        if prediction.error is None:
            unlike = ", unlike the training images" if prediction.is_unfamiliar else ""
            print(f"{prediction.path}: {prediction.label} ({prediction.prob:.1%}){unlike}")
        else:
            print(prediction.error)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
