"""Measures ``--cached-views`` with ``--unfreeze layer4``: time and validation scores with and without, in turn.

    RESNET_CLI_ASSETS=... python -m tests.benchmarks.boundary [--images 2000] [--image-size 128] [--epochs 5]
        [--views 0 3] [--rounds 1]

Pictures of CIFAR-10 train and half as many others validate; no epoch is chosen, the last one counts. Each training
starts from the same weights with an empty folder of views, so that its time has the pass that makes them. Seconds are
of the clock and of the processor: on a busy machine only the latter can be compared.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from resnet_cli.config import FinetuneConfig, resolve
from resnet_cli.training.events import EpochRecord
from resnet_cli.training.finetune import start_network
from resnet_cli.training.full import NetworkTraining
from resnet_cli.training.kept_views import activations_dir
from resnet_cli.training.loop import Course, fit
from resnet_cli.training.plan import Plan, make_plan
from resnet_cli.training.session import Session

from .setting import Setting
from .table import head
from .training import NUM_CLASSES


class _Keeper:
    """Keeps nothing: the last epoch counts."""

    def keep(self, record: EpochRecord) -> bool:
        return False

    def after_step(self, session: Session) -> None:
        pass

    def after_epoch(self, session: Session) -> None:
        pass

    def save_now(self, session: Session) -> str:
        return "nothing is kept"


@dataclasses.dataclass(frozen=True)
class Trained:
    """One training.

    Attributes:
        wall_s: Seconds of the clock, views made included.
        cpu_s: Seconds of the processor.
        epoch_cpu_s: Of an epoch, likewise, without the pass that makes views.
        num_bytes: Of the views on disk.
        last: The last epoch.
    """

    wall_s: float
    cpu_s: float
    epoch_cpu_s: float
    num_bytes: int
    last: EpochRecord

    def __str__(self) -> str:
        times = f"{self.wall_s:.0f} s, processor {self.cpu_s:.0f} s ({self.epoch_cpu_s:.1f} s an epoch)"
        losses = f"loss {self.last.train_loss:.4f} in training and {self.last.val_loss:.4f} in validation"
        return f"{times}, {self.num_bytes / 1e6:.0f} MB, {losses}, top-1 {self.last.val_top1:.2%}"


def plan_for(data: Path, weights: Path, num_views: int, seed: int, chosen: argparse.Namespace) -> Plan:
    """The plan of a training of the last stage and the head."""
    values = {
        "data": str(data),
        "weights": str(weights),
        "mode": "full",
        "unfreeze": "layer4",
        "epochs": chosen.epochs,
        "image_size": chosen.image_size,
        "cached_views": num_views,
        "seed": seed,
        "device": "cpu",
    }
    return make_plan(resolve(FinetuneConfig, values))


def train(plan: Plan) -> Trained:
    """Trains from the plan's weights and looks at the clocks."""
    network = start_network(plan)
    began, began_cpu = time.perf_counter(), time.process_time()
    training = NetworkTraining(plan, network)
    lesson = training.lesson()
    made_cpu = time.process_time() - began_cpu
    course = Course(epochs=plan.epochs, seed=plan.config.seed, schedule=plan.schedule, warmup=plan.warmup)
    fit(training.session, lesson, course, compute=plan.compute, keeper=_Keeper(), on_event=lambda event: None)
    cpu_s = time.process_time() - began_cpu
    return Trained(
        time.perf_counter() - began,
        cpu_s,
        (cpu_s - made_cpu) / plan.epochs,
        sum(path.stat().st_size for path in activations_dir().glob("*")),
        training.session.state.history[-1],
    )


def main() -> None:
    """Prints one row a training, and the ratios to the first number of views."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--views", type=int, nargs="+", default=[0, 3], help="first what the others are compared with")
    parser.add_argument("--rounds", type=int, default=1, help="each with a seed of its own")
    parser.add_argument("--keep", action="store_true", help="keep views between trainings: scores alone mean something")
    chosen = parser.parse_args()
    print("\n".join(f"{name:<9} {value}" for name, value in head(False).items() if name != "command"), flush=True)
    with tempfile.TemporaryDirectory() as name:
        setting = Setting(Path(os.environ["RESNET_CLI_ASSETS"]).resolve(), Path(name).resolve(), quick=False)
        os.environ["RESNET_CLI_CACHE"] = str(setting.scratch / "cache")
        per_class = chosen.images // NUM_CLASSES
        parts = {"train": slice(per_class), "val": slice(per_class, per_class + per_class // 2)}
        data = setting.cifar(**{split: ("train", part) for split, part in parts.items()})
        done: dict[int, list[Trained]] = {num_views: [] for num_views in chosen.views}
        for seed in range(chosen.rounds):
            for num_views, found in done.items():
                if not chosen.keep:
                    shutil.rmtree(activations_dir(), ignore_errors=True)
                one = train(plan_for(data, setting.weights, num_views, seed, chosen))
                found.append(one)
                print(f"seed {seed}, {num_views} views: {one}", flush=True)
    first = done[chosen.views[0]]
    for num_views, found in done.items():
        pairs = list(zip(found, first, strict=True))
        ratios = {
            "wall": statistics.median(a.wall_s / b.wall_s for a, b in pairs),
            "processor": statistics.median(a.cpu_s / b.cpu_s for a, b in pairs),
            "processor, an epoch": statistics.median(a.epoch_cpu_s / b.epoch_cpu_s for a, b in pairs),
        }
        gain = statistics.fmean(a.last.val_top1 - b.last.val_top1 for a, b in pairs)
        shown = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
        print(f"{num_views} views over {chosen.views[0]}: {shown}, top-1 {100 * gain:+.2f} points")


if __name__ == "__main__":
    main()
