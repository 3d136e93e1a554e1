"""Runs work on every core that this process may use; without torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

#: Number of items per task: the overhead of a task is as large as scanning a small image.
CHUNK_ITEMS = 16

T = TypeVar("T")
R = TypeVar("R")


def num_threads() -> int:
    """Number of processors that this process may use, respecting containers and ``taskset``."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
