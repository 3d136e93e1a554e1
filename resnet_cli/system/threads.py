"""Runs work on every core that this process may use; without torch."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

#: Number of items per task: the overhead of a task is as large as scanning a small image.
CHUNK_ITEMS = 16

#: Limits of the control group of this container.
_CGROUP = Path("/sys/fs/cgroup")

T = TypeVar("T")
R = TypeVar("R")


def num_threads() -> int:
    """Number of processors that this process may use, respecting containers and ``taskset``."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(count, processor_limit() or count)


def engine_threads() -> int:
    """Number of threads of an engine: ``OMP_NUM_THREADS`` if it is set, as for torch, else :func:`num_threads`."""
    with contextlib.suppress(KeyError, ValueError):
        return max(1, int(os.environ["OMP_NUM_THREADS"]))
    return num_threads()


def is_busy() -> bool:
    """Whether other work has taken more than half of the machine in the last minute, so that nothing can be measured.

    Source: getloadavg(3), the average number of processes that run or could run; Windows has no such number.
    """
    with contextlib.suppress(AttributeError, OSError):
        return os.getloadavg()[0] > (os.cpu_count() or 1) / 2
    return False


def processor_limit() -> int | None:
    """How many processors the container may use (``docker run --cpus``), rounded up; None without a limit.

    More threads would all be stopped together for a part of each period, once they have used up its share.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html (``cpu.max``), and
    https://docs.kernel.org/scheduler/sched-bwc.html for the files of version 1, where -1 is no limit.
    """
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = " ".join((_CGROUP / name).read_text("ascii") for name in names).split()
            return None if quota in {"max", "-1"} else max(1, math.ceil(int(quota) / int(period)))
    return None


def map_threaded(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """``map`` on threads, with results in order; an exception is raised at the position of its result or earlier."""
    chunks = [items[start : start + CHUNK_ITEMS] for start in range(0, len(items), CHUNK_ITEMS)]
    pool = ThreadPoolExecutor(num_threads(), thread_name_prefix="map")
    try:
        for results in pool.map(lambda chunk: [function(item) for item in chunk], chunks):
            yield from results
    finally:
        # An abandoned iterator (an interrupt) must stop working. The garbage collector may close it in one of the
        # threads themselves, so this does not wait for them.
        pool.shutdown(wait=False, cancel_futures=True)
