"""From the bytes of images to predictions, for many requests at once and in bounded memory."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import functools
import io
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from resnet_cli.errors import ImageError, SetupError
from resnet_cli.images import Pixels, decode
from resnet_cli.model.heatmap import explanation
from resnet_cli.model.output import ModelOutput
from resnet_cli.model.rules import Rule, label_thresholds
from resnet_cli.outputs.annotated import explained_classes
from resnet_cli.prediction import Prediction, Predictor, to_predictions
from resnet_cli.serving.batching import Batcher
from resnet_cli.serving.limits import Limits, Upload
from resnet_cli.serving.metrics import Metrics
from resnet_cli.system.threads import num_threads


class Full(Exception):
    """The maximum number of requests is in flight."""


@dataclasses.dataclass(frozen=True)
class Reply:
    """The prediction for one image.

    Attributes:
        prediction: The prediction; its ``path`` is the name that the image was sent with.
        explanations: Class -> the square that the network saw with a heat map of the class over it, as a ``data:`` URL;
            empty unless it was requested and the model has heat maps.
    """

    prediction: Prediction
    explanations: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Service:
    """A model that serves many requests at once.

    Args:
        predictor: The model; its prepared images are squares.
        rule: Which images are labeled "unknown".
        limits: Limits of requests.
        max_batch: Maximum number of images per forward pass.
        max_wait_s: Maximum time that an image waits for others, in seconds.
    """

    def __init__(
        self,
        predictor: Predictor[Pixels],
        *,
        rule: Rule | None,
        limits: Limits,
        max_batch: int,
        max_wait_s: float,
    ) -> None:
        self.classes, self.task = predictor.classes, predictor.task
        self.thresholds: list[float | None] = [*label_thresholds(predictor, rule)]
        self.limits = limits
        self.metrics = Metrics()
        self._predictor, self._rule = predictor, rule
        self._decoders = ThreadPoolExecutor(num_threads(), thread_name_prefix="decode")
        self._num_requests = 0
        self._batcher = Batcher(
            predictor, max_batch=max_batch, max_wait_s=max_wait_s, on_batch=self.metrics.batch_images.observe
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Predicts while the block runs."""
        work = asyncio.create_task(self._batcher.run())
        try:
            yield
        finally:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
            self._batcher.close()
            self._decoders.shutdown(wait=True, cancel_futures=True)

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """Counts a request as in flight, from before its body is read until it is finished.

        Raises:
            Full: There are too many already.
        """
        if self._num_requests >= self.limits.max_requests:
            raise Full
        self._num_requests += 1
        self.metrics.requests_under_way.inc()
        try:
            yield
        finally:
            self._num_requests -= 1
            self.metrics.requests_under_way.dec()

    async def predict(
        self, uploads: Sequence[Upload], *, topk: int, explain: bool, all_probs: bool = False
    ) -> list[Reply]:
        """Predicts images in order; an unreadable one gets a prediction with an error."""
        options = {"explain": explain, "all_probs": all_probs}
        return list(await asyncio.gather(*(self._reply(upload, topk, **options) for upload in uploads)))

    async def _reply(self, upload: Upload, topk: int, *, explain: bool, all_probs: bool) -> Reply:
        try:
            pixels = await self._decode(upload)
        except ImageError as error:
            self.metrics.images.labels("unreadable").inc()
            if isinstance(error.__cause__, SetupError):
                # The command that installs a library is for the server's owner, and may contain a path.
                error = ImageError(upload.name, f"{error.__cause__.message} on the server")
            return Reply(Prediction(upload.name, error=error))
        output = await self._batcher.predict(pixels)
        (prediction,) = to_predictions(
            self._predictor, [upload.name], output, topk=topk, rule=self._rule, all_probs=all_probs
        )
        answered = "answered" if prediction.chosen else "none"
        self.metrics.images.labels(answered if prediction.unknown is None else "unknown").inc()
        if prediction.is_unfamiliar:
            self.metrics.unfamiliar_images.inc()
        return Reply(prediction, await self._explain(pixels, output, prediction) if explain else {})

    async def _decode(self, upload: Upload) -> Pixels:
        self._batcher.num_coming += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._decoders, self._prepare, upload)
        finally:
            self._batcher.num_coming -= 1

    def _prepare(self, upload: Upload) -> Pixels:
        bit_depth = self._predictor.preprocess.bit_depth
        image = decode(upload.data, upload.name, max_pixels=self.limits.max_pixels, bit_depth=bit_depth)
        return self._predictor.prepare(image)

    async def _explain(self, pixels: Pixels, output: ModelOutput, prediction: Prediction) -> dict[str, str]:
        if not self._predictor.has_heatmap:
            return {}
        found = {}
        for label, target in explained_classes(self._predictor, prediction):
            # On the model's thread: it may take another forward pass.
            compute = functools.partial(self._predictor.heatmap, pixels, output, target)
            heatmap = await self._batcher.compute(compute)
            found[label] = await asyncio.get_running_loop().run_in_executor(self._decoders, _drawn, pixels, heatmap)
        return found


def _drawn(pixels: Pixels, heatmap: NDArray[np.float32]) -> str:
    file = io.BytesIO()
    explanation(pixels, heatmap).save(file, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
