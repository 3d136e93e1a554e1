"""The backbone for studies of the data: one that was not trained on the labels in question."""

from __future__ import annotations

from typing import NamedTuple

from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.errors import ResnetCliError
from resnet_cli.model.model_file import Model
from resnet_cli.model.network import ResNet50
from resnet_cli.model.weights import find_weights, load_backbone
from resnet_cli.network.transfer import OnProgress


class CleanBackbone(NamedTuple):
    """A backbone, and what to know about it.

    Attributes:
        network: Its head is of no use.
        note: What it is, in words; empty where it is the model's own and that is as it should be.
        has_seen: Whether it was trained on the images all the same, as no other is to be had.
    """

    network: ResNet50
    note: str
    has_seen: bool


def clean_backbone(model: Model, *, offline: bool = False, on_download: OnProgress | None = None) -> CleanBackbone:
    """The model's own backbone if it stayed frozen, else the one that its training started from.

    A backbone that was trained on an image has learnt its label, also a wrong one, and features of training images
    are better than any new image's: heads on them would find few wrong labels, and expect nothing of more images.

    Args:
        model: Of a run, or weights that are not ours (which saw none of these images).
        offline: Never download.
        on_download: Called with (bytes done, bytes in all).
    """
    recipe = model.provenance.get("recipe")
    if not isinstance(recipe, dict) or recipe.get("mode") == "frozen":
        return CleanBackbone(model.network, "", False)
    config_path = model.path.resolve().parent / "config.yaml" if model.path else None
    try:
        if config_path is None or not config_path.is_file():
            spec = str(model.provenance.get("weights", ""))
        else:
            spec = resolve(FinetuneConfig, {}, config_path, is_record=True).config.weights
        found = find_weights(spec, mode="full", offline=offline, on_download=on_download)
        if found.path is None:
            return CleanBackbone(model.network, "the model's own backbone, which these images trained", True)
        network = ResNet50(2)
        load_backbone(network, found)
    except ResnetCliError as error:
        # The study is still worth something, and says what it is worth.
        return CleanBackbone(
            model.network, f"the model's own backbone, which these images trained ({error.message})", True
        )
    return CleanBackbone(network, f"the backbone that the training started from ({found.name})", False)
