"""Results of this tool in a data folder: runs and evaluations, whose plots are not images of DATA."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: Files of a run folder, and of the folder of an evaluation; two of them together are not a coincidence.
_FILES = frozenset(
    "config.yaml confusion.csv events.jsonl history.csv metrics.json model.safetensors model_card.md report.html "
    "split.csv".split()
)
_FOLDERS = frozenset({"plots", "eval", "checkpoints"})


def is_run(files: Iterable[str]) -> bool:
    """Whether a folder with these files is a run or an evaluation."""
    return len(_FILES.intersection(files)) > 1


def contains_runs(inner: Sequence[tuple[Iterable[str], Iterable[str]]]) -> bool:
    """Whether a folder with the name of the folder of all runs contains runs, and nothing else.

    Args:
        inner: The files and the folders of each folder in it.
    """
    return bool(inner) and all(is_run(files) or _FOLDERS.intersection(folders) for files, folders in inner)
