"""Adding classes to a model without the images of its old ones.

The model file carries features of a few images of each class. While the backbone stays frozen they are exactly
what the images would give again, so a joint head is trained on them and on the new images. The classes have
uneven numbers of rows then: train with ``--balance logit-adjust``.

Measured on CIFAR-10 at 128 px with the weights of docs/benchmarks.md, 450 images a class; percent
right on 200 test images of each old class (and of each class), logistic regression on standardised features with
logit adjustment, penalty 0.3, mean of 4 choices of 2 + 2 classes and of 2 of 5 + 5; random rows: of 3 draws each:

    rows a class   2 + 2: herding       random     5 + 5: herding       random
               2      64.2 (70.1)  43.6 (60.9)       38.2 (60.4)  27.9 (55.2)
               5      72.1 (75.2)  59.2 (69.5)       57.6 (69.7)  43.0 (62.1)
              10      76.1 (77.8)  64.3 (72.5)       65.4 (72.7)  53.9 (67.0)
              20      77.5 (78.9)  71.8 (76.2)       69.9 (74.5)  63.1 (71.5)
              50      80.4 (80.6)  77.0 (79.0)       72.4 (75.7)  68.7 (74.2)
             100      81.9 (81.3)  79.9 (80.6)       73.7 (76.3)  71.2 (75.7)
             200      82.6 (82.0)  81.4 (81.6)       74.5 (77.2)  73.7 (76.9)
    all images    82.9 (82.5)                      75.0 (78.1)
    before          88.8                             85.9

Instead of logit adjustment, with 20 rows a class (2 + 2): nothing 36.2 (62.0), weighing each class the same 61.6
(74.1). The farthest points (k-center) keep less than random rows.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_cli.data.dataset import Item
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.model.model_file import Exemplars
from resnet_cli.model.network import NUM_FEATURES

#: Training rows that a class keeps at the most: all images gain a point at the most. 4 KB each in float16.
PER_CLASS = 200
#: Training rows in all: 8 MB beside the network's 94, twice that in float32.
#: Source: K of Rebuffi et al. 2017 on CIFAR-100.
MAX_ROWS = 2000
#: What a class keeps even where there are thousands of classes.
MIN_PER_CLASS = 5
#: Held-out rows for each training row.
HELD_OUT_SHARE = 0.5
#: Rows of a class among which the training rows are chosen: each choice looks at all of them.
HERD_SIZE = 1000

Rows = tuple[Tensor, Tensor]


@dataclasses.dataclass(frozen=True)
class Retention:
    """How well the old classes are known before and after others came in.

    Attributes:
        num: Held-out rows that were asked; 0 leaves the shares at 0.
        before: Share that the old head answers right, among the old classes.
        after: Share that the joint head answers right, among all classes. More classes are more ways to be wrong:
            some loss is there also with all the old images.
    """

    num: int
    before: float
    after: float


def sample(items: Sequence[Item], num_classes: int, *, seed: int) -> list[Item]:
    """Random images of each class, about as many as a memory holds: all that is worth a forward pass.

    Args:
        items: Labels index the classes.
        num_classes: Of the model.
        seed: Of the choice.
    """
    most, taken = rows_per_class(num_classes), Counter[int]()
    chosen = []
    for index in np.random.default_rng(seed).permutation(len(items)).tolist():
        if taken[items[index].label] < most:
            taken[items[index].label] += 1
            chosen.append(items[index])
    return chosen


def rows_per_class(num_classes: int) -> int:
    """Training rows that each class keeps: the more classes, the fewer."""
    return max(MIN_PER_CLASS, min(PER_CLASS, MAX_ROWS // num_classes))


def max_bytes(num_classes: int) -> int:
    """What a memory of so many classes takes, in float32."""
    num_train = rows_per_class(num_classes)
    return 4 * NUM_FEATURES * num_classes * (num_train + round(num_train * HELD_OUT_SHARE))


def remember(train: Rows, val: Rows, *, num_classes: int, seed: int) -> Exemplars:
    """Chooses what a model remembers of its images.

    Training rows are those whose mean is nearest to the mean of their class (herding), held-out ones are random:
    they shall be neither easier nor harder than others.

    Args:
        train: Features [n x 2048], labels int64 [n], that the head was trained on.
        val: Likewise, not trained on.
        num_classes: Of the model.
        seed: Of the random choices.

    Source: Rebuffi et al. 2017, https://arxiv.org/abs/1611.07725, algorithm 4.
    """
    num_train = rows_per_class(num_classes)
    num_held_out = round(num_train * HELD_OUT_SHARE)
    features, labels, held_out = [], [], []
    for label in range(num_classes):
        rng = np.random.default_rng((seed, label))
        pool = _draw(train, label, HERD_SIZE, rng)
        for rows, is_held_out in (
            (pool[_herd(pool, num_train)], False),
            (_draw(val, label, num_held_out, rng), True),
        ):
            features.append(rows)
            labels += [label] * len(rows)
            held_out += [is_held_out] * len(rows)
    return Exemplars(
        torch.cat(features), torch.tensor(labels, dtype=torch.int64), torch.tensor(held_out, dtype=torch.bool)
    )


def joint_classes(old: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
    """The old classes in their order, then those that are new, sorted."""
    return (*old, *sorted(set(new) - set(old)))


def join(
    exemplars: Exemplars,
    *,
    old_classes: Sequence[str],
    train: Rows,
    val: Rows,
    new_classes: Sequence[str],
    classes: Sequence[str],
) -> tuple[Rows, Rows]:
    """What a joint head is trained on: the memory and the new images.

    Args:
        exemplars: Its labels index ``old_classes``.
        old_classes: Of the model that is added to.
        train: Features [n x 2048] and labels int64 [n] of the new images; the labels index ``new_classes``.
        val: Likewise.
        new_classes: May name old ones: their images come on top of what is remembered.
        classes: From :func:`joint_classes`.

    Returns:
        Train and val with labels that index ``classes``: the memory's rows first, in the dtype of the new ones.
    """
    old_labels = _relabel(exemplars.labels, old_classes, classes)

    def joined(new: Rows, chosen: Tensor) -> Rows:
        features, labels = new
        remembered = exemplars.features[chosen].to(features)
        new_labels = _relabel(labels, new_classes, classes)
        return torch.cat([remembered, features]), torch.cat([old_labels[chosen].to(new_labels), new_labels])

    return joined(train, ~exemplars.held_out), joined(val, exemplars.held_out)


def retention(
    exemplars: Exemplars,
    old_head: nn.Module,
    new_head: nn.Module,
    *,
    old_classes: Sequence[str],
    classes: Sequence[str],
) -> Retention:
    """Compares two heads on the old classes' held-out rows.

    No head was trained on these rows, though both trainings may have chosen their best epoch on them.

    Args:
        exemplars: Of the old model.
        old_head: Features -> logits over ``old_classes``.
        new_head: Features -> logits over ``classes``.
        old_classes: Of the old model.
        classes: From :func:`joint_classes`.
    """
    features, labels = exemplars.features[exemplars.held_out], exemplars.labels[exemplars.held_out]
    if not len(features):
        return Retention(0, 0.0, 0.0)
    before = head_probs(old_head, features).argmax(dim=1) == labels
    after = head_probs(new_head, features).argmax(dim=1) == _relabel(labels, old_classes, classes)
    return Retention(len(features), float(before.double().mean()), float(after.double().mean()))


def _draw(rows: Rows, label: int, num: int, rng: np.random.Generator) -> Tensor:
    """Up to ``num`` rows of one class, in random order."""
    features, labels = rows
    (found,) = torch.where(labels == label)
    return features[found[torch.from_numpy(rng.permutation(len(found))[:num]).to(found.device)]].cpu()


def _herd(features: Tensor, num: int) -> list[int]:
    """The rows to take, one after the other, so that their mean stays nearest to the mean of all."""
    units = F.normalize(features.float(), dim=1)
    mean, total = units.mean(dim=0), torch.zeros(units.shape[1])
    is_left = torch.ones(len(units), dtype=torch.bool)
    chosen: list[int] = []
    while len(chosen) < min(num, len(units)):
        # |mean - (total + u) / n| for the n-th unit vector u: only u . (n * mean - total) depends on u.
        gain = units @ ((len(chosen) + 1) * mean - total)
        best = int(gain.masked_fill(~is_left, -torch.inf).argmax())
        chosen.append(best)
        is_left[best] = False
        total += units[best]
    return chosen


def _relabel(labels: Tensor, old: Sequence[str], new: Sequence[str]) -> Tensor:
    """Labels that index ``old`` as labels that index ``new``, by name."""
    index = {name: position for position, name in enumerate(new)}
    return torch.tensor([index[name] for name in old], device=labels.device)[labels]
