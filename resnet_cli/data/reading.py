"""Reads files on more threads than there are cores, where reading is what takes long; without torch.

On a network file system, a file takes 10 to 200 ms however small it is: two threads that read and decode one file
after the other would wait most of the time. Decoding remains on as many threads as there are cores.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar, cast

from PIL import Image

from resnet_cli.data.dataset import Item
from resnet_cli.errors import ImageError
from resnet_cli.images import decode
from resnet_cli.system.threads import CHUNK_ITEMS, num_threads

#: Number of files that are read at once where reading is slow: 32 files of 200 ms each are 160 images per second.
MAX_READERS = 32
#: Files, and about as many bytes, that may be in memory and not decoded yet.
MAX_FILES_AHEAD, MAX_BYTES_AHEAD = 64, 64_000_000
#: Reading is slow if it takes longer than decoding and longer than this: files of a local disk take 0.1 ms.
SLOW_READ_S = 0.002
#: Number of files that are read before this is decided, and weight of each further one in the averages.
_FIRST_FILES, _NEW_WEIGHT = 4, 0.1
#: Chunks that :func:`map_reading` begins ahead.
_CHUNKS_AHEAD = 16

T = TypeVar("T")
S = TypeVar("S")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedItem(Item):
    """An item whose file has been read.

    Attributes:
        data: The whole file.
    """

    data: bytes = b""

    def open(self, bit_depth: int | None = 16) -> Image.Image:
        """The upright RGB image; see :meth:`Item.open`."""
        return decode(self.data, str(self.source), max_pixels=self.max_pixels, bit_depth=bit_depth)

    def content_hash(self) -> bytes:
        """See :meth:`Item.content_hash`."""
        return hashlib.sha256(self.data).digest()


def load(item: T) -> tuple[T, int]:
    """Reads the file of an item.

    Args:
        item: An item; anything else, and an item that is not a file, is returned as it is.

    Returns:
        The item with the file's bytes, and their number.

    Raises:
        ImageError: The file cannot be read.
    """
    # Not the items of URLs, which keep their bytes themselves.
    source = item.source if isinstance(item, Item) and type(item) is Item else None
    if not isinstance(source, Path):
        return item, 0
    try:
        data = source.read_bytes()
    except OSError as error:
        raise ImageError(str(source), error.strerror or str(error)) from error
    fields = {field.name: getattr(item, field.name) for field in dataclasses.fields(Item)}
    return cast("T", LoadedItem(**fields, data=data)), len(data)


class Readers(Generic[T, S, R]):
    """Applies two functions to items: one that waits for files, and one that computes.

    Each of a few threads does both for one item after the other. Once reading turns out to be slow, it is done on
    more threads, ahead of the others and in bounded memory.

    Args:
        read: Item -> what was read, and its number of bytes.
        work: What was read -> result.
        num_workers: Number of threads for ``work``.
    """

    def __init__(
        self, read: Callable[[T], tuple[S, int]], work: Callable[[S], R], *, num_workers: int | None = None
    ) -> None:
        self._read, self._work = read, work
        self._workers = ThreadPoolExecutor(num_workers or num_threads(), thread_name_prefix="decode")
        self._readers = ThreadPoolExecutor(MAX_READERS, thread_name_prefix="read")
        self._pace, self._room = _Pace(), _Room()

    def submit(self, items: Sequence[T]) -> Future[list[R]]:
        """Begins with some items; the future has their results in order, or the first exception."""
        task: _Task[R] = _Task(len(items))
        self._workers.submit(self._begin, task, items)
        return task.future

    def close(self, *, wait: bool) -> None:
        """Stops; what was not begun is never done.

        Args:
            wait: Whether to wait for the items that are being worked on. Files that are being read are never waited
                for: a server may not respond.
        """
        self._room.close()
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._workers.shutdown(wait=wait, cancel_futures=True)

    def _begin(self, task: _Task[R], items: Sequence[T]) -> None:
        with task:
            for position, item in enumerate(items):
                if self._room.is_closed:
                    return
                if self._pace.is_reading_slow:
                    self._readers.submit(self._read_one, task, position, item)
                    continue
                start = time.perf_counter()
                loaded, num_bytes = self._read(item)
                self._pace.reading.add(time.perf_counter() - start)
                self._room.sizes.add(num_bytes)
                self._work_on(task, position, loaded)

    def _read_one(self, task: _Task[R], position: int, item: T) -> None:
        with task:
            reserved = self._room.reserve()
            if reserved is None:
                return
            try:
                start = time.perf_counter()
                loaded, num_bytes = self._read(item)
                self._pace.reading.add(time.perf_counter() - start)
                reserved = self._room.correct(reserved, num_bytes)
                self._workers.submit(self._work_on, task, position, loaded, reserved)
            except BaseException:
                self._room.free(reserved)
                raise

    def _work_on(self, task: _Task[R], position: int, loaded: S, reserved: float | None = None) -> None:
        with task:
            try:
                start = time.perf_counter()
                result = self._work(loaded)
                self._pace.working.add(time.perf_counter() - start)
            finally:
                if reserved is not None:
                    self._room.free(reserved)
            task.add(position, result)


def map_reading(
    read: Callable[[T], tuple[S, int]], work: Callable[[S], R], items: Sequence[T]
) -> Generator[R, None, None]:
    """``work(read(item))`` for each item on threads, with results in order.

    An exception is raised at the position of its result or earlier.

    Args:
        read: Waits for a file: item -> what was read, and its number of bytes.
        work: Computes: what was read -> result.
        items: The items, of which a few chunks are taken at a time.
    """
    readers = Readers(read, work)
    ahead: deque[Future[list[R]]] = deque()
    try:
        for start in range(0, len(items), CHUNK_ITEMS):
            ahead.append(readers.submit(items[start : start + CHUNK_ITEMS]))
            if len(ahead) > _CHUNKS_AHEAD:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()
    finally:
        # The garbage collector may close an abandoned iterator in one of the threads themselves.
        readers.close(wait=False)


class _Average:
    """An average in which recent values weigh more."""

    def __init__(self) -> None:
        self.value, self.count = 0.0, 0

    def add(self, value: float) -> None:
        # Threads may lose one another's update, which does not matter for an average.
        self.count += 1
        self.value += max(_NEW_WEIGHT, 1 / self.count) * (value - self.value)


class _Pace:
    """How long reading and decoding take."""

    def __init__(self) -> None:
        self.reading, self.working = _Average(), _Average()

    @property
    def is_reading_slow(self) -> bool:
        is_known = self.reading.count >= _FIRST_FILES
        return is_known and self.reading.value > max(SLOW_READ_S, self.working.value)


class _Room:
    """Limits the files that are in memory and not decoded yet; a file counts as the average one until it is read."""

    def __init__(self) -> None:
        self.sizes, self.is_closed = _Average(), False
        self._num_files, self._num_bytes = 0, 0.0
        self._changed = threading.Condition()

    def reserve(self) -> float | None:
        """Waits for room for one more file; None if there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_closed or self._has_room())
            if self.is_closed:
                return None
            self._num_files += 1
            self._num_bytes += self.sizes.value
            return self.sizes.value

    def correct(self, reserved: float, num_bytes: int) -> float:
        with self._changed:
            self.sizes.add(num_bytes)
            self._num_bytes += num_bytes - reserved
            return num_bytes

    def free(self, reserved: float) -> None:
        with self._changed:
            self._num_files -= 1
            self._num_bytes -= reserved
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()

    def _has_room(self) -> bool:
        is_within = self._num_files < MAX_FILES_AHEAD and self._num_bytes + self.sizes.value <= MAX_BYTES_AHEAD
        # A file that is larger than the limit is read alone.
        return is_within or not self._num_files


class _Task(Generic[R]):
    """Results of some items, which may be ready in any order."""

    def __init__(self, num_items: int) -> None:
        self.future: Future[list[R]] = Future()
        self._results: dict[int, R] = {}
        self._num_items = num_items
        self._lock = threading.Lock()

    def add(self, position: int, result: R) -> None:
        with self._lock:
            self._results[position] = result
            if len(self._results) == self._num_items:
                self.future.set_result([self._results[at] for at in range(self._num_items)])

    def __enter__(self) -> None: ...

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> bool:
        """Passes an exception on to the thread that waits for the results."""
        with self._lock:
            if error is not None and not self.future.done():
                self.future.set_exception(error)
        return True
