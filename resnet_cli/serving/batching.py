"""Images of many requests through one model: whatever waits goes through it together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from resnet_cli.images import Pixels
from resnet_cli.prediction import ModelOutput, Predictor

R = TypeVar("R")


class Batcher:
    """A queue before a model that computes on one thread of its own.

    While the model works, images gather; what has gathered is its next batch. A model that waits for work takes the
    first image at once, unless others are known to be on their way.

    Args:
        predictor: The model.
        max_batch: Images a forward pass.
        max_wait_s: How long images that are here wait for those on their way.
        on_batch: Told the size of each batch.
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
        #: Images that will be asked for soon: they are being decoded.
        self.num_coming = 0

    async def predict(self, pixels: Pixels) -> ModelOutput:
        """The output for one image, a batch of one."""
        future: asyncio.Future[ModelOutput] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((pixels, future))
        return await future

    async def compute(self, function: Callable[[], R]) -> R:
        """Runs something else of the model's, between two batches."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def run(self) -> None:
        """Works until it is cancelled."""
        while True:
            batch = await self._gather()
            self._on_batch(len(batch))
            try:
                found = await self.compute(lambda: self._predictor.predict([pixels for pixels, _ in batch]))  # noqa: B023
            except Exception as error:  # noqa: BLE001 - whoever asked is told
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for row, (_, future) in enumerate(batch):
                if not future.done():
                    future.set_result(found.row(row))

    def close(self) -> None:
        """Ends the model's thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _gather(self) -> list[tuple[Pixels, asyncio.Future[ModelOutput]]]:
        batch = [await self._queue.get()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._max_wait_s):
                while len(batch) < self._max_batch and (self._queue.qsize() or self.num_coming):
                    batch.append(await self._queue.get())
        return batch
