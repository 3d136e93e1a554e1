"""Work on every core of this machine that the process may use; no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

#: Items a task: a task costs as much as looking at a small image.
CHUNK_ITEMS = 16

T = TypeVar("T")
R = TypeVar("R")


def num_threads() -> int:
    """Processors this process may use (containers and ``taskset`` included)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_threaded(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """``map`` on threads, results in order; an exception ends it no later than where its result would stand."""
    chunks = [items[start : start + CHUNK_ITEMS] for start in range(0, len(items), CHUNK_ITEMS)]
    pool = ThreadPoolExecutor(num_threads(), thread_name_prefix="map")
    try:
        for results in pool.map(lambda chunk: [function(item) for item in chunk], chunks):
            yield from results
    finally:
        # An abandoned iterator (an interrupt) must not work on. Where the garbage collector closes it, it may do so in
        # one of the threads themselves: nobody waits for them here.
        pool.shutdown(wait=False, cancel_futures=True)
