"""Training the network, or its last stages, on augmented images."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from resnet_cli.data.dataset import Item, targets_of
from resnet_cli.data.inspection.scan import raise_unreadable
from resnet_cli.data.loading import load_batches
from resnet_cli.data.views.batched import to_device
from resnet_cli.data.views.resident import Storage, Views, open_views
from resnet_cli.engines.features import FrozenBackbone, inference_batch_size
from resnet_cli.errors import ConfigError, MemoryExhausted
from resnet_cli.heads.objectives import OBJECTIVES, Validation
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.model.network import ResNet50
from resnet_cli.system.device import memory_errors_named
from resnet_cli.system.events import Progress
from resnet_cli.training.averaging import WeightAverage
from resnet_cli.training.balanced_order import balanced_order
from resnet_cli.training.batchnorm import smallest_pass
from resnet_cli.training.distributed import SINGLE_PROCESS, Distributed
from resnet_cli.training.loop import TrainingTask
from resnet_cli.training.mixing import mix
from resnet_cli.training.optimizers import STAGES, make_optimizer, stage_of
from resnet_cli.training.plan import Plan
from resnet_cli.training.plan_loss import plan_loss
from resnet_cli.training.state import TrainState
from resnet_cli.training.steps import Batch

#: Step between the sizes of progressive resizing: the network halves its input five times.
SIZE_STEP_PX = 32
#: Share of the epochs after which the full size is reached: BatchNorm and head adapt to it in the rest.
#: Source: Howard 2018 (DAWNBench) and FFCV's rn50 configs, which end at the full size.
GROWING_SHARE = 0.6


class NetworkTraining:
    """Trains stages of a network on images.

    Args:
        plan: Data, preprocessing, augmentation, learning rates, epochs and seed.
        network: The network, which is trained in place.
        distributed: The processes that share the training.
        image_source: Where decoded training images are stored; ``auto`` chooses.
        on_validated: Called with the progress of each validation.

    Raises:
        ConfigError: A batch has too few images for all processes.
    """

    def __init__(
        self,
        plan: Plan,
        network: ResNet50,
        distributed: Distributed = SINGLE_PROCESS,
        *,
        image_source: Storage = "auto",
        on_validated: Progress = lambda *_: None,
    ) -> None:
        network.to(plan.compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(stage_of(name) in {*plan.stages, "fc"})
        averages = plan.ema is not None or plan.average is not None
        self._plan, self._network, self._distributed, self._image_source = plan, network, distributed, image_source
        self._on_validated = on_validated
        self._train, self._val = plan.dataset.split("train"), plan.dataset.split("val")
        smallest = len(self._train) // plan.steps_per_epoch
        # A single image has no batch statistics.
        if smallest < distributed.size * (2 if plan.train_batchnorm else 1) and distributed.size > 1:
            raise ConfigError(
                f"batches of {smallest} images are too small for {distributed.size} processes",
                hint="use a larger --batch-size, or fewer --devices",
            )
        self.train_state = TrainState(
            network,
            make_optimizer(network, plan.rates),
            WeightAverage(network, decay=plan.ema) if averages else None,
        )
        self.train_state.counters.micro_batch = plan.micro_batch

    def task(self) -> TrainingTask:
        """Batches, loss and validation for the training loop; prepares the stored training images."""
        plan = self._plan
        # Now and not in the first step: interrupts are not deferred yet, and fit_memory is done.
        _ = self._views
        loss = plan_loss(plan, self._train_targets, device=plan.compute.device)
        objective = OBJECTIVES[plan.dataset.task]
        return TrainingTask(self._batches, self._validate, self._set_train_mode, loss, plan.steps_per_epoch, objective)

    def fit_memory(self) -> None:
        """Halves the micro-batch until a step fits into the memory of the device.

        Raises:
            MemoryExhausted: Not even one image fits into memory.
        """
        plan, train_state = self._plan, self.train_state
        statistics = train_state.statistics.clone()
        size = plan.preprocess.crop_size
        self._set_train_mode(plan.epochs)
        smallest = smallest_pass(self._network, size)
        while True:
            num_images = min(train_state.counters.micro_batch, plan.batch_size)
            try:
                with memory_errors_named(num_images):
                    images = plan.compute.to_device(torch.zeros(num_images, 3, size, size, dtype=torch.uint8))
                    with plan.step_compute.autocast():
                        logits = self._network(plan.preprocess.normalize(images))
                    logits.float().sum().backward()
                fits = True
            except MemoryExhausted:
                if num_images <= smallest:
                    raise
                fits = False
            train_state.optimizer.zero_grad(set_to_none=True)
            train_state.statistics.copy_(statistics)
            if fits:
                return
            train_state.counters.micro_batch = max(smallest, math.ceil(num_images / 2))

    def _batches(self, epoch: int, done: int) -> Iterator[Batch]:
        plan, train, device = self._plan, self._train, self._plan.compute.device
        seed = plan.config.seed
        rng = np.random.default_rng((seed, epoch))
        if plan.balance == "sampler":
            order = balanced_order(self._train_targets.numpy(), len(train), rng)
        else:
            order = rng.permutation(len(train)).tolist()
        chunks = split_evenly(order, plan.steps_per_epoch)[done:]
        shares = [list(self._distributed.share(chunk)) for chunk in chunks]
        is_mixed = bool(plan.mixup or plan.cutmix) and epoch <= plan.epochs - plan.mix_off_epochs
        views = self._views.batches(shares, epoch=epoch, size=self._size(epoch))
        for step, (chunk, share, pixels) in enumerate(zip(chunks, shares, views, strict=True), start=done):
            labels = to_device(self._train_targets[share], torch.device(device))
            with memory_errors_named(len(labels)):
                images = plan.preprocess.normalize(plan.compute.to_device(pixels))
            if is_mixed:
                mixing = np.random.default_rng((seed, epoch, step, self._distributed.rank))
                num_classes = len(plan.dataset.classes)
                images, labels = mix(
                    images, labels, num_classes=num_classes, mixup=plan.mixup, cutmix=plan.cutmix, rng=mixing
                )
            yield Batch(images, labels, len(chunk))

    @functools.cached_property
    def _train_targets(self) -> Tensor:
        return self._targets(self._train)

    @functools.cached_property
    def _val_targets(self) -> Tensor:
        return self._targets(self._val)

    def _targets(self, items: Sequence[Item]) -> Tensor:
        dataset = self._plan.dataset
        return torch.from_numpy(targets_of(items, dataset.task, len(dataset.classes)))

    @functools.cached_property
    def _views(self) -> Views:
        plan = self._plan
        assert plan.augment is not None
        return open_views(
            self._train,
            plan.preprocess,
            plan.augment,
            seed=plan.config.seed,
            device=plan.compute.device,
            storage=self._image_source,
        )

    def _size(self, epoch: int) -> int:
        plan = self._plan
        if plan.progressive is None:
            return plan.preprocess.crop_size
        return progressive_size(epoch, epochs=plan.epochs, start=plan.progressive, full=plan.preprocess.crop_size)

    def _set_train_mode(self, epoch: int) -> None:
        plan = self._plan
        trained = {*stages_in(plan.mode, plan.stages, epoch=epoch, epochs=plan.epochs), "fc"}
        self._network.train()
        for name, parameter in self._network.named_parameters():
            parameter.requires_grad_(stage_of(name) in trained)
        for name, module in self._network.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = plan.batchnorm_momentum
                module.train(plan.train_batchnorm and stage_of(name) in trained)

    def _validate(self) -> Validation:
        plan, val = self._plan, self._val
        backbone = FrozenBackbone(self._network, plan.preprocess, plan.compute)
        batch_size = inference_batch_size(plan.preprocess.crop_size, plan.compute)
        rows = list(self._distributed.share(range(len(val))))
        probs = torch.zeros(len(val), len(plan.dataset.classes))
        at = 0
        mine = [val[row] for row in rows]
        for batch in load_batches(mine, plan.preprocess.read, batch_size=batch_size):
            raise_unreadable(list(batch.errors.values()), len(val))
            features = backbone(batch.pixels)
            probs[rows[at : at + len(batch.items)]] = head_probs(self._network.fc, features, task=plan.dataset.task)
            at += len(batch.items)
            self._on_validated(at, len(rows))
        # Each image belongs to one process, so the sum over processes has every probability once.
        probs = probs.to(plan.compute.device)
        self._distributed.all_reduce_([probs])
        return OBJECTIVES[plan.dataset.task].validate(probs.cpu(), self._val_targets)


def split_evenly(order: list[int], num_parts: int) -> list[list[int]]:
    """Splits into parts whose sizes differ by at most one.

    33 images in batches of 32 become 17 and 16, not 32 and 1: a single image has no batch statistics.
    """
    smaller, num_larger = divmod(len(order), num_parts)
    ends = np.cumsum([smaller + (part < num_larger) for part in range(num_parts)]).tolist()
    return [order[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def stages_in(mode: str, stages: tuple[str, ...], *, epoch: int, epochs: int) -> tuple[str, ...]:
    """The stages that train in an epoch: all of them, or in mode ``gradual`` one more at a time, starting at the head.

    Source: Howard and Ruder 2018, https://arxiv.org/abs/1801.06146, section 3.3, spread over the epochs.
    """
    if mode != "gradual":
        return stages
    from_head = sorted(stages, key=STAGES.index, reverse=True)
    return tuple(from_head[: min(len(stages), 1 + (epoch - 1) * len(stages) // epochs)])


def progressive_size(epoch: int, *, epochs: int, start: int, full: int) -> int:
    """Image size of an epoch: grows from ``start`` in steps of 32 pixels to ``full`` for the last epochs.

    Source: Touvron et al. 2019, https://arxiv.org/abs/1906.06423, and FFCV's progressive resizing.
    """
    growing = max(1, round(GROWING_SHARE * epochs))
    if epoch > growing:
        return full
    size = start + (full - start) * (epoch - 1) / growing
    return min(full, SIZE_STEP_PX * round(size / SIZE_STEP_PX))
