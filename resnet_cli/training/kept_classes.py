"""Classes of a multi-label model that stay exactly as they are when others are added.

No class of a linear multi-label head depends on another. Its row was fitted to all images of its own training, which is
better than a fit to the exemplars alone. Only classes that the new images are labeled with are fitted again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from resnet_cli.heads.logistic import AnyRows
from resnet_cli.model.label_reliability import LabelScaling
from resnet_cli.model.model_file import Model
from resnet_cli.task import UNKNOWN
from resnet_cli.training import exemplars
from resnet_cli.training.plan import Plan


def join_exemplars(plan: Plan, train: AnyRows, val: AnyRows) -> tuple[AnyRows, AnyRows, Tensor]:
    """Joins the exemplars of the earlier model with the new images, if classes are added.

    Args:
        plan: A plan of mode ``frozen``.
        train: Features [n x 2048] and targets of the new images.
        val: Features and targets of the validation split.

    Returns:
        Train and val for the joint head, and the classes that are not fitted, int64 [m].
    """
    old, classes = plan.start, plan.dataset.classes
    if not plan.config.add or old is None or old.exemplars is None:
        return train, val, torch.zeros(0, dtype=torch.int64)
    kept = kept_labels(plan)
    train, val = exemplars.join(
        old.exemplars, old_classes=old.classes, train=train, val=val, new_classes=classes, classes=classes
    )
    if len(kept):
        for _, targets in (train, val):
            targets[:, kept] = UNKNOWN
    return train, val, kept


def kept_labels(plan: Plan) -> Tensor:
    """The classes of the earlier model whose rows stay as they are, int64 [m]; none where the head takes steps."""
    dataset, old = plan.dataset, plan.start
    is_apart = plan.config.add and old is not None and dataset.task == "multi-label" and plan.solver == "lbfgs"
    if not is_apart or not dataset.items:
        return torch.zeros(0, dtype=torch.int64)
    unknown = frozenset.intersection(*(frozenset(item.unknown) for item in dataset.items))
    assert old is not None
    return torch.tensor(
        [label for label in sorted(unknown) if dataset.classes[label] in old.classes], dtype=torch.int64
    )


def keep_rows(head: nn.Module, before: nn.Module, kept: Tensor) -> None:
    """Copies the rows of some classes from the head ``before`` the training into the trained ``head``, both linear."""
    if len(kept):
        head.load_state_dict(
            {
                name: tensor.index_copy(0, kept, before.state_dict()[name].cpu()[kept])
                for name, tensor in head.state_dict().items()
            }
        )


def keep_calibration(model: Model, plan: Plan) -> Model:
    """Returns the model with the earlier model's thresholds and scaling of the classes that were kept."""
    kept, old = kept_labels(plan).tolist(), plan.start
    if old is None or not kept:
        return model

    def joined(before: Sequence[float], now: Sequence[float]) -> tuple[float, ...]:
        known = dict(zip(old.classes, before, strict=True))
        return tuple(
            known[name] if label in kept else value
            for label, (name, value) in enumerate(zip(model.classes, now, strict=True))
        )

    model = dataclasses.replace(model, thresholds=joined(old.thresholds, model.thresholds))
    if old.scaling is None or model.scaling is None:
        return model
    return dataclasses.replace(model, scaling=LabelScaling(*map(joined, old.scaling, model.scaling)))
