"""How many threads share an operation: as many as the machine really gives, found by the clock while work goes on.

OpenMP threads spin at the end of every operation until the last one is there. Where another process holds one of their
cores, all of them wait for it, and fewer threads are faster: 46 training steps of 32 px take 82 s with two threads
beside two busy processes, 26 s with one, and 16 s with two on a quiet machine (whole processes, 2 cores).
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator

import torch

from resnet_cli.system.device import Compute

#: Fewer threads are tried where the process gets less than this share of the processor time that its threads could use.
SHARED_BELOW = 0.85
#: More threads are tried where the calling thread gets at least this share of its core.
GIVEN_ABOVE = 0.95
#: The shares are taken over this time: shorter ones say nothing.
WINDOW_S = 0.1
#: Windows in a row that must say so: a single one may have been disturbed by anything.
NUM_SIGNS = 2
#: What fewer or more threads must gain. Beside other work fewer gain far more; by chance, on a quiet machine, no number
#: may win: sums would have other last digits in every run.
LEAST_GAIN_OF_FEWER, LEAST_GAIN_OF_MORE = 1.25, 1.1
#: The first piece of a trial may only make the operations ready; below this a second one is not worth its time.
HOPELESS_GAIN = 0.67
#: Seconds until the next trial after one that gained nothing, and their limit; they double.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0


class ThreadTuner:
    """Chooses the number of threads for pieces of one kind of work, by how long they take.

    Args:
        most: Upper limit; None: what torch may use, which ``OMP_NUM_THREADS`` may say.
        count: To begin with; None: those that torch uses now, which may be fewer inside of :meth:`held`.
        is_fixed: Never changes the number.
        on_change: Called with the new number.

    Attributes:
        most: As given.
        count: Threads that share an operation now.
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
        # Of the window under way: wall seconds, those of the process's processors, those of the calling thread's.
        self._window = [0.0, 0.0, 0.0]
        self._num_shared = self._num_given = 0
        self._tried: int | None = None
        self._num_trials = 0
        self._pause_s, self._next_trial = FIRST_PAUSE_S, 0.0

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Lets torch use this number inside the block, and what it used before after it."""
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
        """A piece of work whose result does not depend on the number of threads: a trial may be made of it.

        Args:
            num_items: How large it is, to compare pieces of different sizes.
        """
        with self.held(), self.trial(num_items) if self.wants_trial else self.timed(num_items):
            yield

    @property
    def wants_trial(self) -> bool:
        """Whether another number of threads should be timed now, by :meth:`trial`."""
        return self._tried is not None

    @contextlib.contextmanager
    def timed(self, num_items: int = 1) -> Iterator[None]:
        """A piece of work with the chosen number of threads; inside :meth:`held`."""
        before = _clocks()
        yield
        if self._is_fixed or _fixed() or self.most == 1:
            return
        spent = [after - began for began, after in zip(before, _clocks(), strict=True)]
        self._seconds_per_item = spent[0] / num_items
        self._window = [total + part for total, part in zip(self._window, spent, strict=True)]
        if self._window[0] >= WINDOW_S:
            self._look()

    @contextlib.contextmanager
    def trial(self, num_items: int = 1) -> Iterator[None]:
        """The same with the number that is tried; the first piece may only make the operations ready."""
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

    def _look(self) -> None:
        """Whether a trial is worth its time, by what the machine gave in the window."""
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


#: ``given``: what torch could use before the outermost block of this thread that holds another number. ``fixed``: what
#: the user asks for.
_held = threading.local()


def given_threads() -> int:
    """Threads that torch may use at most: those of its environment, whatever a tuner makes of them meanwhile."""
    return _fixed() or getattr(_held, "given", None) or torch.get_num_threads()


@contextlib.contextmanager
def fixed_threads(count: int | None) -> Iterator[None]:
    """No tuner changes the number of threads inside the block; None: they may."""
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
    """The tuner that all forward passes of a kind in this process share: what it has found out is not found out again.

    Args:
        most: From :func:`given_threads`.
        image_size: Pixels of the images' side.
        compute: Device and precision; only a CPU's threads are tuned.
    """
    return ThreadTuner(most, is_fixed=compute.type != "cpu")
