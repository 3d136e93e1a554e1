"""Multi-label training on mosaics of CIFAR-10: against scikit-learn, against the single-label head, and its promises.

    RESNET_CLI_ASSETS=... python -m benchmarks.mosaics

``finetune --mode frozen``, ``eval`` and ``predict --target-precision 90%``, as a user runs them, on the data of
``benchmarks.mosaic_images`` at 128 px; then scikit-learn's one-vs-rest logistic regression on the same features, with
the penalty of the highest mAP on the same validation split; then the time to fit both kinds of head to the same
features. Features are cached after the first run (two to ten minutes on two cores).
"""

from __future__ import annotations

import csv
import io
import json
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import beta

from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.data.dataset import SPLITS, Split
from resnet_cli.heads.logistic import Rows
from resnet_cli.training.assembly import start_network
from resnet_cli.training.distributed import SINGLE_PROCESS
from resnet_cli.training.events import ignore
from resnet_cli.training.plan import Plan, make_plan
from resnet_cli.training.split_features import split_features
from resnet_cli.training.task_head import fit_linear_head

from .mosaic_images import SIZES, read_pools, write_mosaics
from .processes import finetune, run
from .setting import Setting, alone
from .table import Row, show, spread

IMAGE_SIZE_PX = 128
#: With --quick, which only checks that everything runs.
QUICK_SIZES = {"train": 60, "val": 40, "test": 40}
#: scikit-learn's C, the inverse of the penalty times the number of images.
INVERSE_PENALTIES = 10.0 ** np.arange(-4.5, -1.0, 0.25)
TARGET_PRECISION = 0.9
#: Classes with fewer positives in validation are not part of the promise.
MIN_POSITIVES = 100
#: Level of the intervals of the test split, as of the bounds of the thresholds.
DOUBT = 0.05
#: Pairs of fits.
ROUNDS = 7


def measure(setting: Setting) -> Iterator[Row]:
    """All rows: the score, the time and the promised precision."""
    sizes = QUICK_SIZES if setting.quick else SIZES
    table = write_mosaics(read_pools(setting.assets / "cifar10-jpeg.tar.gz"), setting.empty(), sizes)
    flags = ("--mode", "frozen", "--image-size", str(IMAGE_SIZE_PX), "--weights", str(setting.weights))
    out = setting.empty()
    finetune(table, *flags, env=dict(os.environ), out=out)
    env = dict(os.environ)
    found = json.loads(run("resnet-cli", "eval", str(out), "--split", "test", "--json", env=env)[2])
    plan = plan_for(table, setting)
    yield score(100 * found["map"], features(plan, *SPLITS))
    yield from fit_times(plan, table, setting)
    target = ("--target-precision", f"{TARGET_PRECISION:.0%}")
    images = str(table.with_name("test"))
    lines = run("resnet-cli", "predict", images, "--model", str(out), *target, "--json", env=env)[2].splitlines()
    yield from promises([json.loads(line)["labels"] for line in lines], plan)


def plan_for(table: Path, setting: Setting) -> Plan:
    """The plan of a frozen training on a table."""
    values = {"data": str(table), "weights": str(setting.weights), "mode": "frozen", "image_size": IMAGE_SIZE_PX}
    return make_plan(resolve(FinetuneConfig, values))


def features(plan: Plan, *splits: Split) -> dict[Split, Rows]:
    """The features of some splits, from the cache if a command has left them there."""
    return split_features(
        plan, start_network(plan), splits, distributed=SINGLE_PROCESS, on_progress=lambda done, total: None
    )


def with_one_label(table: Path) -> Path:
    """The same table with one label for each image, drawn among its labels."""
    rng = np.random.default_rng(0)
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    single = table.with_name("single.csv")
    with single.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "label", "split"))
        writer.writerows((row["path"], rng.choice(row["labels"].split(";")), row["split"]) for row in rows)
    return single


def score(ours: float, parts: Mapping[Split, Rows]) -> Row:
    """Macro mAP on the test split minus that of scikit-learn, in percentage points."""
    theirs, inverse = reference(parts)
    details = {"ours %": ours, "scikit-learn %": theirs, "C": f"{inverse:.2g}", "n": len(parts["test"][1])}
    return Row("mosaics, frozen: test mAP over scikit-learn's", ours - theirs, "points", at_least=-0.2, details=details)


def reference(parts: Mapping[Split, Rows]) -> tuple[float, float]:
    """Test mAP in percent of scikit-learn's one-vs-rest logistic regression, and its C."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    numbers = {split: (rows[0].float().numpy(), rows[1].numpy()) for split, rows in parts.items()}
    tried = []
    for inverse in INVERSE_PENALTIES.tolist():
        solver = OneVsRestClassifier(LogisticRegression(C=inverse, max_iter=1000))
        model = make_pipeline(StandardScaler(), solver).fit(*numbers["train"])
        val, test = (
            average_precision_score(numbers[split][1], model.predict_proba(numbers[split][0]))
            for split in ("val", "test")
        )
        tried.append((val, 100 * test, inverse))
    return max(tried)[1:]


def fit_times(plan: Plan, table: Path, setting: Setting) -> Iterator[Row]:
    """Time to fit the multi-label head relative to single-label heads, penalties and validation included."""
    per_class = {split: slice(QUICK_SIZES[split] // 10 if setting.quick else SIZES[split] // 10) for split in SIZES}
    images = setting.cifar(train=("train", per_class["train"]), val=("test", per_class["val"]))
    single = {"one label of each mosaic": with_one_label(table), "as many images of CIFAR-10": images}
    for what, data in single.items():
        plans = {"several": plan, "single": plan_for(data, setting)}
        parts = {name: features(one, "train", "val") for name, one in plans.items()}
        spent: dict[str, list[float]] = {"several": [], "single": []}
        for _ in range(2 if setting.quick else ROUNDS):
            for name, one in plans.items():
                began = time.perf_counter()
                fit_linear_head(one, parts[name]["train"], parts[name]["val"], ignore)
                spent[name].append(time.perf_counter() - began)
        ratios = [ours / theirs for ours, theirs in zip(spent["several"], spent["single"], strict=True)]
        details = {f"{name}_s": statistics.median(seconds) for name, seconds in spent.items()} | spread(ratios)
        row = f"mosaics, frozen: time of the head relative to {what}"
        yield Row(row, statistics.median(ratios), "x", at_most=1.1, details=details)


def promises(predicted: Sequence[Sequence[str]], plan: Plan) -> Iterator[Row]:
    """How many classes have the promised precision on the test split, and one row per class.

    Args:
        predicted: Labels predicted for each test image, in the order of the images' names.
        plan: Gives the true labels.
    """
    dataset = plan.dataset
    test = sorted(dataset.split("test"), key=lambda item: item.name)
    rows = []
    for label, name in enumerate(dataset.classes):
        if (positives := dataset.counts()["val"][label]) < MIN_POSITIVES:
            continue
        true = [label in item.labels for item in test]
        hits = [is_true for is_true, labels in zip(true, predicted, strict=True) if name in labels]
        found = {"predicted": len(hits), "recall %": 100 * sum(hits) / sum(true), "positives in val": positives}
        precision = None
        if hits:
            precision = 100 * sum(hits) / len(hits)
            # One-sided Clopper-Pearson: with a higher precision, so few right ones would be rarer than DOUBT.
            wrong = len(hits) - sum(hits)
            found["at most %"] = 100 * (float(beta.ppf(1 - DOUBT, sum(hits) + 1, wrong)) if wrong else 1.0)
        rows.append(Row(f"mosaics: precision of '{name}'", precision, "%", details=found))
    target = 100 * TARGET_PRECISION
    never = sum(row.value is None for row in rows)
    reached = sum(row.value is not None and row.value >= target for row in rows)
    holds = never + sum(row.details.get("at most %", 0) >= target for row in rows)
    details = {"classes": len(rows), "reached": reached, "never predicted": never}
    what = f"mosaics: classes with a precision of {TARGET_PRECISION:.0%} within the interval of the test split"
    yield Row(what, holds, "", at_least=len(rows), details=details)
    yield from rows


def main() -> None:
    """Prints the rows."""
    with alone(keeps_cache=True) as setting:
        show(measure(setting))


if __name__ == "__main__":
    main()
