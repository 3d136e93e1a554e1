"""What ``benchmarks.stress`` runs: commands, how each one is continued, and whether its files are right."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

#: Largest difference of a probability: the same process computes the same bits, and another batch may round otherwise.
TOLERANCE = 1e-5
BASE = "runs/base"
#: Random weights, small images, and the whole training on one thread.
SMALL = ("--image-size", "32", "--precision", "fp32", "--device", "cpu", "--seed", "1")


class WrongFileError(Exception):
    """A file is incomplete, or differs from that of an undisturbed run."""


Check = Callable[[Path, Path], None]
"""Compares a folder with that of the undisturbed run."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A command and its files.

    Attributes:
        words: The command; ``DATA`` and ``IMAGES`` stand for folders.
        outputs: Patterns of the files that it writes.
        check: Compares the finished files with those of an undisturbed run.
        resume: Flags that continue it if a file of ``outputs`` exists; None: it is simply run again.
        remove: Outputs that it refuses to replace, removed before it is run again.
    package: What it needs; without it, the job is left out.
    """

    words: tuple[str, ...]
    outputs: tuple[str, ...]
    check: Check
    resume: tuple[str, ...] | None = None
    remove: tuple[str, ...] = ()
    package: str = "resnet_cli"


def check_run(found: Path, expected: Path, name: str = "new") -> None:
    """Compares two finished runs: tensors, classes, history and the metrics that do not depend on time."""
    same_model(found / name / "model.safetensors", expected / name / "model.safetensors")
    rows, wanted = (
        [[row[key] for key in row if key != "seconds"] for row in table(folder / name / "history.csv")]
        for folder in (found, expected)
    )
    if rows != wanted:
        raise WrongFileError(f"{name}/history.csv: {rows} instead of {wanted}")
    metrics, other = (json.loads((folder / name / "metrics.json").read_text()) for folder in (found, expected))
    for split in ("val", "test"):
        if not close(metrics.get(split), other.get(split)):
            raise WrongFileError(f"{name}/metrics.json: {split} differs")
    for page in ("report.html", "model_card.md", "config.yaml", "split.csv", "confusion.csv"):
        if not (found / name / page).read_bytes():
            raise WrongFileError(f"{name}/{page} is empty")


def check_rows(name: str) -> Check:
    """Compares two files of predictions."""

    def check(found: Path, expected: Path) -> None:
        same_predictions(found / name, expected / name, whole=True)

    return check


def check_same_names(*patterns: str) -> Check:
    """Compares the names of files, and their bytes unless they are pages, whose text holds times."""

    def check(found: Path, expected: Path) -> None:
        for pattern in patterns:
            names = [sorted(str(path.relative_to(f)) for path in f.glob(pattern)) for f in (found, expected)]
            if names[0] != names[1] or not names[0]:
                raise WrongFileError(f"{pattern}: {names[0]} instead of {names[1]}")
            for name in names[0]:
                same_bytes(found / name, expected / name)

    return check


def check_onnx(found: Path, expected: Path) -> None:
    """Compares the graph and weights of two ONNX files."""
    import onnx

    one, other = (onnx.load(str(folder / "model.onnx")) for folder in (found, expected))
    if one.graph.SerializeToString(deterministic=True) != other.graph.SerializeToString(deterministic=True):
        raise WrongFileError("model.onnx: another graph")


def check_timm(found: Path, expected: Path) -> None:
    """Compares the tensors and the names of the files of two exported folders."""
    check_same_names("timm/config.json")(found, expected)
    same_model(found / "timm" / "model.safetensors", expected / "timm" / "model.safetensors")


def check_nothing(found: Path, expected: Path) -> None:
    """For commands whose result is on stdout."""


def same_model(found: Path, expected: Path) -> None:
    """Compares the tensors of two model files."""
    from safetensors.numpy import load_file

    one, other = load_file(found), load_file(expected)
    if one.keys() != other.keys():
        raise WrongFileError(f"{found.name}: other tensors")
    for name in one:
        if not np.array_equal(one[name], other[name]):
            raise WrongFileError(f"{found}: {name} differs by {np.abs(one[name] - other[name]).max()}")


def same_predictions(found: Path, expected: Path, *, whole: bool) -> None:
    """Compares rows of predictions; a part is a subset of the rows."""
    rows, wanted = ({row["path"]: row for row in predictions(path)} for path in (found, expected))
    if whole and rows.keys() != wanted.keys():
        raise WrongFileError(f"{found.name}: {len(rows)} images instead of {len(wanted)}")
    for path, row in rows.items():
        if path not in wanted or not close(row, wanted[path]):
            raise WrongFileError(f"{found.name}: {row} instead of {wanted.get(path)}")


def predictions(path: Path) -> list[Mapping[str, Any]]:
    """Rows of a file of predictions; the last row of a file that grows may be cut."""
    if path.suffix == ".parquet":
        from pyarrow import parquet

        return list(parquet.read_table(path).to_pylist())
    lines = path.read_text().splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    return [json.loads(line) for line in lines] if path.suffix == ".jsonl" else list(csv.DictReader(lines))


def table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def close(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same but for rounding and times."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) or key == "seconds" for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    try:
        return one == other or math.isclose(float(one), float(other), abs_tol=TOLERANCE)
    except (TypeError, ValueError):
        return False


def same_bytes(found: Path, expected: Path) -> None:
    """Compares two files; of pages only that they are complete."""
    if found.suffix == ".html":
        if not found.read_text().rstrip().endswith("</html>"):
            raise WrongFileError(f"{found}: cut")
    elif found.suffix == ".md":
        if not found.read_text().endswith("\n"):
            raise WrongFileError(f"{found}: cut")
    elif found.read_bytes() != expected.read_bytes():
        raise WrongFileError(f"{found} differs")


PREDICT = ("predict", "IMAGES", "--model", BASE)
TRAIN = ("finetune", "DATA", "--out", "new", *SMALL)
RESUME = ("finetune", "--resume", "new")
RUN_FILES = ("new/**/*",)
ALL: Mapping[str, Job] = {
    "finetune full": Job(
        (*TRAIN, "--weights", "none", "--mode", "full", "--epochs", "3", "--batch-size", "12",
         "--checkpoint-every", "0.001s"), RUN_FILES, check_run, RESUME),
    "finetune frozen, L-BFGS": Job((*TRAIN, "--weights", BASE, "--mode", "frozen"), RUN_FILES, check_run, RESUME),
    "finetune frozen, steps": Job(
        (*TRAIN, "--weights", BASE, "--mode", "frozen", "--head", "16", "--epochs", "20",
         "--checkpoint-every", "0.001s"),
        RUN_FILES, check_run, RESUME),
    "finetune --tensorboard": Job(
        (*TRAIN, "--weights", "none", "--mode", "full", "--epochs", "2", "--batch-size", "12", "--tensorboard"),
        RUN_FILES, check_run, RESUME, package="tensorboard"),
    "predict CSV": Job(
        (*PREDICT, "-o", "a.csv"), ("a.csv",), check_rows("a.csv"), (*PREDICT, "-o", "a.csv", "--resume")),
    "predict JSON": Job(
        (*PREDICT, "-o", "a.jsonl", "--batch-size", "4"), ("a.jsonl",), check_rows("a.jsonl"),
        (*PREDICT, "-o", "a.jsonl", "--batch-size", "4", "--resume")),
    "predict Parquet": Job((*PREDICT, "-o", "a.parquet"), ("a.parquet",), check_rows("a.parquet"),
        remove=("a.parquet",), package="pyarrow"),
    "predict --sort-into": Job(
        (*PREDICT, "--sort-into", "sorted", "-o", "a.csv"), ("sorted/**/*", "a.csv"), check_same_names("sorted/*/*"),
        (*PREDICT, "--sort-into", "sorted", "-o", "a.csv", "--resume")),
    "predict --annotate": Job((*PREDICT, "--annotate", "drawn"), ("drawn/*",), check_same_names("drawn/*")),
    "predict --embeddings": Job(
        (*PREDICT, "--embeddings", "a.npy"), ("a.npy*",), check_same_names("a.npy*"),
        remove=("a.npy", "a.npy.names.csv")),
    "predict stdout": Job((*PREDICT, "--json"), (), check_nothing),
    "eval": Job(("eval", BASE), (f"{BASE}/eval/**/*",), check_same_names(f"{BASE}/eval/*/confusion.csv")),
    "eval --save-predictions": Job(
        ("eval", BASE, "--save-predictions", "p.csv", "--no-report"), ("p.csv",), check_same_names("p.csv")),
    "eval --label-audit": Job(
        ("eval", BASE, "--label-audit", "--out", "audit.csv"), ("audit*",), check_same_names("audit.csv"),
        remove=("audit.csv", "audit.html")),
    "export onnx": Job(("export", BASE, "--out", "model.onnx"), ("model.onnx",), check_onnx, package="onnx"),
    "export safetensors": Job(
        ("export", BASE, "--format", "safetensors", "--out", "timm"), ("timm/*",), check_timm, remove=("timm",)),
    "inspect": Job(
        ("inspect", "DATA", "--html", "page.html", "--fix", "--out", "fixed.csv"), ("page.html", "fixed.csv"),
        check_same_names("fixed.csv"), remove=("page.html", "fixed.csv")),
    "serve": Job(("serve", BASE, "--port", "0"), (), check_nothing, package="uvicorn"),
}  # fmt: skip
JOBS = {name: job for name, job in ALL.items() if importlib.util.find_spec(job.package)}


def look(folder: Path, job: Job) -> None:
    """Opens whatever a disturbed command has written: every file is complete.

    Raises:
        WrongFileError: One is not.
    """
    for pattern in job.outputs:
        for path in folder.glob(pattern):
            if path.is_file() and not path.name.startswith("."):
                try:
                    _open(path)
                except (ValueError, OSError, KeyError, EOFError, SyntaxError) as error:
                    raise WrongFileError(f"{path}: {error}") from error


def _open(path: Path) -> None:
    from PIL import Image
    from safetensors import SafetensorError, safe_open

    if path.suffix in {".png", ".jpg"}:
        with Image.open(path) as image:
            image.load()
    elif path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="np") as file:
                for name in file.keys():
                    file.get_tensor(name)
        except SafetensorError as error:
            raise WrongFileError(f"{path}: {error}") from error
    elif path.suffix == ".npy":
        np.load(path)
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix in {".jsonl", ".parquet"} and path.name != "events.jsonl":
        predictions(path)
    elif path.suffix == ".html" and not path.read_text().rstrip().endswith("</html>"):
        raise WrongFileError(f"{path}: cut")
    elif path.suffix == ".onnx":
        import onnxruntime

        onnxruntime.InferenceSession(os.fspath(path))


def words_of(words: Sequence[str], folders: Mapping[str, Path]) -> list[str]:
    """The words of a command, with names of folders in place of ``DATA`` and ``IMAGES``."""
    return [str(folders.get(word, word)) for word in words]
