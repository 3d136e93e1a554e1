"""What the small files of a run say, read quickly and without trust: each may be missing, torn or from an old version.

A thousand runs are read in about a second: no torch, no numpy, no weights, and only the beginning of each part of a
large ``metrics.json``, whose confusion matrix has a number for each pair of classes.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

#: Size above which ``metrics.json`` is not read as a whole, and what is read of each of its parts then.
WHOLE_BYTES, PART_BYTES = 512_000, 64_000
#: Size of the largest config and of the largest history that are read.
MAX_BYTES = 4_000_000
#: Where the parts of ``metrics.json`` begin; it is written with an indentation of two.
_PARTS = {"val": b'\n  "val": {', "test": b'\n  "test": {'}
#: Files of a run -> what they are, in the order in which they are shown.
FILES = {
    "report.html": "metrics, mistakes and calibration, as a page",
    "model.safetensors": "the model, in one file",
    "backbone.int8.onnx": "its quantized backbone",
    "model_card.md": "intended use, metrics and limitations",
    "metrics.json": "every metric",
    "history.csv": "one row per epoch",
    "confusion.csv": "the confusion matrix",
    "cooccurrence.csv": "true labels against predicted ones",
    "config.yaml": "every setting; finetune --config reads it",
    "split.csv": "the split of each image",
    "skipped.csv": "images that were skipped, and why",
    "used_images.safetensors": "hashes of its images, by which eval recognizes them",
    "events.jsonl": "every step and epoch",
    "plots": "plots as PNG",
    "eval": "results of eval",
    "tensorboard": "for TensorBoard",
    "checkpoints": "what --resume needs",
}
_NULLS = frozenset({"", "~", "null"})


class Score(NamedTuple):
    """A main score of a run on one split, and the ends of its 95 % interval (None if they are not known)."""

    split: str
    key: str
    value: float
    low: float | None
    high: float | None
    num_images: int | None

    def to_dict(self) -> dict[str, Any]:
        """The score in JSON."""
        return {
            "split": self.split,
            "name": self.key,
            "value": self.value,
            "interval": None if self.low is None else [self.low, self.high],
            "num_images": self.num_images,
        }


class FileProblem(Exception):
    """A file of a run cannot be used; the text says which and why."""


def read_config(folder: Path) -> dict[str, str | None]:
    """The values of ``config.yaml`` as text; lists are left out. ``made_by`` is the command that made the run.

    Raises:
        FileProblem: It is missing, or is not YAML.
    """
    import yaml

    from resnet_cli.config.yaml_file import MADE_BY

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    data = _read(folder / "config.yaml")
    values: dict[str, str | None] = {}
    depth, key = 0, None
    try:
        # Events instead of values: nothing is expanded, and nothing is nested, whatever the file holds.
        for event in yaml.parse(data, Loader=loader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth, key = depth + 1, None
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            elif depth == 1 and isinstance(event, yaml.ScalarEvent):
                if key is None:
                    key = event.value
                else:
                    values[key] = None if event.implicit[0] and event.value in _NULLS else event.value
                    key = None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FileProblem("config.yaml is not valid YAML") from error
    if not values:
        raise FileProblem("config.yaml is empty")
    first = data.partition(b"\n")[0].decode("utf-8", "replace")
    return values | {"made_by": first.removeprefix(MADE_BY) if first.startswith(MADE_BY) else None}


def read_metrics(folder: Path) -> dict[str, Any]:
    """The values of ``metrics.json``; of a large file, ``val`` and ``test`` have only their first values.

    Raises:
        FileProblem: It cannot be read, or is damaged.
    """
    path = folder / "metrics.json"
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size <= WHOLE_BYTES:
                found = json.loads(file.read(), parse_constant=_refuse)
            else:
                found = _parts_of(file.fileno())
    except OSError as error:
        raise FileProblem(f"metrics.json cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise FileProblem("metrics.json is damaged") from error
    if not isinstance(found, dict):
        raise FileProblem("metrics.json is damaged")
    return found


def _parts_of(file: int) -> dict[str, Any]:
    with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as data:
        if not data[-64:].rstrip().endswith(b"}"):
            raise ValueError("torn")
        starts = {name: data.find(mark) for name, mark in _PARTS.items()}
        begin = min((at for at in starts.values() if at >= 0), default=PART_BYTES)
        found: dict[str, Any] = json.loads(data[:begin].rstrip().rstrip(b",") + b"}", parse_constant=_refuse)
        for name, at in starts.items():
            found[name] = _beginning(data[at + len(_PARTS[name]) - 1 : at + PART_BYTES]) if at >= 0 else None
    return found


def _beginning(text: bytes) -> dict[str, Any]:
    """The first members of an object whose end is not there."""
    lines, found = text.split(b"\n"), dict[str, Any]()
    # A member on this level begins with four blanks and ends where the next one begins.
    starts = [at for at, line in enumerate(lines) if line.startswith(b'    "')]
    for start, end in itertools.pairwise(starts):
        member = b"\n".join(lines[start:end]).rstrip().rstrip(b",")
        found |= json.loads(b"{" + member + b"}", parse_constant=_refuse)
    return found


def _refuse(name: str) -> None:
    """JSON has no NaN and no infinity, though Python's parser takes them."""
    raise ValueError(f"{name} is not JSON")


def read_history(folder: Path) -> list[dict[str, float | None]]:
    """The rows of ``history.csv``, as numbers; rows that are torn are left out.

    Raises:
        FileProblem: It cannot be read.
    """
    text = _read(folder / "history.csv").decode("utf-8", "replace")
    rows = []
    for row in csv.DictReader(text.splitlines()):
        try:
            rows.append({name: float(cell) if cell else None for name, cell in row.items() if name})
        except (TypeError, ValueError):
            continue
    return [row for row in rows if (epoch := row.get("epoch")) is not None and math.isfinite(epoch)]


def scores_of(metrics: Mapping[str, Any]) -> list[Score]:
    """The main scores of a finished run, that of the held-out test split first if there is one."""
    scores: list[Score] = []
    for split in ("test", "val"):
        for key in ("top1", "map"):
            value, about = metrics.get(f"{split}_{key}"), metrics.get(split)
            if not is_share(value):
                continue
            part = about if isinstance(about, dict) else {}
            num = part.get("num_images")
            num = num if isinstance(num, int) and num > 0 else None
            low, high = _interval(part, key, float(value), num)
            scores.append(Score(split, key, float(value), low, high, num))
    return scores


def _interval(part: Mapping[str, Any], key: str, value: float, num: int | None) -> tuple[float | None, float | None]:
    spans = part.get("intervals")
    span = spans.get(key) if isinstance(spans, dict) else None
    if isinstance(span, list) and len(span) == 2 and all(map(is_share, span)):
        return span[0], span[1]
    if key == "top1" and num:
        # The first versions wrote none, and that of a share follows from the number of images.
        from resnet_cli.evaluation.intervals import wilson

        found = wilson(round(value * num), num)
        return found.low, found.high
    return None, None


def is_share(value: Any) -> TypeGuard[float]:
    """Whether a value is a number in [0, 1]."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= 1


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise FileProblem(f"{path.name} is missing") from None
    except OSError as error:
        raise FileProblem(f"{path.name} cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise FileProblem(f"{path.name} is too large")
    return data
