"""Measured rates of the engines, remembered in a small file in the cache folder. No torch.

The file only saves time: where it is damaged, of another version or cannot be written, nothing is remembered.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_cli.errors import DiskError
from resnet_cli.system.caches import warn_unwritable
from resnet_cli.system.paths import cache_dir, make_dir, write_text

#: Version of the file; raised when the same conditions would give other rates.
_VERSION = 1
#: Number of conditions that are remembered; the oldest are forgotten.
_MOST = 100
#: Most characters that are read: the file of another program may be of any size.
_MAX_BYTES = 1_000_000


@dataclasses.dataclass(frozen=True)
class Rate:
    """How fast an engine is.

    Attributes:
        per_s: Images per second.
        start_s: Seconds from the start of a process until the first features, the files in memory.
    """

    per_s: float
    start_s: float


@dataclasses.dataclass(frozen=True)
class Conditions:
    """What rates depend on; they are measured once for each.

    Attributes:
        processor: Its name and the instructions that may be used.
        engines: Name and version of every engine that is installed.
        precision: fp32, bf16 or int8.
        side: Side of the images in pixels.
        threads: Number of threads that compute.
    """

    processor: str
    engines: tuple[str, ...]
    precision: str
    side: int
    threads: int


@dataclasses.dataclass(frozen=True)
class Measured:
    """The rates under some conditions.

    Attributes:
        conditions: The conditions.
        rates: Engine -> its rate; without engines that failed.
        when: When they were measured, ISO 8601 in UTC.
    """

    conditions: Conditions
    rates: Mapping[str, Rate]
    when: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **dataclasses.asdict(self.conditions),
            "rates": {name: dataclasses.asdict(rate) for name, rate in self.rates.items()},
            "when": self.when,
        }


def rates_path() -> Path:
    """The file of the remembered rates."""
    return cache_dir() / "engine-rates.json"


def read_all() -> list[Measured]:
    """Everything that is remembered, the newest last; entries that are not understood are left out."""
    try:
        with rates_path().open("rb") as file:
            text = file.read(_MAX_BYTES)
        found = json.loads(text)
        entries = found["measured"] if found["version"] == _VERSION else []
        return [one for entry in entries if (one := _parsed(entry)) is not None]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return []


def read_rates(conditions: Conditions) -> Mapping[str, Rate]:
    """The remembered rates under these conditions; empty if there are none."""
    return next((one.rates for one in reversed(read_all()) if one.conditions == conditions), {})


def remember(conditions: Conditions, rates: Mapping[str, Rate]) -> Measured:
    """Adds rates to the file.

    Another process may write at the same time: the file is then that of one of them, and whole.
    """
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    new = Measured(conditions, dict(rates), when)
    kept = [one for one in read_all() if one.conditions != conditions][1 - _MOST :]
    text = json.dumps({"version": _VERSION, "measured": [one.to_dict() for one in (*kept, new)]}, indent=1)
    try:
        make_dir(rates_path().parent)
        write_text(rates_path(), text + "\n")
    except DiskError as error:
        warn_unwritable(rates_path().parent, error)
    return new


def _parsed(entry: Any) -> Measured | None:
    try:
        conditions = Conditions(
            processor=str(entry["processor"]),
            engines=tuple(map(str, entry["engines"])),
            precision=str(entry["precision"]),
            side=int(entry["side"]),
            threads=int(entry["threads"]),
        )
        rates = {str(name): Rate(float(r["per_s"]), float(r["start_s"])) for name, r in entry["rates"].items()}
        when = datetime.datetime.fromisoformat(entry["when"]).isoformat(timespec="seconds")
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        return None
    plausible = all(math.isfinite(rate.per_s) and rate.per_s > 0 and rate.start_s >= 0 for rate in rates.values())
    return Measured(conditions, rates, when) if plausible and rates else None
