"""Linear heads along a path of penalties, for any task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from resnet_cli.heads.label_logistic import fit_label_path
from resnet_cli.heads.logistic import Candidate, fit_path
from resnet_cli.task import TaskName

#: Task -> the function that fits its linear heads. All of them take the training rows, the validation rows and the
#: number of classes; and ``label_smoothing``, ``device``, ``tuner`` and ``penalties``, of which ``Candidate.chosen``
#: fits the same head again.
PATHS: Mapping[TaskName, Callable[..., Iterator[Candidate]]] = {
    "single-label": fit_path,
    "multi-label": fit_label_path,
}
