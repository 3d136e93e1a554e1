"""Which labels are likely wrong: each image is judged by heads that were trained without it.

Images are ranked by the probability that such a head gives to their label (self-confidence), the least first. Of 250
labels planted among 5,000 of CIFAR-10 (500 images a class at 128 px, the weights of docs/benchmarks.md)
75 % are among the first 250 (three draws: 78, 73, 76), and for 83 % of those the suggested label is the right one. The
margin to the next class finds 59 %, confident learning's thresholds 61 %, log odds 75 %. On the first draw ten folds, a
second round of folds, and heads trained without the first suspects gain no point, and 30 nearest neighbours find 67 %.

Source: confident learning, Northcutt et al. 2021, https://arxiv.org/abs/1911.00068; self-confidence as the score:
Kuan and Mueller 2022, https://arxiv.org/abs/2207.04720 ("label quality scores").
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_cli.data.dataset import Item
from resnet_cli.data.splits import connected, write_rows
from resnet_cli.errors import DataError
from resnet_cli.evaluation.intervals import Interval, wilson
from resnet_cli.heads import logistic
from resnet_cli.heads.probabilities import head_probs
from resnet_cli.system.events import Progress

#: Parts of the images; each is judged by a head trained on the others.
NUM_FOLDS = 5
#: The share of images, those that the heads are surest about, by which the number of wrong labels is estimated; but
#: at least so many images.
SUREST_SHARE, MIN_SUREST = 0.1, 100
#: An image is judged if so many others of its class were trained on: a class of fewer is unknown to the head, and
#: all its labels would look wrong.
MIN_TRAINED = 4


@dataclasses.dataclass(frozen=True, eq=False)
class LabelAudit:
    """What heads that were trained without an image make of its label.

    Attributes:
        classes: In index order.
        labels: As they are given, int64 [n].
        probs: Of heads that did not see the image, float32 [n x k].
        order: Positions of the judged images, the likeliest wrong label first, [m].
        suggested: The most probable class other than the given one, int64 [n].
        num_wrong: Estimated number of wrong labels among the judged; see :func:`estimate_wrong`.
        num_unjudged: Images of classes too small to be judged.
    """

    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    probs: NDArray[np.float32]
    order: NDArray[np.intp]
    suggested: NDArray[np.int64]
    num_wrong: Interval
    num_unjudged: int

    @property
    def label_probs(self) -> NDArray[np.float32]:
        """Probability of each given label, [n]."""
        return self.probs[np.arange(len(self.labels)), self.labels]

    @property
    def suggested_probs(self) -> NDArray[np.float32]:
        """Probability of each suggested label, [n]."""
        return self.probs[np.arange(len(self.labels)), self.suggested]

    def likely(self) -> list[int]:
        """Positions of the labels that are likely wrong, the worst first: as many as the estimate says."""
        return [int(at) for at in self.order[: round(self.num_wrong.value)]]

    def to_dict(self, items: Sequence[Item]) -> dict[str, Any]:
        """Plain JSON values; the likely wrong labels, the worst first.

        Args:
            items: The images that the labels belong to, [n].
        """
        return {
            "num_judged": len(self.order),
            "num_unjudged": self.num_unjudged,
            "num_wrong": self.num_wrong._asdict(),
            "likely_wrong": [
                {
                    "path": items[at].name,
                    "split": items[at].split,
                    "label": self.classes[self.labels[at]],
                    "label_prob": round(float(self.label_probs[at]), 6),
                    "suggested": self.classes[self.suggested[at]],
                    "suggested_prob": round(float(self.suggested_probs[at]), 6),
                }
                for at in self.likely()
            ],
        }


def audit_labels(
    features: Tensor,
    labels: NDArray[np.int64],
    classes: Sequence[str],
    *,
    groups: Sequence[str] = (),
    device: str = "cpu",
    seed: int = 0,
    on_progress: Progress | None = None,
) -> LabelAudit:
    """Judges every label by heads that were trained without its image.

    The first fold chooses the penalty. Copies of an image, and images of one group, are in one fold: a copy with
    the same wrong label would vouch for it.

    Args:
        features: Of a backbone that was not trained on these labels, [n x 2048].
        labels: As given, [n].
        classes: k names.
        groups: The group of each image, or none; empty: of no group.
        device: Where heads are trained.
        seed: Of the folds.
        on_progress: Called with (images judged, images in all).

    Raises:
        DataError: No class is large enough to be judged.
    """
    folds = assign_folds(labels, _blocks(features, groups), seed=seed)
    is_judged = _judged(labels, folds, len(classes))
    if not is_judged.any() or len(np.unique(labels)) < 2:
        raise DataError(
            f"{len(labels):,} images of {len(np.unique(labels)):,} classes are too few to judge their labels",
            hint=f"it takes two classes, and {MIN_TRAINED} others of an image's class that are no copies of it",
        )
    targets = torch.from_numpy(labels)
    probs = np.full((len(labels), len(classes)), np.nan, dtype=np.float32)
    penalties: Sequence[float] = logistic.PENALTIES
    num_done = 0
    for fold in np.unique(folds):
        rest, held = (torch.from_numpy(np.flatnonzero(which)) for which in (folds != fold, folds == fold))
        parts = [(features[rows], targets[rows]) for rows in (rest, held)]
        path = logistic.fit_path(parts[0], parts[1], len(classes), device=device, penalties=penalties)
        chosen = logistic.choose(list(path))
        penalties = (chosen.l2,)
        probs[held.numpy()] = head_probs(chosen.head, features[held]).numpy()
        num_done += len(held)
        if on_progress:
            on_progress(num_done, len(labels))
    return rank(probs, labels, classes, is_judged)


def rank(
    probs: NDArray[np.float32], labels: NDArray[np.int64], classes: Sequence[str], is_judged: NDArray[np.bool_]
) -> LabelAudit:
    """Ranks labels by the probability that heads give them which did not see their images.

    Args:
        probs: [n x k].
        labels: [n].
        classes: k names.
        is_judged: Whether an image takes part, [n].
    """
    every = np.arange(len(labels))
    others = probs.copy()
    others[every, labels] = -1
    suggested = others.argmax(axis=1)
    doubt = np.where(is_judged, probs[every, labels], np.inf)
    order = np.argsort(doubt, kind="stable")[: is_judged.sum()]
    return LabelAudit(
        tuple(classes),
        labels,
        probs,
        order,
        suggested,
        estimate_wrong(probs[is_judged], labels[is_judged]),
        int((~is_judged).sum()),
    )


def estimate_wrong(probs: NDArray[np.float32], labels: NDArray[np.int64]) -> Interval:
    """About how many labels are wrong: how often the heads contradict where they are surest, as a share of all.

    There the heads themselves are hardly ever wrong, so that it is mostly the label that is. It counts a few too many,
    by the heads' own errors, and it takes wrong labels to be as common among hard images as among easy ones. Of 5,000
    labels of CIFAR-10 with 0, 50, 250, 500 and 1,000 planted it counted 20, 60, 253, 520 and 890.
    Source: benchmarks/label_audit.py.

    Args:
        probs: Of heads that did not see the images, [m x k].
        labels: [m], m at least 1.
    """
    num = min(len(labels), max(MIN_SUREST, round(SUREST_SHARE * len(labels))))
    surest = np.argsort(-probs.max(axis=1), kind="stable")[:num]
    share = wilson(int((probs[surest].argmax(axis=1) != labels[surest]).sum()), num)
    return Interval(*(len(labels) * end for end in share))


def assign_folds(labels: NDArray[np.int64], blocks: Sequence[Sequence[int]], *, seed: int) -> NDArray[np.intp]:
    """Gives each block of images a fold, so that each fold holds about the same of each class.

    Args:
        labels: [n].
        blocks: Positions that must stay together; every position is in one.
        seed: Of the order.

    Returns:
        [n], numbers from 0 to at most ``NUM_FOLDS`` - 1.
    """
    folds = np.empty(len(labels), dtype=np.intp)
    counts = np.zeros((NUM_FOLDS, labels.max() + 1), dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(blocks))
    # Large blocks first: the small ones then even things out.
    for at in sorted(order, key=lambda number: -len(blocks[number])):
        block = np.array(blocks[at])
        found, num = np.unique(labels[block], return_counts=True)
        # Where there are fewest of these classes, then fewest of all.
        fold = int(np.lexsort((counts.sum(axis=1), counts[:, found] @ num))[0])
        folds[block] = fold
        counts[fold, found] += num
    return folds


def _blocks(features: Tensor, groups: Sequence[str]) -> list[list[int]]:
    """Positions of images that belong together: copies, which have the same features, and groups."""
    together: dict[object, list[int]] = defaultdict(list)
    for position, row in enumerate(features.numpy()):
        together[hashlib.sha256(row.tobytes()).digest()].append(position)
    for position, group in enumerate(groups):
        if group:
            together[group].append(position)
    return connected(together.values())


def _judged(labels: NDArray[np.int64], folds: NDArray[np.intp], num_classes: int) -> NDArray[np.bool_]:
    """Whether enough of an image's class is in the folds that its head is trained on, [n]."""
    counts = np.zeros((NUM_FOLDS, num_classes), dtype=np.int64)
    np.add.at(counts, (folds, labels), 1)
    left: NDArray[np.bool_] = counts.sum(axis=0)[labels] - counts[folds, labels] >= MIN_TRAINED
    return left


def audit_table(audit: LabelAudit, items: Sequence[Item], others: Sequence[Item], path: Path) -> str:
    """All images as CSV text for ``finetune``, the likeliest wrong label first, with what should be looked at.

    Columns: ``image,label,split,group``, which finetune reads, then ``suggested``, ``label_prob``,
    ``suggested_prob`` and ``rank`` (1 is the worst; only the likely wrong have one).

    Args:
        audit: Of the items.
        items: The images, [n].
        others: Images of the data set that were not audited; they come last.
        path: Where the table will lie: images below its folder are named relative to it.
    """
    folder = os.path.realpath(path.parent)
    classes, judged = audit.classes, set(audit.order.tolist())
    has_splits = any(item.split != "train" for item in (*items, *others))
    num_likely = len(audit.likely())

    def known(item: Item) -> list[str]:
        return [_shown(item, folder), classes[item.label], item.split if has_splits else "", item.group]

    rows = [["image", "label", "split", "group", "suggested", "label_prob", "suggested_prob", "rank"]]
    for rank, at in enumerate(audit.order.tolist()):
        probs = f"{audit.label_probs[at]:.4f}", f"{audit.suggested_probs[at]:.4f}"
        place = str(rank + 1) if rank < num_likely else ""
        rows.append([*known(items[at]), classes[audit.suggested[at]], *probs, place])
    unjudged = [item for at, item in enumerate(items) if at not in judged]
    rows += [[*known(item), "", "", "", ""] for item in (*unjudged, *others)]
    text = io.StringIO()
    write_rows(text, rows)
    return text.getvalue()


def _shown(item: Item, folder: str) -> str:
    """The image's path from the table's folder; of an image that is no file, its name."""
    if not isinstance(item.source, Path):
        return item.name
    file = os.path.realpath(item.source)
    is_below = file.startswith(os.path.join(folder, ""))
    return Path(os.path.relpath(file, folder) if is_below else file).as_posix()
