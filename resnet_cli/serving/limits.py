"""Limits of requests, and the images in a request body; a body over the limits is not parsed."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import AsyncGenerator
from typing import NamedTuple

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from resnet_cli.images import MAX_PIXELS

#: Media types whose body is one image; ``curl --data-binary`` sends the third one for any file.
_RAW_TYPES = frozenset({"", "application/octet-stream", "application/x-www-form-urlencoded", "application/dicom"})
#: Maximum number of form fields beside the files; they are ignored.
_MAX_FIELDS = 16
_MAX_NAME = 255
#: After a response to half a body, the rest of it would be read as the next request.
_CLOSE = {"connection": "close"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one request, and of all requests together.

    Attributes:
        max_body_bytes: Maximum size of a request body.
        max_pixels: Maximum number of pixels per image, read from its header before it is decoded.
        max_files: Maximum number of images per request.
        max_requests: Maximum number of requests in flight; more get status 503.
        timeout_s: Maximum time for a body to arrive, in seconds.
    """

    max_body_bytes: int = 10_000_000
    max_pixels: int = MAX_PIXELS
    max_files: int = 16
    max_requests: int = 128
    timeout_s: float = 30.0


class Upload(NamedTuple):
    """One image as it was sent."""

    name: str
    data: bytes


class _InMemory(MultiPartParser):
    # The body is small: temporary files would only add a disk that can be full.
    spool_max_size = sys.maxsize


async def read_images(request: Request, limits: Limits) -> list[Upload]:
    """Reads the images of a request: the body itself, or the files of a form.

    Raises:
        HTTPException: 400, 408, 413 or 415, with a message for people.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_form = kind == "multipart/form-data"
    if not is_form and kind not in _RAW_TYPES and not kind.startswith("image/"):
        message = f"{kind[:60]}: neither an image nor a form with files: send image/jpeg or multipart/form-data"
        raise HTTPException(415, message, _CLOSE)
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limits.max_body_bytes:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.timeout_s):
            if is_form:
                return await _read_form(request, limits)
            data = b"".join([chunk async for chunk in _bounded(request, limits)])
    except TimeoutError:
        raise HTTPException(408, f"the body did not arrive within {limits.timeout_s:g} s", _CLOSE) from None
    except ClientDisconnect:
        raise HTTPException(400, "the body ended early", _CLOSE) from None
    if not data:
        raise HTTPException(400, "an empty body: send an image")
    return [Upload("image", data)]


async def _read_form(request: Request, limits: Limits) -> list[Upload]:
    parser = _InMemory(request.headers, _bounded(request, limits), max_files=limits.max_files, max_fields=_MAX_FIELDS)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, f"not a form that can be read: {error.message}", _CLOSE) from error
    except (KeyError, ValueError) as error:
        raise HTTPException(400, "not a form that can be read", _CLOSE) from error
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not files:
        raise HTTPException(400, "no files in the form: curl -F file=@photo.jpg")
    uploads = [Upload((file.filename or "image")[:_MAX_NAME], await file.read()) for file in files]
    await form.close()
    return uploads


async def _bounded(request: Request, limits: Limits) -> AsyncGenerator[bytes, None]:
    num_bytes = 0
    async for chunk in request.stream():
        num_bytes += len(chunk)
        if num_bytes > limits.max_body_bytes:
            raise _too_large(limits)
        yield chunk


def _too_large(limits: Limits) -> HTTPException:
    return HTTPException(413, f"the body is over the limit of {limits.max_body_bytes:,} bytes", _CLOSE)
