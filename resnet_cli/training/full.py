"""Training the network, or its last stages, on varied pictures."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from resnet_cli.data.loading import load_batches
from resnet_cli.data.resident import Place, Views, open_views
from resnet_cli.data.scan import raise_unreadable, scan
from resnet_cli.data.views import to_device
from resnet_cli.device import memory_errors_named
from resnet_cli.errors import ConfigError, MemoryExhausted
from resnet_cli.evaluation.answers import Validation, head_probs, validate
from resnet_cli.features import FrozenBackbone, inference_batch_size
from resnet_cli.model import ResNet50
from resnet_cli.training.averaging import WeightAverage
from resnet_cli.training.boundary import FrozenStages, TrainedStages, features_from
from resnet_cli.training.events import OnEvent, WorkDone, ignore
from resnet_cli.training.kept_views import KeptView, Show
from resnet_cli.training.loop import Batch, Lesson
from resnet_cli.training.losses import balanced_order, make_loss
from resnet_cli.training.mixing import mix
from resnet_cli.training.optimizers import STAGES, make_optimizer, stage_of
from resnet_cli.training.plan import Plan
from resnet_cli.training.session import Session
from resnet_cli.training.team import ALONE, Team

#: Sizes of progressive resizing: the network halves its input five times.
SIZE_STEP_PX = 32
#: Share of the epochs until the full size is reached: BatchNorm and head settle on it in the rest.
#: Source: Howard 2018 (DAWNBench) and FFCV's rn50 configs, which end at the full size.
GROWING_SHARE = 0.6


class NetworkTraining:
    """A network and how its stages are trained on pictures.

    Args:
        plan: Data, preprocessing, augmentation, rates, epochs, seed.
        network: Is changed.
        team: The processes that share the training.
        pictures: Where the train pictures are taken from; ``auto`` finds the best place.
        on_event: Told of what frozen stages compute before the first step.

    Raises:
        ConfigError: There are more processes than a batch has pictures for.
    """

    def __init__(
        self,
        plan: Plan,
        network: ResNet50,
        team: Team = ALONE,
        *,
        pictures: Place = "auto",
        on_event: OnEvent = ignore,
    ) -> None:
        network.to(plan.compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(stage_of(name) in {*plan.stages, "fc"})
        averages = plan.ema is not None or plan.average is not None
        self._plan, self._network, self._team, self._pictures = plan, network, team, pictures
        self._on_event = on_event
        self._train, self._val = plan.dataset.split("train"), plan.dataset.split("val")
        smallest = len(self._train) // plan.steps_per_epoch
        # One picture has no batch statistics.
        if smallest < team.size * (2 if plan.train_batchnorm else 1) and team.size > 1:
            raise ConfigError(
                f"batches of {smallest} pictures are too small for {team.size} processes",
                hint="use a larger --batch-size, or fewer --devices",
            )
        self.session = Session(
            network,
            make_optimizer(network, plan.rates),
            WeightAverage(network, decay=plan.ema) if averages else None,
        )
        self.session.state.micro_batch = plan.micro_batch

    def lesson(self) -> Lesson:
        """What the loop needs; the train pictures are brought to their place."""
        plan = self._plan
        # Now, and not in the first step: an interrupt is not deferred yet, and fit_memory has taken what it needs.
        _ = self._kept if plan.cached_views else self._views
        loss = make_loss(
            plan.loss,
            label_smoothing=plan.label_smoothing,
            class_counts=plan.dataset.counts()["train"],
            balance=plan.balance,
            device=plan.compute.device,
        )
        forward = self._forward_from if plan.cached_views else None
        return Lesson(self._batches, self._validate, self._set_train_mode, loss, plan.steps_per_epoch, forward)

    def fit_memory(self) -> None:
        """Halves what goes through the network at once until a whole step fits the device.

        Raises:
            MemoryExhausted: Not even one picture fits.
        """
        plan, session = self._plan, self.session
        statistics = session.statistics.clone()
        size = plan.preprocess.crop_size
        self._set_train_mode(plan.epochs)
        while True:
            num_images = min(session.state.micro_batch, plan.batch_size)
            try:
                with memory_errors_named(num_images):
                    images = plan.compute.place(torch.zeros(num_images, 3, size, size, dtype=torch.uint8))
                    with plan.step_compute.autocast():
                        logits = self._network(plan.preprocess.normalize(images))
                    logits.float().sum().backward()
                fits = True
            except MemoryExhausted:
                if num_images <= 1:
                    raise
                fits = False
            session.optimizer.zero_grad(set_to_none=True)
            session.statistics.copy_(statistics)
            if fits:
                return
            session.state.micro_batch = math.ceil(num_images / 2)

    def _batches(self, epoch: int, done: int) -> Iterator[Batch]:
        plan, train, device = self._plan, self._train, self._plan.compute.device
        seed = plan.config.seed
        rng = np.random.default_rng((seed, epoch))
        if plan.balance == "sampler":
            order = balanced_order([item.label for item in train], len(train), rng)
        else:
            order = rng.permutation(len(train)).tolist()
        chunks = split_evenly(order, plan.steps_per_epoch)[done:]
        shares = [list(self._team.share(chunk)) for chunk in chunks]
        is_mixed = bool(plan.mixup or plan.cutmix) and epoch <= plan.epochs - plan.mix_off_epochs
        all_inputs = self._inputs(shares, epoch)
        for step, (chunk, share, inputs) in enumerate(zip(chunks, shares, all_inputs, strict=True), start=done):
            labels = to_device(torch.tensor([train[index].label for index in share]), torch.device(device))
            if is_mixed:
                mixing = np.random.default_rng((seed, epoch, step, self._team.rank))
                num_classes = len(plan.dataset.classes)
                inputs, labels = mix(
                    inputs, labels, num_classes=num_classes, mixup=plan.mixup, cutmix=plan.cutmix, rng=mixing
                )
            yield Batch(inputs, labels, len(chunk))

    def _inputs(self, shares: Sequence[Sequence[int]], epoch: int) -> Iterator[Tensor]:
        """Normalised pictures [b x 3 x h x w], or what the frozen stages made of them before."""
        plan = self._plan
        if plan.cached_views:
            kept, _ = self._kept
            yield from kept[(epoch - 1) % plan.cached_views].rows(shares)
            return
        for pixels in self._views.batches(shares, epoch=epoch, size=self._size(epoch)):
            with memory_errors_named(len(pixels)):
                images = plan.preprocess.normalize(plan.compute.place(pixels))
            yield images

    def _forward_from(self, activations: Tensor) -> Tensor:
        logits: Tensor = self._network.fc(features_from(self._network, self._plan.stages[0], activations))
        return logits

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
            place=self._pictures,
        )

    @functools.cached_property
    def _kept(self) -> tuple[list[KeptView], KeptView]:
        """What the frozen stages make of the train pictures, a view each, and of the validation pictures."""
        plan = self._plan
        trained, judged = (
            FrozenStages(self._network, plan.stages[0], plan.preprocess, compute)
            for compute in (plan.step_compute, plan.compute)
        )
        train_hashes, val_hashes = ([x.sha256 for x in scan(items, looks=False)] for items in (self._train, self._val))
        total = plan.cached_views * len(train_hashes) + len(val_hashes)

        def keep(number: int, hashes: list[bytes], show: Show, *view: object) -> KeptView:
            def on_progress(done: int) -> None:
                self._on_event(WorkDone("features", number * len(train_hashes) + done, total))

            frozen = trained if view else judged
            return KeptView(frozen, show, len(hashes), key=repr((hashes, *view)), on_progress=on_progress)

        def show_epoch(number: int) -> Show:
            return lambda groups: self._views.batches(groups, epoch=number + 1, size=plan.preprocess.crop_size)

        train = [
            keep(number, train_hashes, show_epoch(number), plan.augment, plan.config.seed, number)
            for number in range(plan.cached_views)
        ]
        return train, keep(plan.cached_views, val_hashes, self._show_val)

    def _show_val(self, groups: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        """Validation pictures as they are, uint8 [b x 3 x h x w], a group at a time."""
        plan, val = self._plan, self._val
        items = [val[index] for group in groups for index in group]
        sizes = [len(group) for group in groups]
        for batch in load_batches(items, lambda item: plan.preprocess(item.open()), batch_size=sizes):
            raise_unreadable(list(batch.errors.values()), len(val))
            yield batch.pixels

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
        batch_size = inference_batch_size(plan.preprocess.crop_size, plan.compute)
        rows = list(self._team.share(range(len(val))))
        groups = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
        probs = torch.zeros(len(val), len(plan.dataset.classes))
        for group, features in zip(groups, self._val_features(groups), strict=True):
            probs[group] = head_probs(self._network.fc, features)
        # Each picture is one process's: adding up zeros and answers gives all answers, none twice.
        probs = probs.to(plan.compute.device)
        self._team.sum_([probs])
        return validate(probs.cpu(), torch.tensor([item.label for item in val]))

    def _val_features(self, groups: Sequence[Sequence[int]]) -> Iterator[Tensor]:
        """Features of validation pictures [b x 2048], a group at a time."""
        plan = self._plan
        if plan.cached_views:
            _, kept = self._kept
            rest = TrainedStages(self._network, plan.stages[0], plan.compute)
            yield from map(rest, kept.rows(groups))
            return
        backbone = FrozenBackbone(self._network, plan.preprocess, plan.compute)
        yield from map(backbone, self._show_val(groups))


def split_evenly(order: list[int], num_parts: int) -> list[list[int]]:
    """Parts whose sizes differ by one at the most.

    33 pictures in batches of 32 are 17 and 16, not 32 and 1, which BatchNorm cannot bear.
    """
    smaller, num_larger = divmod(len(order), num_parts)
    ends = np.cumsum([smaller + (part < num_larger) for part in range(num_parts)]).tolist()
    return [order[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def stages_in(mode: str, stages: tuple[str, ...], *, epoch: int, epochs: int) -> tuple[str, ...]:
    """The stages that train in an epoch: all of them, or in mode ``gradual`` one more, from the head down.

    Source: Howard and Ruder 2018, https://arxiv.org/abs/1801.06146, section 3.3, spread over the epochs.
    """
    if mode != "gradual":
        return stages
    from_head = sorted(stages, key=STAGES.index, reverse=True)
    return tuple(from_head[: min(len(stages), 1 + (epoch - 1) * len(stages) // epochs)])


def progressive_size(epoch: int, *, epochs: int, start: int, full: int) -> int:
    """The size that an epoch trains at: grows from ``start`` in steps of 32 pixels, ``full`` for the last epochs.

    Source: Touvron et al. 2019, https://arxiv.org/abs/1906.06423, and FFCV's progressive resizing.
    """
    growing = max(1, round(GROWING_SHARE * epochs))
    if epoch > growing:
        return full
    size = start + (full - start) * (epoch - 1) / growing
    return min(full, SIZE_STEP_PX * round(size / SIZE_STEP_PX))
