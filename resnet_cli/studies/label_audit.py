"""Finds labels that are likely wrong: the label of each image is checked with heads that were trained without it.

Images are ranked by the probability that such a head gives to their label (self-confidence), lowest first. Of 250
wrong labels planted among 5,000 of CIFAR-10 (500 images per class at 128 px, the weights of docs/benchmarks.md), 75 %
are among the first 250 (three draws: 78, 73, 76), and for 83 % of those the suggested label is the right one. The
margin to the next class finds 59 %, the thresholds of confident learning 61 %, log odds 75 %. On the first draw, ten
folds, a second round of folds, and heads trained without the first suspects gain nothing; 30 nearest neighbors find
67 %.

Source: confident learning, Northcutt et al. 2021, https://arxiv.org/abs/1911.00068; self-confidence as the score:
Kuan and Mueller 2022, https://arxiv.org/abs/2207.04720 ("label quality scores").
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resnet_cli.data.dataset import Item
from resnet_cli.data.split_files import write_rows
from resnet_cli.errors import DataError
from resnet_cli.evaluation.intervals import Interval, wilson
from resnet_cli.studies.folds import NUM_FOLDS, assign_folds, blocks_of, out_of_fold_probs
from resnet_cli.system.events import Progress

#: The number of wrong labels is estimated on the most confident predictions: this share of the images, but at least
#: this many.
SUREST_SHARE, MIN_SUREST = 0.1, 100
#: A label is checked if the head was trained on at least this many other images of its class: a smaller class is
#: unknown to the head, and all its labels would look wrong.
MIN_TRAINED = 4


@dataclasses.dataclass(frozen=True, eq=False)
class LabelAudit:
    """The labels, ranked by how likely they are wrong.

    Attributes:
        classes: Class names in index order.
        labels: The given labels, int64 [n].
        probs: Out-of-fold probabilities, float32 [n x k].
        order: Positions of the checked images, the most likely wrong label first, [m].
        suggested: The most probable class other than the given one, int64 [n].
        num_wrong: Estimated number of wrong labels among the checked ones; see :func:`estimate_wrong`.
        num_unchecked: Number of images whose class is too small to be checked.
    """

    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    probs: NDArray[np.float32]
    order: NDArray[np.intp]
    suggested: NDArray[np.int64]
    num_wrong: Interval
    num_unchecked: int

    @property
    def label_probs(self) -> NDArray[np.float32]:
        """Probability of each given label, [n]."""
        return self.probs[np.arange(len(self.labels)), self.labels]

    @property
    def suggested_probs(self) -> NDArray[np.float32]:
        """Probability of each suggested label, [n]."""
        return self.probs[np.arange(len(self.labels)), self.suggested]

    def likely(self) -> list[int]:
        """Positions of the labels that are likely wrong, the worst first; their number is the estimate."""
        return [int(at) for at in self.order[: round(self.num_wrong.value)]]

    def to_dict(self, items: Sequence[Item]) -> dict[str, Any]:
        """Plain JSON values; the likely wrong labels, the worst first.

        Args:
            items: The images that the labels belong to, [n].
        """
        return {
            "num_judged": len(self.order),
            "num_unjudged": self.num_unchecked,
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
    """Checks every label with a head that was trained without its image.

    The first fold selects the L2 penalty. Copies of an image, and images of one group, are in one fold: a copy with the
    same wrong label would confirm it.

    Args:
        features: Features of a backbone that was not trained on these labels, [n x 2048].
        labels: The given labels, [n].
        classes: Names of the k classes.
        groups: Group of each image, or empty; an empty name means no group.
        device: Device that heads are trained on.
        seed: Random seed of the folds.
        on_progress: Called with (images checked, images in all).

    Raises:
        DataError: No class is large enough to be checked.
    """
    folds = assign_folds(labels, blocks_of(features, groups), seed=seed)
    is_checked = _checkable(labels, folds, len(classes))
    if not is_checked.any() or len(np.unique(labels)) < 2:
        raise DataError(
            f"{len(labels):,} images of {len(np.unique(labels)):,} classes are too few to check their labels",
            hint=f"it needs two classes, and {MIN_TRAINED} other images of a class that are not copies",
        )
    rows = features, torch.from_numpy(labels)
    probs = out_of_fold_probs(rows, folds, len(classes), device=device, on_progress=on_progress)
    return rank(probs, labels, classes, is_checked)


def rank(
    probs: NDArray[np.float32], labels: NDArray[np.int64], classes: Sequence[str], is_checked: NDArray[np.bool_]
) -> LabelAudit:
    """Ranks labels by their out-of-fold probability.

    Args:
        probs: Out-of-fold probabilities [n x k].
        labels: The given labels [n].
        classes: Names of the k classes.
        is_checked: Whether the label of an image is checked, [n].
    """
    every = np.arange(len(labels))
    others = probs.copy()
    others[every, labels] = -1
    suggested = others.argmax(axis=1)
    doubt = np.where(is_checked, probs[every, labels], np.inf)
    order = np.argsort(doubt, kind="stable")[: is_checked.sum()]
    return LabelAudit(
        tuple(classes),
        labels,
        probs,
        order,
        suggested,
        estimate_wrong(probs[is_checked], labels[is_checked]),
        int((~is_checked).sum()),
    )


def estimate_wrong(probs: NDArray[np.float32], labels: NDArray[np.int64]) -> Interval:
    """Estimates the number of wrong labels from the share that the most confident predictions contradict.

    The most confident predictions are hardly ever wrong, so it is mostly the label that is. The estimate is slightly
    too high because of the heads' own errors, and it assumes that wrong labels are as common among hard images as among
    easy ones. With 0, 50, 250, 500 and 1,000 wrong labels planted among 5,000 of CIFAR-10 it gave 20, 60, 253, 520 and
    890. Source: benchmarks/label_audit.py.

    Args:
        probs: Out-of-fold probabilities, [m x k].
        labels: The given labels [m], m at least 1.
    """
    num = min(len(labels), max(MIN_SUREST, round(SUREST_SHARE * len(labels))))
    surest = np.argsort(-probs.max(axis=1), kind="stable")[:num]
    share = wilson(int((probs[surest].argmax(axis=1) != labels[surest]).sum()), num)
    return Interval(*(len(labels) * end for end in share))


def _checkable(labels: NDArray[np.int64], folds: NDArray[np.intp], num_classes: int) -> NDArray[np.bool_]:
    """Whether enough images of an image's class are in the folds that its head is trained on, [n]."""
    counts = np.zeros((NUM_FOLDS, num_classes), dtype=np.int64)
    np.add.at(counts, (folds, labels), 1)
    left: NDArray[np.bool_] = counts.sum(axis=0)[labels] - counts[folds, labels] >= MIN_TRAINED
    return left


def audit_table(audit: LabelAudit, items: Sequence[Item], others: Sequence[Item], path: Path) -> str:
    """A CSV table of all images for ``finetune``, the most likely wrong label first.

    Columns: ``image,label,split,group``, which finetune reads, then ``suggested``, ``label_prob``,
    ``suggested_prob`` and ``rank`` (1 is the worst; only labels that are likely wrong have a rank).

    Args:
        audit: Result for the items.
        items: The images, [n].
        others: Images of the data set that were not checked; they come last.
        path: Path of the table; images below its folder get relative paths.
    """
    folder = os.path.realpath(path.parent)
    classes, checked = audit.classes, set(audit.order.tolist())
    has_splits = any(item.split != "train" for item in (*items, *others))
    num_likely = len(audit.likely())

    def known(item: Item) -> list[str]:
        return [shown_path(item, folder), classes[item.label], item.split if has_splits else "", item.group]

    rows = [["image", "label", "split", "group", "suggested", "label_prob", "suggested_prob", "rank"]]
    for rank, at in enumerate(audit.order.tolist()):
        probs = f"{audit.label_probs[at]:.4f}", f"{audit.suggested_probs[at]:.4f}"
        place = str(rank + 1) if rank < num_likely else ""
        rows.append([*known(items[at]), classes[audit.suggested[at]], *probs, place])
    unchecked = [item for at, item in enumerate(items) if at not in checked]
    rows += [[*known(item), "", "", "", ""] for item in (*unchecked, *others)]
    text = io.StringIO()
    write_rows(text, rows)
    return text.getvalue()


def shown_path(item: Item, folder: str) -> str:
    """The path of an image file, relative to the table's folder if it is below it; else the name of the image."""
    if not isinstance(item.source, Path):
        return item.name
    file = os.path.realpath(item.source)
    is_below = file.startswith(os.path.join(folder, ""))
    return Path(os.path.relpath(file, folder) if is_below else file).as_posix()
