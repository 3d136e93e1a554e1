"""Batches over all requests: images that wait at the same time go through the model together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from resnet_cli.images import Pixels
from resnet_cli.model.output import ModelOutput
from resnet_cli.prediction import Predictor

R = TypeVar("R")


class Batcher:
    """A queue in front of a model that computes on a thread of its own.

    Images that arrive during a forward pass become the next batch. An idle model takes the first image at once,
    unless others are being decoded.

    Args:
        predictor: The model.
        max_batch: Maximum number of images per forward pass.
        max_wait_s: Maximum time that images wait for those that are being decoded, in seconds.
        on_batch: Called with the size of each batch.
    """

    def __init__(
        self,
        predictor: Predictor[Pixels],
        *,
        max_batch: int,
        max_wait_s: float,
        on_batch: Callable[[int], object] = lambda size: None,
    ) -> None:
        self._predictor = predictor
        self._max_batch, self._max_wait_s, self._on_batch = max_batch, max_wait_s, on_batch
        self._queue: asyncio.Queue[tuple[Pixels, asyncio.Future[ModelOutput]]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        #: Number of images that will arrive soon: they are being decoded.
        self.num_coming = 0

    async def predict(self, pixels: Pixels) -> ModelOutput:
        """The output for one image, a batch of one."""
        future: asyncio.Future[ModelOutput] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((pixels, future))
        return await future

    async def compute(self, function: Callable[[], R]) -> R:
        """Runs a function on the model's thread, between two batches."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def run(self) -> None:
        """Predicts until it is cancelled."""
        while True:
            batch = await self._gather()
            self._on_batch(len(batch))
            try:
                found = await self.compute(lambda: self._predictor.predict([pixels for pixels, _ in batch]))  # noqa: B023
            except Exception as error:  # noqa: BLE001 - each request gets the error
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for row, (_, future) in enumerate(batch):
                if not future.done():
                    future.set_result(found.row(row))

    def close(self) -> None:
        """Stops the model's thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _gather(self) -> list[tuple[Pixels, asyncio.Future[ModelOutput]]]:
        batch = [await self._queue.get()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._max_wait_s):
                while len(batch) < self._max_batch and (self._queue.qsize() or self.num_coming):
                    batch.append(await self._queue.get())
        return batch
