"""Training the whole network on varied pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from resnet_cli.data.augment import Augment
from resnet_cli.data.loading import load_batches
from resnet_cli.data.scan import raise_unreadable
from resnet_cli.device import memory_errors_named
from resnet_cli.evaluation import head_probs, loss_and_top1
from resnet_cli.features import FrozenBackbone, inference_batch_size
from resnet_cli.model import ResNet50
from resnet_cli.training.events import EpochRecord, OnEvent
from resnet_cli.training.loop import fit, make_optimizer
from resnet_cli.training.plan import Plan

#: Source: SGD: He et al. 2016, section 3.4; AdamW: torch's default.
WEIGHT_DECAY = {"sgd": 1e-4, "adamw": 1e-2}


def fit_network(
    plan: Plan, network: ResNet50, *, on_best: Callable[[EpochRecord], None], on_event: OnEvent
) -> list[EpochRecord]:
    """Trains backbone and head.

    Args:
        plan: Data, preprocessing, augmentation, rates, epochs, seed.
        network: Is changed.
        on_best: Called after each epoch that is the best so far on validation.
        on_event: Told of every step and epoch.

    Raises:
        DataError: A picture cannot be read any more.
        DivergedError: The loss is not finite.
        MemoryExhausted: A batch does not fit.
    """
    compute, config, preprocess = plan.compute, plan.config, plan.preprocess
    train, val = plan.dataset.split("train"), plan.dataset.split("val")
    val_labels = torch.tensor([item.label for item in val])
    # Even batches: 33 pictures in batches of 32 are 17 and 16, not 32 and 1 (which BatchNorm cannot bear).
    smaller, num_larger = divmod(len(train), plan.steps_per_epoch)
    sizes = [smaller + (step < num_larger) for step in range(plan.steps_per_epoch)]
    network.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert plan.lr is not None
    optimizer = make_optimizer(
        plan.optimizer,
        [(network.backbone_parameters(), plan.lr), (network.fc.parameters(), plan.head_lr)],
        weight_decay=WEIGHT_DECAY[plan.optimizer],
    )

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = np.random.default_rng((config.seed, epoch)).permutation(len(train)).tolist()
        augment = Augment(
            preprocess,
            strength=plan.augment or "none",
            mirror=plan.dataset.mirror_safe,
            seed=config.seed,
            epoch=epoch,
        )
        for batch in load_batches(order, lambda index: augment(index, train[index]), batch_size=sizes):
            raise_unreadable(list(batch.errors.values()), len(train))
            labels = torch.tensor([train[index].label for index in batch.items], device=compute.device)
            with memory_errors_named(len(labels)):
                inputs = preprocess.normalize(compute.place(batch.pixels))
            yield inputs, labels

    def set_train_mode() -> None:
        network.train()
        if not plan.train_batchnorm:
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def validate() -> tuple[float, float]:
        backbone = FrozenBackbone(network, preprocess, compute)
        batch_size = inference_batch_size(preprocess.crop_size, compute)
        probs = []
        for batch in load_batches(val, lambda item: preprocess(item.open()), batch_size=batch_size):
            raise_unreadable(list(batch.errors.values()), len(val))
            probs.append(head_probs(network.fc, backbone(batch.pixels)))
        return loss_and_top1(torch.cat(probs), val_labels)

    return fit(
        network,
        optimizer,
        batches,
        validate,
        epochs=config.epochs,
        steps_per_epoch=plan.steps_per_epoch,
        compute=compute,
        set_train_mode=set_train_mode,
        on_best=on_best,
        on_event=on_event,
    )
