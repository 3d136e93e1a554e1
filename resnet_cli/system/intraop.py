"""Chooses the number of threads that share an operation by timing work while it runs.

OpenMP threads spin at the end of every operation until the last one is done. If another process uses one of their
cores, all of them wait for it, and fewer threads are faster: 46 training steps of 32 px take 82 s with two threads
beside two busy processes, 26 s with one, and 16 s with two on an idle machine (whole processes, 2 cores).
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator

import torch

from resnet_cli.system.device import Compute

#: Fewer threads are tried if the process gets less than this share of the processor time that its threads could use.
SHARED_BELOW = 0.85
#: More threads are tried if the calling thread gets at least this share of its core.
GIVEN_ABOVE = 0.95
#: The shares are measured over this time in seconds: shorter ones are not informative.
WINDOW_S = 0.1
#: Number of consecutive windows that must agree: anything may have disturbed a single one.
NUM_SIGNS = 2
#: Speedup that fewer or more threads must reach. Beside other work, fewer threads gain far more; on an idle machine the
#: number must not change by chance, or the last digits of sums would differ in every run.
LEAST_GAIN_OF_FEWER, LEAST_GAIN_OF_MORE = 1.25, 1.1
#: The first piece of a trial may only initialize the operations; below this speedup a second one is not worthwhile.
HOPELESS_GAIN = 0.67
#: Seconds until the next trial after one without a speedup, and their limit; they double each time.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0


class ThreadTuner:
    """Chooses the number of threads for pieces of one kind of work by how long they take.

    Args:
        most: Upper limit; None for the number that torch may use, which ``OMP_NUM_THREADS`` can set.
        count: Initial number; None for the number that torch uses now, which may be smaller inside :meth:`held`.
        is_fixed: Whether the number never changes.
        on_change: Called with a new number.

    Attributes:
        most: Upper limit.
        count: Number of threads that share an operation now.
    """

    def __init__(
        self,
        most: int | None = None,
        count: int | None = None,
        *,
        is_fixed: bool = False,
        on_change: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.most = most or given_threads()
        self.count = min(count or torch.get_num_threads(), self.most)
        self._is_fixed, self._on_change = is_fixed, on_change
        self._seconds_per_item = 0.0
        # Current window: wall seconds, processor seconds of the process, processor seconds of the calling thread.
        self._window = [0.0, 0.0, 0.0]
        self._num_shared = self._num_given = 0
        self._tried: int | None = None
        self._num_trials = 0
        self._pause_s, self._next_trial = FIRST_PAUSE_S, 0.0

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Sets torch's number of threads inside the block, and restores it afterwards."""
        before, outer = torch.get_num_threads(), getattr(_held, "given", None)
        _held.given = given_threads()
        torch.set_num_threads(_fixed() or self.count)
        try:
            yield
        finally:
            _held.given = outer
            torch.set_num_threads(before)

    @contextlib.contextmanager
    def piece(self, num_items: int = 1) -> Iterator[None]:
        """Runs a piece of work whose result does not depend on the number of threads, so that it can be a trial.

        Args:
            num_items: Size of the piece, to compare pieces of different sizes.
        """
        with self.held(), self.trial(num_items) if self.wants_trial else self.timed(num_items):
            yield

    @property
    def wants_trial(self) -> bool:
        """Whether a different number of threads should be timed now, by :meth:`trial`."""
        return self._tried is not None

    @contextlib.contextmanager
    def timed(self, num_items: int = 1) -> Iterator[None]:
        """Times a piece of work with the chosen number of threads; used inside :meth:`held`."""
        before = _clocks()
        yield
        if self._is_fixed or _fixed() or self.most == 1:
            return
        spent = [after - began for began, after in zip(before, _clocks(), strict=True)]
        self._seconds_per_item = spent[0] / num_items
        self._window = [total + part for total, part in zip(self._window, spent, strict=True)]
        if self._window[0] >= WINDOW_S:
            self._consider_trial()

    @contextlib.contextmanager
    def trial(self, num_items: int = 1) -> Iterator[None]:
        """Times a piece with the number that is tried; the first piece may only initialize the operations."""
        assert self._tried is not None
        torch.set_num_threads(self._tried)
        began = time.perf_counter()
        yield
        gain = self._seconds_per_item * num_items / max(time.perf_counter() - began, 1e-9)
        self._num_trials += 1
        tried = self._tried
        is_better = gain >= (LEAST_GAIN_OF_FEWER if tried < self.count else LEAST_GAIN_OF_MORE)
        if is_better or self._num_trials == 2 or gain < HOPELESS_GAIN:
            self._end_trial()
        if is_better:
            self.count, self._pause_s = tried, FIRST_PAUSE_S
            self._on_change(tried)
        torch.set_num_threads(self.count)

    def _consider_trial(self) -> None:
        """Decides whether to start a trial, by the shares of the window."""
        wall_s, process_s, thread_s = self._window
        self._window = [0.0, 0.0, 0.0]
        self._num_shared = self._num_shared + 1 if process_s < SHARED_BELOW * self.count * wall_s else 0
        self._num_given = self._num_given + 1 if thread_s > GIVEN_ABOVE * wall_s else 0
        if time.perf_counter() < self._next_trial:
            return
        if self.count > 1 and self._num_shared >= NUM_SIGNS:
            self._tried = self.count // 2
        elif self.count < self.most and self._num_given >= NUM_SIGNS:
            self._tried = min(self.most, 2 * self.count)

    def _end_trial(self) -> None:
        self._tried, self._num_trials = None, 0
        self._num_shared = self._num_given = 0
        self._next_trial = time.perf_counter() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


def _clocks() -> tuple[float, float, float]:
    return time.perf_counter(), time.process_time(), time.thread_time()


#: ``given``: number of threads that torch could use before the outermost block of this thread changed it. ``fixed``:
#: the number that the user asks for.
_held = threading.local()


def given_threads() -> int:
    """Largest number of threads that torch may use, according to its environment, whatever a tuner has set."""
    return _fixed() or getattr(_held, "given", None) or torch.get_num_threads()


@contextlib.contextmanager
def fixed_threads(count: int | None) -> Iterator[None]:
    """Keeps tuners from changing the number of threads inside the block; None lets them."""
    outer, _held.fixed = _fixed(), count or _fixed()
    try:
        yield
    finally:
        _held.fixed = outer


def _fixed() -> int | None:
    found: int | None = getattr(_held, "fixed", None)
    return found


@functools.lru_cache(maxsize=16)
def shared_tuner(most: int, image_size: int, compute: Compute) -> ThreadTuner:
    """The tuner that all forward passes of one kind in this process share, so that trials are not repeated.

    Args:
        most: Upper limit, from :func:`given_threads`.
        image_size: Side of the images in pixels.
        compute: Device and precision; only the threads of a CPU are tuned.
    """
    return ThreadTuner(most, is_fixed=compute.type != "cpu")
