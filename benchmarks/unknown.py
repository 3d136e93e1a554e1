"""A model of two classes on images of the other eight: how well it recognizes them as unknown, and its calibration.

    RESNET_CLI_ASSETS=... python -m benchmarks.unknown

CIFAR-10 at 128 px, 500 images each of cats and dogs for training, 100 for validation; evaluated on all 2,000 test
images of cats and dogs, and on 250 of each other class. About five minutes on two cores, features included.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.metrics import roc_auc_score

import resnet_cli
from resnet_cli.data.dataset import Item
from resnet_cli.data.sources.folders.reader import read_folder
from resnet_cli.evaluation.evaluate import evaluate
from resnet_cli.system.device import choose_compute

from .setting import Setting, alone
from .table import Row, show

OWN = ("cat", "dog")
PER_OTHER_CLASS = 250


def measure(setting: Setting) -> Iterator[Row]:
    """The rows of the table."""
    folder = setting.cifar(train=("train", slice(500)), val=("train", slice(500, 600)), test=("test", slice(1000)))
    result = resnet_cli.finetune(
        data=str(folder),
        classes=",".join(OWN),
        weights=str(setting.weights),
        mode="frozen",
        image_size=128,
        out=setting.empty(),
    )
    own, model, compute = result.test, result.model, choose_compute()
    assert own is not None and own.novelty is not None and model.reliability is not None
    raw = own.uncalibrated or own.calibration
    for path in (folder / "test").iterdir():
        for image in sorted(path.iterdir())[0 if path.name in OWN else PER_OTHER_CLASS :]:
            image.unlink()
    for name in OWN:
        (folder / "test" / name).rmdir()
    # Without labels: none of the model's classes is right.
    others = [Item(item.name, item.source) for item in read_folder(folder / "test").items]
    strange = evaluate(model, others, compute)
    assert strange.novelty is not None
    is_other = np.r_[np.zeros(own.num_images), np.ones(strange.num_images)]
    novelty = float(roc_auc_score(is_other, np.r_[own.novelty, strange.novelty]))
    doubt = float(roc_auc_score(is_other, 1 - np.r_[own.probs.max(axis=1), strange.probs.max(axis=1)]))
    assert own.is_unfamiliar is not None and strange.is_unfamiliar is not None
    details = {
        "by softmax confidence": doubt,
        "own called unfamiliar": float(np.mean(own.is_unfamiliar)),
        "others called unfamiliar": float(np.mean(strange.is_unfamiliar)),
        "images": f"{own.num_images}+{strange.num_images}",
    }
    yield Row("AUROC of novelty, cats and dogs against 8 classes", novelty, "", at_least=0.84, details=details)
    details = {"without temperature": raw.ece, "top-1": own.top1, "T": model.temperature}
    yield Row("ECE on its own test images", own.calibration.ece, "", at_most=0.03, details=details)


def main() -> None:
    """Prints the table."""
    with alone(keeps_cache=True) as setting:
        show(measure(setting))


if __name__ == "__main__":
    main()
