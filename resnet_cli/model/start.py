"""What a fine-tuning takes over from a model of an earlier one, besides the backbone: head, classes and exemplars."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import nn

from resnet_cli.model.model_file import Exemplars, model_from_tensors
from resnet_cli.model.reliability import made_in
from resnet_cli.model.tensor_files import read_metadata, read_tensors
from resnet_cli.model.weights import Weights
from resnet_cli.preprocess import Preprocess


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
    """What a model of ours brings to a training that starts from it, besides its backbone.

    Attributes:
        classes: Of its head, in index order.
        hidden: Widths of the head's hidden layers.
        head: Raw features [b x 2048] -> logits [b x k], in eval mode.
        preprocess: What its memory's features were made with.
        exemplars: Features of a few of its images; None in older files.
        precision: In which these were computed; None: not known.
        is_backbone_trained: Whether its own training changed the backbone, as far as the file tells.
    """

    classes: tuple[str, ...]
    hidden: tuple[int, ...]
    head: nn.Module
    preprocess: Preprocess
    exemplars: Exemplars | None
    precision: str | None
    is_backbone_trained: bool


def read_start(weights: Weights) -> Start | None:
    """Reads what a model of ours brings; None for other weights.

    Raises:
        ModelError: The file is damaged.
    """
    about = read_metadata(weights.path) if weights.path else None
    if about is None or weights.path is None:
        return None
    model = model_from_tensors(read_tensors(weights.path), about, weights.path)
    recipe = model.provenance.get("recipe")
    is_frozen = isinstance(recipe, dict) and recipe.get("mode") == "frozen"
    head = model.network.fc.eval()
    precision = made_in(model.provenance)
    return Start(model.classes, model.hidden, head, model.preprocess, model.exemplars, precision, not is_frozen)


def start_head(head: nn.Module, start: Start, classes: Sequence[str]) -> tuple[str, ...]:
    """Copies what an old head knows about classes of the same name into a fresh one for raw features.

    Hidden layers come with it where both heads have the same. The rows of other classes stay as they are, which is
    zero. A head of ours is trained from zero with softmax, so its rows add up to zero: on any image a zero row
    stands where the mean old class stands. Kept classes therefore answer as before; an image of a new class first
    gets a confident old answer, and the first steps go into that. A head that converges ends at the same place from
    any start. Frozen, SGD, 10 epochs, cat and dog kept beside horse and deer of CIFAR-10 (and three such choices):
    with 10 images a class (10 steps) 67.2 % (a fresh head: 68.9), with 50 77.6 (76.5), with 450 82.3 (82.2).

    Where a head is trained on standardised features (x - mean) / std, the copied rows have to be brought there first:
    weight * std, bias + weight @ mean; as they are they cost up to 16 points in that measurement.

    Args:
        head: Is changed, unless its hidden layers are others than the old head's or no class is kept.
        start: From :func:`read_start`.
        classes: Of ``head``, in index order.

    Returns:
        The classes whose rows were kept, in the order of ``classes``.
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
