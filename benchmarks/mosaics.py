"""Multi-label training on mosaics of CIFAR-10: against scikit-learn, against the single-label head, and its promises.

    RESNET_CLI_ASSETS=... python -m benchmarks.mosaics

``finetune --mode frozen`` and ``eval``, as a user runs them, on the data of ``benchmarks.mosaic_images`` at 128 px.
Then scikit-learn's one-vs-rest logistic regression on the same features, with the penalty of the highest mAP on the
same validation split; the time to fit both kinds of head; and the thresholds of ``--target-precision``. Features are
cached after the first run (two to ten minutes on two cores).
"""

from __future__ import annotations

import csv
import io
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import beta

from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.data.dataset import SPLITS, Split
from resnet_cli.engines.feature_rows import in_memory
from resnet_cli.heads.logistic import Rows
from resnet_cli.model.model_file import Model
from resnet_cli.model.thresholds import precision_thresholds
from resnet_cli.model.weights import load_model
from resnet_cli.training.assembly import start_network
from resnet_cli.training.distributed import SINGLE_PROCESS
from resnet_cli.training.events import ignore
from resnet_cli.training.plan import Plan, make_plan
from resnet_cli.training.split_features import split_features
from resnet_cli.training.task_head import fit_linear_head

from .mosaic_images import SIZES, read_pools, write_mosaics
from .processes import finetune, launch, run
from .setting import Setting, alone
from .table import Row, show, spread

IMAGE_SIZE_PX = 128
#: Of CIFAR-10.
NUM_CLASSES = 10
#: With --quick, which only checks that everything runs.
QUICK_SIZES = {"train": 60, "val": 40, "test": 40}
#: scikit-learn's C, the inverse of the penalty times the number of images.
INVERSE_PENALTIES = 10.0 ** np.arange(-4.5, -1.0, 0.25)
TARGETS = (0.9, 0.85, 0.8, 0.75, 0.7)
#: Random divisions of the images that are not for training into validation and test.
NUM_DIVISIONS = 100
#: Classes with fewer positives in validation are not part of the promise.
MIN_POSITIVES = 100
#: Level of the intervals of the test split, as of the bounds of the thresholds.
DOUBT = 0.05
#: Pairs of fits, and of commands.
ROUNDS, COMMAND_ROUNDS = 7, 3
#: Wall and processor seconds.
Times = tuple[float, float]


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
    yield from command_times(table, flags, setting)
    yield from fit_times(plan, table, setting)
    yield from promises(load_model(out), features(plan, *SPLITS))


def plan_for(table: Path, setting: Setting) -> Plan:
    """The plan of a frozen training on a table."""
    values = {"data": str(table), "weights": str(setting.weights), "mode": "frozen", "image_size": IMAGE_SIZE_PX}
    return make_plan(resolve(FinetuneConfig, values))


def features(plan: Plan, *splits: Split) -> dict[Split, Rows]:
    """The features of some splits, from the cache if a command has left them there."""
    found = split_features(
        plan, start_network(plan), splits, distributed=SINGLE_PROCESS, on_progress=lambda done, total: None
    )
    return {split: (in_memory(rows), targets) for split, (rows, targets) in found.items()}


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


def command_times(table: Path, flags: Sequence[str], setting: Setting) -> Iterator[Row]:
    """Time of the whole command, features cached, relative to that with one label for each image."""
    tables = {"several": table, "single": with_one_label(table)}

    def train(name: str) -> Times:
        command = ("resnet-cli", "finetune", str(tables[name]), *flags, "--quiet", "--out", str(setting.empty()))
        ended = launch(*command, env=dict(os.environ))
        return ended.seconds, ended.cpu_s

    what = "mosaics, frozen: finetune, features cached, relative to one label of each mosaic"
    yield relative(what, train, 1 if setting.quick else COMMAND_ROUNDS)


def fit_times(plan: Plan, table: Path, setting: Setting) -> Iterator[Row]:
    """Time to fit the multi-label head relative to single-label heads, penalties and validation included."""
    sizes = QUICK_SIZES if setting.quick else SIZES
    num = {split: slice(count // NUM_CLASSES) for split, count in sizes.items()}
    images = setting.cifar(train=("train", num["train"]), val=("test", num["val"]))
    single = {"one label of each mosaic": with_one_label(table), "as many images of CIFAR-10": images}
    for what, data in single.items():
        plans = {"several": plan, "single": plan_for(data, setting)}
        parts = {name: features(one, "train", "val") for name, one in plans.items()}

        def fit(name: str, plans: Mapping[str, Plan] = plans, parts: Mapping[str, dict[Split, Rows]] = parts) -> Times:
            began = time.perf_counter(), time.process_time()
            fit_linear_head(plans[name], parts[name]["train"], parts[name]["val"], ignore)
            return time.perf_counter() - began[0], time.process_time() - began[1]

        yield relative(f"mosaics, frozen: head alone, relative to {what}", fit, 2 if setting.quick else ROUNDS)


def relative(what: str, measured: Callable[[str], Times], rounds: int) -> Row:
    """Time of ``several`` relative to that of ``single``, in turns.

    Args:
        what: Description of the row.
        measured: Runs one of them; returns wall and processor seconds.
        rounds: Number of runs of each.
    """
    pairs = [(measured("several"), measured("single")) for _ in range(rounds)]
    wall, processor = ([several[at] / single[at] for several, single in pairs] for at in range(2))
    seconds = {
        f"{name}_s": statistics.median(pair[at][0] for pair in pairs) for at, name in enumerate(("several", "single"))
    }
    details = seconds | {"processor": statistics.median(processor)} | spread(wall)
    return Row(what, statistics.median(wall), "x", at_most=1.1, details=details)


def promises(model: Model, parts: Mapping[Split, Rows]) -> Iterator[Row]:
    """For each target, the classes whose precision on the test split is below it, and how often that is so elsewhere.

    Elsewhere means random divisions of the validation and test images, neither of which the head has seen, into parts
    of the same sizes. The precision of a class may be below the target in 5 % of all cases, with those in which it has
    no threshold. The precision on the larger part is itself uncertain.
    """
    num_val = len(parts["val"][1])
    probs, targets = [], []
    for split in ("val", "test"):
        with torch.inference_mode():
            probs.append(torch.sigmoid(model.network.fc(parts[split][0].float())).numpy())
        targets.append(parts[split][1].numpy().astype(np.int8))
    pool = np.concatenate(probs), np.concatenate(targets)
    in_order, rng = np.arange(len(pool[0])), np.random.default_rng(0)
    for target in TARGETS:
        here = precisions(pool, in_order, num_val, target)
        elsewhere = [precisions(pool, rng.permutation(in_order), num_val, target) for _ in range(NUM_DIVISIONS)]
        cases = np.concatenate([case for case in elsewhere if len(case)] or [np.empty((0, 3))])
        num_cases = NUM_DIVISIONS * len(model.classes)
        details = {
            "predicted classes": len(here),
            "precision %": " ".join(f"{100 * precision:.1f}" for precision, _, _ in here) or "-",
            "recall %": 100 * float(here[:, 2].mean()) if len(here) else 0.0,
            "predicted elsewhere %": 100 * len(cases) / num_cases,
            "below elsewhere %": 100 * int((cases[:, 0] < target).sum()) / num_cases,
        }
        what = f"mosaics, --target-precision {target:.0%}: classes that are below it on test"
        yield Row(what, int((here[:, 1] < target).sum()), "", at_most=0, details=details)


def precisions(
    pool: tuple[NDArray[np.float32], NDArray[np.int8]], order: NDArray[np.int64], num_val: int, target: float
) -> NDArray[np.float64]:
    """Precision, the upper end of its interval, and recall of each class for which there is a threshold, [classes x 3].

    Args:
        pool: Probabilities and targets of all images, [n x k] both.
        order: Positions of the images: the first of them choose thresholds, and the others are predicted.
        num_val: Number of the first ones.
        target: Smallest accepted precision.
    """
    probs, targets = pool[0][order], pool[1][order]
    rows = []
    for label, found in enumerate(precision_thresholds(probs[:num_val], targets[:num_val], target)):
        if found.threshold is None or found.num_positives < MIN_POSITIVES:
            continue
        is_predicted = probs[num_val:, label] >= found.threshold
        if not is_predicted.any():
            continue
        is_true = targets[num_val:, label] == 1
        num, right = is_predicted.sum(), is_true[is_predicted].sum()
        # One-sided Clopper-Pearson: with a higher precision, so few right ones would be rarer than DOUBT.
        highest = beta.ppf(1 - DOUBT, right + 1, num - right) if right < num else 1.0
        rows.append((right / num, highest, right / is_true.sum()))
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def main() -> None:
    """Prints the rows."""
    with alone(keeps_cache=True) as setting:
        show(measure(setting))


if __name__ == "__main__":
    main()
