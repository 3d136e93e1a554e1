"""From a plan to the network that trains, and from its best weights to a model."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnet_cli.history import EpochRecord
from resnet_cli.model.model_file import Exemplars, Model
from resnet_cli.model.network import ResNet50
from resnet_cli.model.weights import load_backbone
from resnet_cli.system.device import make_deterministic, seed_everything
from resnet_cli.training.checkpoint import NUM_KEPT
from resnet_cli.training.exemplars import max_bytes
from resnet_cli.training.plan import Plan
from resnet_cli.version import __version__

#: Rows of a plan that may name places on this machine.
_PATHS = {"data", "weights", "out"}
#: Space for plots, metrics and the rest of a run folder besides the model.
REPORT_BYTES = 20 * 10**6


def start_network(plan: Plan) -> ResNet50:
    """Returns the initial network: the plan's weights and a new head.

    Raises:
        ModelError: The weights file is damaged or has another architecture.
        UntrustedFileError: The weights file would run code when loaded.
    """
    seed_everything(plan.config.seed)
    if plan.config.deterministic:
        make_deterministic()
    network = ResNet50(len(plan.dataset.classes), plan.hidden)
    load_backbone(network, plan.weights)
    return network


def build_model(
    plan: Plan,
    network: ResNet50,
    state: Mapping[str, Tensor],
    *,
    best: EpochRecord,
    exemplars: Exemplars | None,
    path: Path,
) -> Model:
    """Returns the model with the best weights so far, on the CPU.

    Args:
        plan: The plan of the run.
        network: The network that trains; it is copied.
        state: Tensors of the best epoch, under the names of the network's state dict; the others are as in ``network``.
        best: The record of that epoch.
        exemplars: Features of a few images of each class, which the model stores.
        path: The model's file.
    """
    trained = copy.deepcopy(network).cpu()
    trained.load_state_dict(trained.state_dict() | dict(state))
    return Model(
        network=trained.eval(),
        classes=plan.dataset.classes,
        preprocess=plan.preprocess,
        task=plan.dataset.task,
        hidden=plan.hidden,
        provenance=_provenance(plan, best),
        path=path,
        exemplars=exemplars,
    )


def head_with(head: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """A copy of the head, on the CPU, with the tensors that ``state`` has for it under the network's names."""
    found = copy.deepcopy(head).cpu()
    found.load_state_dict({name.removeprefix("fc."): tensor for name, tensor in state.items()})
    return found


def run_bytes(plan: Plan) -> int:
    """Maximum size of the run folder: the model and, if the backbone trains, two checkpoints and the next one."""
    model = 4 * 25_600_000 + max_bytes(len(plan.dataset.classes))
    if plan.is_frozen:
        return REPORT_BYTES + model
    per_checkpoint = (3 if plan.rates.optimizer == "sgd" else 4) + (plan.ema is not None or plan.average is not None)
    return REPORT_BYTES + 2 * model + (NUM_KEPT + 1) * per_checkpoint * model


def _provenance(plan: Plan, best: EpochRecord) -> dict[str, Any]:
    """Provenance that is stored in the model file; no paths of this machine."""
    return {
        "resnet_cli": __version__,
        "torch": str(torch.__version__),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {"name": plan.dataset.name, "num_images": plan.dataset.sizes(), "split": plan.dataset.split_note},
        "weights": Path(plan.weights.name).name,
        "weights_reading": plan.weights.reading,
        "recipe": {choice.name: choice.value for choice in plan.choices if choice.name not in _PATHS},
        "classes_kept_from": list(plan.start.classes) if plan.config.add and plan.start else [],
        "best": best.to_dict(),
        # Other training images would have given another one, with other features.
        **({} if plan.compute.quantized is None else {"quantized": plan.compute.quantized.sha256}),
    }
