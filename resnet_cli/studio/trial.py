"""Predictions of a run's model for images that the page sends."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request

from resnet_cli.errors import DataError
from resnet_cli.model.facts import MODEL_FILE
from resnet_cli.predictor import open_predictor
from resnet_cli.serving import messages
from resnet_cli.serving.limits import Limits, read_images
from resnet_cli.serving.service import Service

#: Limits of a request with images.
LIMITS = Limits(max_body_bytes=200_000_000, max_files=64, max_requests=64, timeout_s=120)
#: Maximum number of images per forward pass, and seconds that one waits for others.
_MAX_BATCH, _MAX_WAIT_S = 8, 0.003


class Trial:
    """The model that was used last, open for the next image."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._version = 0
        self._service: Service | None = None
        self._about: messages.ModelInfo | None = None
        self._stack = contextlib.AsyncExitStack()
        self._opening = asyncio.Lock()

    async def predict(self, request: Request, model: Path, name: str) -> str:
        """The JSON of predictions, as ``serve`` sends it.

        Args:
            request: Its body is an image, or a form with images.
            model: A run folder.
            name: What the model is called.

        Raises:
            HTTPException: The request cannot be answered.
            ResnetCliError: The model cannot be opened.
        """
        service, about = await self._open(model, name)
        with service.admitted():
            uploads = await read_images(request, LIMITS)
            replies = await service.predict(uploads, topk=5, explain=False)
        failed = [f"{one.prediction.path}: {one.prediction.error.reason}" for one in replies if one.prediction.error]
        if len(failed) == len(replies):
            raise HTTPException(422, "; ".join(failed))
        return messages.to_json(about, service.task, replies)

    async def about(self, model: Path, name: str) -> str:
        """The JSON about the classes of a model, as ``serve`` sends it."""
        service, about = await self._open(model, name)
        found = messages.Classes(
            model=about, classes=list(service.classes), task=service.task, thresholds=service.thresholds
        )
        return found.model_dump_json()

    async def close(self) -> None:
        """Closes the model."""
        self._path = self._service = self._about = None
        await self._stack.aclose()

    async def _open(self, model: Path, name: str) -> tuple[Service, messages.ModelInfo]:
        async with self._opening:
            try:
                version = (model / MODEL_FILE).stat().st_mtime_ns
            except OSError as error:
                raise DataError(f"{name} has no model: was it stopped, or its folder removed?") from error
            if (model, version) != (self._path, self._version):
                await self.close()
                predictor = await asyncio.to_thread(open_predictor, str(model), device="cpu")
                service = Service(predictor, rule=None, limits=LIMITS, max_batch=_MAX_BATCH, max_wait_s=_MAX_WAIT_S)
                await self._stack.enter_async_context(service.running())
                self._path, self._version, self._service = model, version, service
                self._about = messages.ModelInfo(
                    name=name,
                    sha256=predictor.sha256,
                    image_size=predictor.preprocess.crop_size,
                    tells_unfamiliar=predictor.tells_unfamiliar,
                    can_abstain=False,
                    can_explain=False,
                )
            assert self._service and self._about
            return self._service, self._about
