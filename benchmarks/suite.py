"""The list of measurements of ``python -m benchmarks``, and how one of them is run."""

from __future__ import annotations

import dataclasses
import importlib
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, TypeAlias

from .setting import Setting, work_in_scratch
from .table import Row

Group: TypeAlias = Literal["cpu", "gpu", "peers"]


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One measurement of the list.

    Attributes:
        name: Name for ``--only``.
        where: ``module:function``, imported when it is needed; the function takes a :class:`Setting`.
        group: The flag that selects it.
        in_quick: Whether ``--quick`` includes it without ``--only``; the others take more than a few minutes.
    """

    name: str
    where: str
    group: Group = "cpu"
    in_quick: bool = True

    def find(self) -> Callable[[Setting], Iterable[Row]]:
        """Imports the function."""
        module, _, function = self.where.partition(":")
        found: Callable[[Setting], Iterable[Row]] = getattr(
            importlib.import_module(f".{module}", __package__), function
        )
        return found


#: All measurements, in the order of the table; the short ones first.
MEASUREMENTS = (
    Measurement("start-up", "startup:measure"),
    Measurement("silence", "startup:measure_silence"),
    Measurement("main-job", "main_job:measure_photos"),
    Measurement("frozen", "training:on_frozen"),
    Measurement("forward", "borrowed:on_forward"),
    Measurement("step", "training:on_steps"),
    Measurement("predict", "inference:on_cpu"),
    Measurement("predict-few", "inference:on_few"),
    Measurement("precisions", "precisions:measure"),
    Measurement("answers", "precisions:measure_commands"),
    Measurement("export", "export:measure"),
    Measurement("engines", "engines:measure", in_quick=False),
    Measurement("serving", "borrowed:on_serving"),
    Measurement("report", "report:measure"),
    Measurement("inspect", "inspection:measure"),
    Measurement("duplicates", "duplicates:measure"),
    Measurement("looks", "looks:measure"),
    Measurement("growth", "growth:measure"),
    Measurement("first-minutes", "first_minutes:measure", in_quick=False),
    Measurement("cifar", "main_job:measure_cifar", in_quick=False),
    Measurement("label-audit", "label_audit:measure", in_quick=False),
    Measurement("learning-curve", "learning_curve:measure", in_quick=False),
    Measurement("unknown", "unknown:measure", in_quick=False),
    Measurement("accuracy", "training:on_accuracy", in_quick=False),
    Measurement("head", "head:measure", in_quick=False),
    Measurement("mosaics", "mosaics:measure", in_quick=False),
    Measurement("cifar-60000", "main_job:measure_all_cifar", in_quick=False),
    Measurement("gpu-training", "gpu:on_training", "gpu"),
    Measurement("gpu-inference", "gpu:on_inference", "gpu"),
    Measurement("peer-help", "race:on_help", "peers"),
    Measurement("peer-predict", "predict_race:on_predict", "peers"),
    Measurement("peer-training", "race:on_training", "peers"),
    Measurement("peer-whole", "race:on_whole_training", "peers", in_quick=False),
)
NAMES = tuple(measurement.name for measurement in MEASUREMENTS)


def choose(groups: Sequence[Group], *, quick: bool, only: Sequence[str] = ()) -> list[Measurement]:
    """Chooses measurements, in the order of the list.

    Args:
        groups: Groups to choose from.
        quick: Whether to omit the long ones, unless they are named.
        only: Names to choose; empty for all.

    Raises:
        ValueError: A name is unknown.
    """
    offered = [found for found in MEASUREMENTS if found.group in groups]
    names = [found.name for found in offered]
    if unknown := [name for name in only if name not in names]:
        raise ValueError(f"{', '.join(unknown)}: not among {', '.join(names)}")
    if only:
        return [found for found in offered if found.name in only]
    return [found for found in offered if found.in_quick or not quick]


def measure(measurement: Measurement, setting: Setting) -> Iterator[Row]:
    """Yields the rows of a measurement, made in its own empty folder; if it fails, a last row says how."""
    with work_in_scratch(setting) as inner:
        try:
            yield from measurement.find()(inner)
        # Whatever fails in one of them, the others can be measured.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            traceback.print_exc(file=sys.stderr)
            text = " ".join(f"{type(error).__name__}: {error}".split())
            yield Row(measurement.name, None, "", details={"failed": text[:300]})
