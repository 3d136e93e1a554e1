"""A model as one module of torch, from the images that a format takes to its outputs: what converters are given."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from resnet_cli.exported.metadata import InputKind
from resnet_cli.heads.objectives import OBJECTIVES
from resnet_cli.model.model_file import Model
from resnet_cli.model.network import ResNet50
from resnet_cli.model.output import NUM_FEATURES
from resnet_cli.model.reliability import NUM_NEAREST, NoveltyScorer
from resnet_cli.preprocess import Preprocess


class Backbone(nn.Module):
    """From the input to features, with the normalization inside.

    Args:
        network: A network with folded BatchNorm, on the CPU.
        preprocess: The normalization.
        takes: What the input is.
    """

    def __init__(self, network: ResNet50, preprocess: Preprocess, takes: InputKind) -> None:
        super().__init__()
        self._network = network
        self._takes = takes
        for name, values in (("_mean", preprocess.mean), ("_std", preprocess.std)):
            self.register_buffer(name, torch.tensor(values).mul(255).view(1, 3, 1, 1))
        self._mean: Tensor
        self._std: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Images as the input is described -> features, float32 [b x 2048]."""
        if self._takes == "squares":
            images = images.permute(0, 3, 1, 2)
        if self._takes != "tensor":
            images = images.float().sub(self._mean).div(self._std)
        return self._network.features(images)


class TorchProgram(nn.Module):
    """From the input to probabilities and novelty: temperature and softmax, or sigmoid, are inside.

    Args:
        model: The model; it is copied, not changed.
        takes: What the input is.
        with_novelty: Whether training features are inside, if the model holds any.

    Attributes:
        backbone: From the input to features; a format that quantizes replaces it.
        temperature: What logits are divided by; a tensor of one number.
    """

    def __init__(self, model: Model, *, takes: InputKind, with_novelty: bool) -> None:
        super().__init__()
        network = model.network.folded().cpu()
        self.backbone: nn.Module = Backbone(network, model.preprocess, takes)
        self._head = network.fc
        self._activation = OBJECTIVES[model.task].probs
        scorer = NoveltyScorer(model.reference) if with_novelty and model.reference is not None else None
        self.register_buffer("temperature", torch.tensor(float(model.temperature)))
        # The length of a row does not matter; with these scales it is near 1, which float16 can square.
        scales = None if scorer is None else torch.from_numpy(scorer.scales) * math.sqrt(NUM_FEATURES)
        self.register_buffer("_scales", scales)
        self.register_buffer("_known", None if scorer is None else torch.from_numpy(scorer.units).half())
        self.temperature: Tensor
        self._scales: Tensor | None
        self._known: Tensor | None

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images -> probabilities [b x k] and, if training features are inside, novelty [b]."""
        features = self.backbone(images)
        probs = self._activation(self._head(features) / self.temperature)
        novelty = self._novelty(features)
        return (probs,) if novelty is None else (probs, novelty)

    def _novelty(self, features: Tensor) -> Tensor | None:
        """Features [b x 2048] -> novelty [b]; None without training features."""
        if self._known is None or self._scales is None:
            return None
        scaled = features / self._scales
        # `normalize` in operators that broadcast, without an expanded tensor.
        units = scaled / scaled.square().sum(dim=1, keepdim=True).sqrt().clamp_min(1e-12)
        cosines = nn.functional.linear(units, self._known.float())
        return 1 - self._mean_of_largest(cosines, min(NUM_NEAREST, len(self._known)))

    def _mean_of_largest(self, values: Tensor, num: int) -> Tensor:
        """Mean of the ``num`` largest values of each row, [b x m] -> [b]."""
        return values.topk(num, dim=1).values.mean(dim=1)
