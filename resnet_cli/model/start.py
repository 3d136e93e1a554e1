"""What a fine-tuning takes over from a model of an earlier one, besides the backbone: head, classes and exemplars."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import nn

from resnet_cli.model.label_reliability import LabelScaling
from resnet_cli.model.model_file import Exemplars, model_from_tensors
from resnet_cli.model.reliability import quantized_sha256, validation_precision
from resnet_cli.model.tensor_files import read_metadata, read_tensors
from resnet_cli.model.weights import Weights
from resnet_cli.preprocess import Preprocess
from resnet_cli.task import TaskName


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
    """What an earlier model contributes to a fine-tuning run that starts from it, besides its backbone.

    Attributes:
        classes: Classes of its head, in index order.
        hidden: Widths of the head's hidden layers.
        head: The head in eval mode: features [b x 2048] -> logits [b x k].
        preprocess: The preprocessing that its exemplars were computed with.
        exemplars: Features of a few of its images; None in older files.
        precision: The precision that they were computed in; None if it is not known.
        is_backbone_trained: Whether its own training changed the backbone, as far as the file tells.
        task: Whether its images have one label or any number.
        thresholds: The least probability at which each class is predicted, [k]; multi-label only.
        scaling: The scale and shift of each class's logits that its head contains; None if it was not calibrated.
        quantized: The checksum of the quantized backbone that its head was trained with; None if there is none.
    """

    classes: tuple[str, ...]
    hidden: tuple[int, ...]
    head: nn.Module
    preprocess: Preprocess
    exemplars: Exemplars | None
    precision: str | None
    is_backbone_trained: bool
    task: TaskName = "single-label"
    thresholds: tuple[float, ...] = ()
    scaling: LabelScaling | None = None
    quantized: str | None = None


def read_start(weights: Weights) -> Start | None:
    """Reads what an earlier model contributes; None for weights of other programs.

    Raises:
        ModelError: The file is damaged.
    """
    about = read_metadata(weights.path) if weights.path else None
    if about is None or weights.path is None:
        return None
    model = model_from_tensors(read_tensors(weights.path), about, weights.path)
    weights.require_same_file()
    recipe = model.provenance.get("recipe")
    is_frozen = isinstance(recipe, dict) and recipe.get("mode") == "frozen"
    head = model.network.fc.eval()
    precision = validation_precision(model.provenance)
    return Start(
        model.classes,
        model.hidden,
        head,
        model.preprocess,
        model.exemplars,
        precision,
        not is_frozen,
        model.task,
        model.thresholds,
        model.scaling,
        quantized_sha256(model.provenance),
    )


def start_head(head: nn.Module, start: Start, classes: Sequence[str]) -> tuple[str, ...]:
    """Copies the rows of an old head for classes of the same name into a new head for unscaled features.

    Hidden layers are copied too if both heads have the same. The rows of new classes stay zero. A head is trained from
    zero with softmax, so the sum of its rows is zero, and a zero row gives the mean logit of the old classes. Kept
    classes are therefore predicted as before; an image of a new class is first predicted as an old one with confidence,
    and the first steps correct that. A head that converges does so to the same weights from any start. Frozen, SGD,
    10 epochs, cat and dog kept beside horse and deer of CIFAR-10 (and three such choices): with 10 images per class
    (10 steps) 67.2 % (a new head: 68.9), with 50 77.6 (76.5), with 450 82.3 (82.2).

    If a head is trained on standardized features (x - mean) / std, the copied rows must be converted first:
    weight * std, bias + weight @ mean; without that they cost up to 16 points in this measurement.

    Args:
        head: The new head. It is changed, unless its hidden layers differ from the old head's or no class is kept.
        start: The result of :func:`read_start`.
        classes: Classes of ``head``, in index order.

    Returns:
        The classes whose rows were copied, in the order of ``classes``.
    """
    ours, theirs = _linears(head), _linears(start.head)
    kept = [name for name in classes if name in start.classes]
    if not kept or [layer.out_features for layer in ours[:-1]] != list(start.hidden):
        return ()
    new_rows = [list(classes).index(name) for name in kept]
    old_rows = [start.classes.index(name) for name in kept]
    with torch.no_grad():
        for layer, old in zip(ours[:-1], theirs[:-1], strict=True):
            layer.weight.copy_(old.weight)
            layer.bias.copy_(old.bias)
        ours[-1].weight[new_rows] = theirs[-1].weight[old_rows].to(ours[-1].weight.device)
        ours[-1].bias[new_rows] = theirs[-1].bias[old_rows].to(ours[-1].bias.device)
    return tuple(kept)


def _linears(head: nn.Module) -> list[nn.Linear]:
    return [module for module in head.modules() if isinstance(module, nn.Linear)]
