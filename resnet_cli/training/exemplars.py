"""Adding classes to a model without the images of its old ones.

The model file stores exemplars: the features of a few images of each class. While the backbone is frozen, they are
exactly the features that the images would have again, so a joint head is trained on them and on the new images. The
classes then have uneven numbers of rows: train with ``--balance logit-adjust``.

Measured on CIFAR-10 at 128 px with the weights of docs/benchmarks.md, 450 images per class: top-1 in percent on 200
test images of each old class (and of each class), logistic regression on standardized features with logit adjustment,
penalty 0.3, mean over 4 choices of 2 + 2 classes and 2 choices of 5 + 5; random rows: mean over 3 draws each:

  rows per class   2 + 2: herding       random     5 + 5: herding       random
               2      64.2 (70.1)  43.6 (60.9)       38.2 (60.4)  27.9 (55.2)
               5      72.1 (75.2)  59.2 (69.5)       57.6 (69.7)  43.0 (62.1)
              10      76.1 (77.8)  64.3 (72.5)       65.4 (72.7)  53.9 (67.0)
              20      77.5 (78.9)  71.8 (76.2)       69.9 (74.5)  63.1 (71.5)
              50      80.4 (80.6)  77.0 (79.0)       72.4 (75.7)  68.7 (74.2)
             100      81.9 (81.3)  79.9 (80.6)       73.7 (76.3)  71.2 (75.7)
             200      82.6 (82.0)  81.4 (81.6)       74.5 (77.2)  73.7 (76.9)
    all images    82.9 (82.5)                      75.0 (78.1)
    before          88.8                             85.9

Without logit adjustment, with 20 rows per class (2 + 2): 36.2 (62.0); with class weights instead: 61.6 (74.1). The
farthest points (k-center) retain less than random rows.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.data.dataset import Dataset, Item, Items
from resnet_cli.errors import ConfigError
from resnet_cli.heads.logistic import AnyRows
from resnet_cli.heads.objectives import OBJECTIVES
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.model.model_file import Exemplars
from resnet_cli.model.output import NUM_FEATURES
from resnet_cli.model.start import Start
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.device import Compute, choose_compute
from resnet_cli.task import UNKNOWN

#: Maximum number of training rows per class; all images would gain at most one point. 4 KB each in float16.
PER_CLASS = 200
#: Maximum number of training rows in all: 8 MB beside the network's 94 MB, twice that in float32.
#: Source: K of Rebuffi et al. 2017 on CIFAR-100.
MAX_ROWS = 2000
#: Minimum number of training rows per class, even with thousands of classes.
MIN_PER_CLASS = 5
#: Held-out rows for each training row.
HELD_OUT_SHARE = 0.5
#: Maximum number of rows of a class from which the training rows are chosen; each choice compares all of them.
HERD_SIZE = 1000


@dataclasses.dataclass(frozen=True)
class Retention:
    """Top-1 (multi-label: mAP) on the old classes before and after classes were added.

    Attributes:
        num: Number of held-out rows; if it is 0, the shares are 0 too.
        before: Score of the old head, among the old classes.
        after: Score of the joint head. Top-1 is among all classes: more classes mean more possible errors, so it would
            also drop with all the old images.
    """

    num: int
    before: float
    after: float


def sample(items: Sequence[Item], num_classes: int, *, seed: int) -> Items:
    """Draws random images of each class, about as many as a model stores.

    Args:
        items: Images whose labels index the classes.
        num_classes: Number of classes of the model.
        seed: Random seed of the choice.
    """
    packed = Items.of(items)
    most, taken = rows_per_class(num_classes), Counter[int]()
    # Images without a label are a group of their own.
    groups_of = [kind.labels or (num_classes,) for kind in packed.kinds]
    chosen = []
    order = np.random.default_rng(seed).permutation(len(packed))
    for index, kind in zip(order.tolist(), packed.kind_of[order].tolist(), strict=True):
        groups = groups_of[kind]
        if any(taken[group] < most for group in groups):
            taken.update(groups)
            chosen.append(index)
    return packed.take(chosen)


def rows_per_class(num_classes: int) -> int:
    """Number of training rows per class: the more classes, the fewer."""
    return max(MIN_PER_CLASS, min(PER_CLASS, MAX_ROWS // num_classes))


def max_bytes(num_classes: int) -> int:
    """Maximum size of the exemplars of this many classes in bytes, in float32."""
    num_train = rows_per_class(num_classes)
    return 4 * NUM_FEATURES * num_classes * (num_train + round(num_train * HELD_OUT_SHARE))


def choose_exemplars(train: AnyRows, val: AnyRows, *, num_classes: int, seed: int) -> Exemplars:
    """Chooses the exemplars of a model.

    The training rows are those whose mean is nearest to the mean of their class (herding); the held-out rows are
    random, so that they are neither easier nor harder than others. A multi-label image counts for each of its classes,
    and images without a label are chosen as if they were a class.

    Args:
        train: Features [n x 2048] and targets that the head was trained on.
        val: Features and targets that it was not trained on.
        num_classes: Number of classes of the model.
        seed: Random seed of the choices.

    Source: Rebuffi et al. 2017, https://arxiv.org/abs/1611.07725, algorithm 4.
    """
    num_train = rows_per_class(num_classes)
    num_held_out = round(num_train * HELD_OUT_SHARE)
    features, targets, held_out = [], [], []
    is_left = [torch.ones(len(part[0]), dtype=torch.bool) for part in (train, val)]
    for group in range(num_classes if train[1].ndim == 1 else num_classes + 1):
        rng = np.random.default_rng((seed, group))
        pool, num = _draw(train[1], group, is_left[0], HERD_SIZE, wanted=num_train, rng=rng)
        held, num_held = _draw(val[1], group, is_left[1], num_held_out, wanted=num_held_out, rng=rng)
        chosen = pool[_herd(train[0][pool].cpu(), num)]
        for (of_part, its_targets), left, rows in ((train, is_left[0], chosen), (val, is_left[1], held[:num_held])):
            left[rows] = False
            features.append(of_part[rows].cpu())
            targets.append(its_targets[rows].cpu())
            held_out.append(torch.full((len(rows),), of_part is val[0], dtype=torch.bool))
    return Exemplars(torch.cat(features), torch.cat(targets), torch.cat(held_out))


def joint_classes(old: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
    """The old classes in their order, then the new ones, sorted."""
    return (*old, *sorted(set(new) - set(old)))


def join(
    exemplars: Exemplars,
    *,
    old_classes: Sequence[str],
    train: AnyRows,
    val: AnyRows,
    new_classes: Sequence[str],
    classes: Sequence[str],
) -> tuple[AnyRows, AnyRows]:
    """Joins the exemplars and the new images, for the training of a joint head.

    Nobody knows whether a multi-label image of one part shows the classes of the other part, so these are unknown.

    Args:
        exemplars: Exemplars of the old model, with targets for ``old_classes``.
        old_classes: Classes of the old model.
        train: Features [n x 2048] and targets of the new images, for ``new_classes``.
        val: Features and targets of the new validation split.
        new_classes: Classes of the new images; old classes may be among them.
        classes: All classes, from :func:`joint_classes`.

    Returns:
        Train and val with targets for ``classes``: the exemplars first, in the dtype of the new features.
    """
    old_labels = _relabel(exemplars.labels, old_classes, classes)

    def joined(new: AnyRows, chosen: Tensor) -> AnyRows:
        features, labels = new
        remembered = exemplars.features[chosen].to(features.dtype)
        new_labels = _relabel(labels, new_classes, classes)
        joint = torch.cat([remembered, features]) if isinstance(features, Tensor) else features.behind(remembered)
        return joint, torch.cat([old_labels[chosen].to(new_labels), new_labels])

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
        exemplars: Exemplars of the old model.
        old_head: Features -> logits over ``old_classes``.
        new_head: Features -> logits over ``classes``.
        old_classes: Classes of the old model.
        classes: All classes, from :func:`joint_classes`.
    """
    features, labels = exemplars.features[exemplars.held_out], exemplars.labels[exemplars.held_out]
    if not len(features):
        return Retention(0, 0.0, 0.0)
    objective = OBJECTIVES["single-label" if labels.ndim == 1 else "multi-label"]
    task = objective.task.name
    _, before = objective.loss_and_score(head_probs(old_head, features, task=task), labels)
    _, after = objective.loss_and_score(
        head_probs(new_head, features, task=task), _relabel(labels, old_classes, classes)
    )
    return Retention(len(features), before or 0.0, after or 0.0)


def _draw(
    targets: Tensor, group: int, is_left: Tensor, most: int, *, wanted: int, rng: np.random.Generator
) -> tuple[Tensor, int]:
    """Up to ``most`` rows of a group in random order, and how many of them are needed until it has ``wanted``.

    None are drawn where enough were chosen already, for other labels of the same images.
    """
    if targets.ndim == 1:
        members = targets.cpu() == group
    elif group < targets.shape[1]:
        members = targets[:, group].cpu() == 1
    else:
        members = ~(targets.cpu() == 1).any(dim=1)
    num = max(0, wanted - int((members & ~is_left).sum()))
    (found,) = torch.where(members & is_left)
    return found[torch.from_numpy(rng.permutation(len(found))[: min(most, len(found)) if num else 0])], num


def _herd(features: Tensor, num: int) -> list[int]:
    """Chooses rows one after the other so that their mean stays nearest to the mean of all rows."""
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
    """Converts targets for ``old`` to targets for ``new``, by name; columns of other classes are unknown."""
    index = {name: position for position, name in enumerate(new)}
    places = torch.tensor([index[name] for name in old], device=labels.device)
    if labels.ndim == 1:
        return places[labels]
    targets = labels.new_full((len(labels), len(new)), UNKNOWN)
    targets[:, places] = labels
    return targets


def add_classes(dataset: Dataset, start: Start | None, preprocess: Preprocess) -> Dataset:
    """Returns the data set with the classes of the old model in front of its own.

    Raises:
        ConfigError: Classes cannot be added to that model.
    """
    if start is None or start.exemplars is None:
        raise ConfigError(
            "--add needs a model of this program, which stores exemplars of its classes",
            hint="name one: --weights runs/NAME",
        )
    if preprocess != start.preprocess:
        raise ConfigError(
            f"--add: the model's features were made at {start.preprocess.crop_size} px, fit {start.preprocess.fit}",
            hint=f"use --image-size {start.preprocess.crop_size} --fit {start.preprocess.fit}",
        )
    if start.task != dataset.task:
        raise ConfigError(
            f"--add: the model is {start.task}, and {dataset.name} is {dataset.task}",
            hint="train a new model: remove --add",
        )
    return dataset.relabel(joint_classes(start.classes, dataset.classes))


def compute_of_exemplars(compute: Compute, config: FinetuneConfig, start: Start | None) -> Compute:
    """Returns the device with the precision of the stored exemplars, since new features are used beside them.

    Raises:
        ConfigError: The user asks for another precision.
    """
    made = start.precision if start else None
    if made is None or made == compute.precision:
        return compute
    if config.precision != "auto":
        raise ConfigError(
            f"--add: the model's features were computed in {made}, not in {compute.precision}",
            hint=f"use --precision {made}",
        )
    return dataclasses.replace(choose_compute(config.device, made), reason="as in that model")  # type: ignore[arg-type]
