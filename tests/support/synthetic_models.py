"""A model that nobody trained, with everything that a training adds, and images that it answers differently."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from PIL import Image

from resnet_cli.model.label_reliability import LabelReliability
from resnet_cli.model.model_file import Exemplars, Model
from resnet_cli.model.network import NUM_FEATURES, ResNet50
from resnet_cli.model.reliability import Reliability
from resnet_cli.predictor import TorchPredictor
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.device import REFERENCE

CLASSES = ("ant", "bee", "héron, gris")
PREPROCESS = Preprocess(resize_size=36, crop_size=32)


def made_up_model(hidden: tuple[int, ...] = (), *, remembers: bool = True) -> Model:
    """Random weights whose answers depend on the image, and what a training adds."""
    torch.manual_seed(0)
    network = ResNet50(len(CLASSES), hidden).train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
            # The statistics of the one batch below: no channel is always 0.
            module.momentum = 1
        elif isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=2.5 * module.in_features**-0.5)
    with torch.no_grad():
        network(PREPROCESS.normalize(torch.stack([squares_of(image) for image in images()])))
    rng = np.random.default_rng(0)
    exemplars = Exemplars(torch.rand(24, NUM_FEATURES), torch.arange(24) // 8, torch.arange(24) % 4 == 3)
    reliability = Reliability(
        rng.uniform(0.4, 1, 9).astype(np.float32), rng.uniform(size=9) > 0.5, rng.uniform(size=9).astype(np.float32)
    )
    return Model(
        network.eval(),
        CLASSES,
        PREPROCESS,
        hidden,
        temperature=1.7,
        provenance={"data": {"name": "insects"}},
        exemplars=exemplars if remembers else None,
        reliability=reliability if remembers else None,
    )


def telling_model() -> Model:
    """The same model with a limit of novelty that some of the images are above: far from each, whatever rounds it."""
    model = made_up_model()
    novelty = TorchPredictor(model, REFERENCE).predict_images(images()).novelty
    assert novelty is not None and isinstance(model.reliability, Reliability)
    ranked = np.sort(novelty)
    widest = int(np.diff(ranked).argmax())
    limit = np.float32(ranked[widest : widest + 2].mean())
    known = dataclasses.replace(model.reliability, novelty=np.full_like(model.reliability.novelty, limit))
    return dataclasses.replace(model, reliability=known)


def labels_model() -> Model:
    """The same model for any number of labels per image: some of the images have several of them, and others none."""
    model = telling_model()
    assert model.exemplars is not None and model.reliability is not None
    rng, novelty = np.random.default_rng(0), model.reliability.novelty
    shape = len(novelty), len(CLASSES)
    known = LabelReliability(rng.random(shape, np.float32), rng.integers(0, 2, shape).astype(np.int8), novelty)
    labels = torch.nn.functional.one_hot(model.exemplars.labels, len(CLASSES)).to(torch.int8)
    return dataclasses.replace(
        model,
        task="multi-label",
        temperature=1.0,
        thresholds=(0.6, 0.52, 0.62),
        reliability=known,
        exemplars=dataclasses.replace(model.exemplars, labels=labels),
    )


def squares_of(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(PREPROCESS(image).copy()).permute(2, 0, 1)


def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(50, 40), (40, 50), (50, 40), (1, 1), (3, 200), (33, 36), (50, 40)]
    return [
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert("RGB")
        for width, height in sizes
    ]
