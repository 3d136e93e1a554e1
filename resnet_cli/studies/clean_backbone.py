"""The backbone for studies of the data: one that was not trained on the labels that are studied."""

from __future__ import annotations

from typing import NamedTuple

from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.errors import ResnetCliError
from resnet_cli.model.model_file import Model
from resnet_cli.model.network import ResNet50
from resnet_cli.model.weights import find_weights, load_backbone
from resnet_cli.network.remote_file import OnProgress


class CleanBackbone(NamedTuple):
    """A backbone for studies.

    Attributes:
        network: The network; its head is not used.
        note: Where the backbone comes from, in words; empty if it is the model's own, frozen one.
        has_seen: Whether it was trained on the images nevertheless, because no other is available.
    """

    network: ResNet50
    note: str
    has_seen: bool


def clean_backbone(model: Model, *, offline: bool = False, on_download: OnProgress | None = None) -> CleanBackbone:
    """The model's own backbone if it stayed frozen, else the one that its training started from.

    A backbone that was trained on an image has learned its label, even a wrong one, and separates training images
    better than new ones: heads on it would find few wrong labels, and would forecast no gain from more images.

    Args:
        model: A model of a run, or weights of another program (which were not trained on these images).
        offline: Never download.
        on_download: Called with (bytes downloaded, bytes in all or None).
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
        # The study is still of some use, and its output says how far.
        return CleanBackbone(
            model.network, f"the model's own backbone, which these images trained ({error.message})", True
        )
    return CleanBackbone(network, f"the backbone that the training started from ({found.name})", False)
