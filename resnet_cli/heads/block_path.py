"""Linear heads on more images than fit into memory.

A path of penalties on a sample of the images (``logistic.py``, ``label_logistic.py``) finds where to start: its best
head, and its best penalty, which becomes smaller in proportion to the number of different images. From there, the
heads of a few penalties are fitted to all images, whose features are read from disk in blocks, and validation chooses
as it does in memory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from resnet_cli.engines.feature_rows import AnyFeatures, Features
from resnet_cli.heads.block_problem import BlockProblem
from resnet_cli.heads.label_logistic import fit_label_path
from resnet_cli.heads.label_path import LabelCandidate, LabelPath
from resnet_cli.heads.logistic import AnyRows, Candidate, Rows, choose, fit_path
from resnet_cli.heads.objectives import loss_and_top1
from resnet_cli.heads.row_choice import merge_copies, sample_rows
from resnet_cli.heads.temperature import fit_temperature
from resnet_cli.system.device import memory_errors_named
from resnet_cli.system.intraop import ThreadTuner
from resnet_cli.task import YES, TaskName

#: Features of more than this size in float32, of training and validation together, are read in blocks: 65,536 images.
MAX_IN_MEMORY_BYTES = 2**29
#: Training and validation images of the sample: 32 and 16 MB in float32. Of 18,000 images of CIFAR-10, 2,000 lead to
#: 73.5 % on new images, 6,000 to 73.65 %, and a path in memory to 73.5 %; the heads of the samples themselves have 68.1
#: and 71.4 %.
SAMPLE_TRAIN, SAMPLE_VAL = 4096, 2048
#: Logits of validation images that are judged at once; with more classes than fit, a sample of the images is judged.
MAX_VAL_LOGITS = 2**22
#: Penalties on all images, as multiples of the sample's best one for this number of images, from strong to weak; and
#: stronger ones, for a sample that was too optimistic.
FACTORS, STRONGER = (2.0, 1.0, 0.5, 0.25, 0.125, 0.0625), (4.0, 8.0, 16.0)


def fits_in_memory(num_images: int, num_features: int) -> bool:
    """Whether heads on this number of training and validation images are fitted in memory."""
    return 4 * num_images * num_features <= MAX_IN_MEMORY_BYTES


def judged_rows(val: AnyRows, num_classes: int) -> AnyRows:
    """The validation rows that heads are judged on: all of them, or a sample if their logits would be too large."""
    if isinstance(val[0], Tensor) or fits_in_memory(len(val[0]), val[0].shape[1]):
        return val
    rows = sample_rows(val[1], max(1, MAX_VAL_LOGITS // num_classes))
    return val[0].take(rows), val[1][rows]


def sampled_rows(train: AnyRows) -> AnyRows:
    """The training rows on which scores are measured: all of them, or a sample of those on disk."""
    if isinstance(train[0], Tensor):
        return train
    rows = sample_rows(train[1], SAMPLE_TRAIN)
    return train[0].take(rows), train[1][rows]


def fit_block_path(
    train: AnyRows,
    val: AnyRows,
    num_classes: int,
    *,
    sample_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    logit_offsets: Tensor | None = None,
    device: str,
    tuner: ThreadTuner | None = None,
) -> Iterator[Candidate]:
    """Does for any number of images what :func:`~resnet_cli.heads.logistic.fit_path` does in memory.

    Args:
        train: Features [n x 2048] and labels int64 [n].
        val: Features and labels of the validation split.
        num_classes: Number of classes, k.
        sample_weights: Weight of each image [n]; images of one class have the same. None: all are equal.
        label_smoothing: Share of each target that is spread over all classes.
        logit_offsets: Offsets [k] that are added to the logits in training only.
        device: Device to compute on.
        tuner: Chooses the number of threads; None for a tuner of its own.

    Yields:
        One candidate per penalty that is fitted to all images.

    Raises:
        DivergedError: A feature is not a finite number.
        MemoryExhausted: A block does not fit on the device.
    """
    tuner = tuner or ThreadTuner(is_fixed=device != "cpu")
    rows, copies = merge_copies(_contents(train[0]), train[1])
    weights = torch.from_numpy(copies).float()
    if sample_weights is not None:
        weights *= sample_weights.cpu()[rows]
    chosen = sample_rows(train[1][rows], SAMPLE_TRAIN)
    sampled = choose(
        list(
            fit_path(
                _taken(train, rows[chosen]),
                _taken(val, sample_rows(val[1], SAMPLE_VAL)),
                num_classes,
                sample_weights=weights[chosen],
                label_smoothing=label_smoothing,
                logit_offsets=logit_offsets,
                device=device,
                tuner=tuner,
            )
        )
    )
    offsets = torch.zeros(num_classes) if logit_offsets is None else logit_offsets.float()
    offsets = offsets.to(device)

    def loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        losses = F.cross_entropy(logits + offsets, labels, reduction="none", label_smoothing=label_smoothing)
        return losses @ weights

    with memory_errors_named(len(chosen)):
        problem = BlockProblem(
            *train,
            rows=rows,
            copies=copies,
            weights=weights / weights.double().sum(),
            num_classes=num_classes,
            loss=loss,
            device=device,
            tuner=tuner,
        )
    problem.start_from(sampled.unscaled_head())
    judged, val_labels = judged_rows(val, num_classes)

    def fitted(factor: float) -> Candidate:
        began, l2 = time.perf_counter(), factor * sampled.l2 * len(chosen) / len(rows)
        with memory_errors_named(len(chosen)):
            problem.fit(torch.full((num_classes,), l2))
            val_logits = problem.logits(judged)
            scale = 1 / fit_temperature(val_logits.numpy(), val_labels.numpy())
            train_scores = _mean_scores(problem, scale, copies)
        val_loss, val_top1 = loss_and_top1(torch.softmax(scale * val_logits, dim=1), val_labels)
        seconds = time.perf_counter() - began
        return Candidate(l2, problem.raw_head(scale), scale, *train_scores, val_loss, val_top1, seconds)

    return _search(fitted)


def _search(fitted: Callable[[float], Candidate]) -> Iterator[Candidate]:
    """Yields heads with weaker and weaker penalties until one is worse; with stronger ones if the second one is."""
    lowest = [math.inf]
    for factor in FACTORS:
        yield (candidate := fitted(factor))
        if candidate.val_loss > lowest[-1]:
            break
        lowest.append(candidate.val_loss)
    if len(lowest) > 2:
        return
    for factor in STRONGER:
        yield (candidate := fitted(factor))
        if candidate.val_loss > lowest[-1]:
            return
        lowest.append(candidate.val_loss)


def fit_label_block_path(
    train: AnyRows,
    val: AnyRows,
    num_classes: int,
    *,
    value_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    device: str,
    tuner: ThreadTuner | None = None,
) -> Iterator[LabelCandidate]:
    """Does for any number of images what :func:`~resnet_cli.heads.label_logistic.fit_label_path` does in memory.

    The training scores that it records are those of the sample.

    Args:
        train: Features [n x 2048] and targets int8 [n x k]; -1, unknown, has no effect.
        val: Features and targets of the validation split.
        num_classes: Number of classes, k.
        value_weights: Weight of a no and of a yes of each class [2 x k]; only their ratio matters. None: 1.
        label_smoothing: Each target is moved by half of this toward the other value.
        device: Device to compute on.
        tuner: Chooses the number of threads; None for a tuner of its own.

    Yields:
        One candidate per penalty that is fitted to all images. The last one is the best.

    Raises:
        DivergedError: A feature is not a finite number.
        MemoryExhausted: A block does not fit on the device.
    """
    tuner = tuner or ThreadTuner(is_fixed=device != "cpu")
    rows, copies = merge_copies(_contents(train[0]), train[1])
    chosen = rows[sample_rows(train[1][rows], SAMPLE_TRAIN)]
    *_, sampled = fit_label_path(
        _taken(train, chosen),
        _taken(val, sample_rows(val[1], SAMPLE_VAL)),
        num_classes,
        value_weights=value_weights,
        label_smoothing=label_smoothing,
        device=device,
        tuner=tuner,
    )
    shares_of = _label_shares(train[1], rows, copies, value_weights)

    def loss(logits: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        is_yes = targets == YES
        shares = torch.where(is_yes, shares_of[1], shares_of[0]) * (targets >= 0) * counts[:, None]
        aims = is_yes * (1 - label_smoothing) + label_smoothing / 2
        return (F.binary_cross_entropy_with_logits(logits, aims, reduction="none") * shares).sum()

    shares_of = shares_of.to(device)
    with memory_errors_named(len(chosen)):
        problem = BlockProblem(
            *train,
            rows=rows,
            copies=copies,
            weights=torch.from_numpy(copies).float(),
            num_classes=num_classes,
            loss=loss,
            device=device,
            tuner=tuner,
        )
    penalties = np.array(sampled.penalties) * len(chosen) / len(rows)
    problem.start_from(sampled.unscaled_head())
    judged, val_targets = judged_rows(val, num_classes)
    path = LabelPath(train[1][chosen].numpy(force=True), val_targets.numpy(force=True), train[0].shape[1] + 1)
    for factor in FACTORS if path.judges else (1.0,):
        began, l2 = time.perf_counter(), factor * penalties
        with memory_errors_named(len(chosen)):
            problem.fit(torch.from_numpy(l2).float())
            head = problem.head
            weights = torch.cat([head.weight, head.bias[:, None]], dim=1).detach().cpu()
            classes = path.left
            path.compare(
                classes,
                l2[classes],
                weights[classes],
                train_logits=problem.logits(train[0][chosen])[:, classes].numpy(),
                val_logits=problem.logits(judged)[:, classes].numpy(),
            )
        yield path.candidate(float(l2.min()), problem.mean, problem.std, time.perf_counter() - began)
        if path.is_over:
            return


#: Task -> the function that fits its linear heads to any number of images; the arguments are those of ``PATHS``.
BLOCK_PATHS: Mapping[TaskName, Callable[..., Iterator[Candidate]]] = {
    "single-label": fit_block_path,
    "multi-label": fit_label_block_path,
}


def _label_shares(
    targets: Tensor, rows: NDArray[np.int64], copies: NDArray[np.int64], value_weights: Tensor | None
) -> Tensor:
    """Weight of a no and of a yes of each class [2 x k]; those of all known values of a class sum to 1."""
    counts = torch.zeros(2, targets.shape[1], dtype=torch.float64)
    for start in range(0, len(rows), SAMPLE_TRAIN):
        block, weight = targets[rows[start : start + SAMPLE_TRAIN]], torch.from_numpy(copies[start:][:SAMPLE_TRAIN])
        for value in (0, 1):
            counts[value] += weight.double() @ (block == value).double()
    ratios = torch.ones_like(counts) if value_weights is None else value_weights.cpu().double()
    total = (ratios * counts).sum(dim=0).clamp_min(torch.finfo(torch.float32).tiny)
    return (ratios / total).float()


def _mean_scores(problem: BlockProblem, scale: float, copies: NDArray[np.int64]) -> tuple[float, float]:
    """Mean loss and top-1 on all training images."""
    sums = np.zeros(2)
    for logits, labels, at in problem.scored_blocks():
        log_probs = torch.log_softmax(scale * logits, dim=1)
        losses = -log_probs.gather(1, labels[:, None])[:, 0].double().numpy()
        sums += copies[at] @ losses, copies[at] @ (logits.argmax(dim=1) == labels).double().numpy()
    loss, top1 = (sums / copies.sum()).tolist()
    return loss, top1


def _taken(rows: AnyRows, at: NDArray[np.int64]) -> Rows:
    return rows[0][at], rows[1][at]


def _contents(features: AnyFeatures) -> NDArray[np.int32]:
    return features.contents if isinstance(features, Features) else np.arange(len(features), dtype=np.int32)
