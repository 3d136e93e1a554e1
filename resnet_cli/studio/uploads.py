"""Images and archives that the page sends become files of a project."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from resnet_cli.data.sources.fetching.archives import is_archive_name, unpack
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.errors import ConfigError, DataError, ImageError, ResnetCliError
from resnet_cli.images import decode
from resnet_cli.images.formats import EXTENSIONS, recognize
from resnet_cli.outputs.safe_files import folder_names, safe_name
from resnet_cli.serving.limits import Upload
from resnet_cli.studio.project import MAX_NAME_CHARS, Project
from resnet_cli.system.paths import check_space, disk_errors, make_dir

#: Maximum size of an archive, in bytes.
MAX_ARCHIVE_BYTES = 20 * 10**9
#: An archive must not stop arriving for longer than this, in seconds.
TIMEOUT_S = 60.0


def add_images(project: Project, label: str, uploads: list[Upload]) -> dict[str, Any]:
    """Adds images to a class; those that cannot be read are refused, each with the reason.

    Returns:
        ``added``: names; ``same``: number of images that the class has already; ``refused``: name and reason of each.
    """
    added, refused, num_same = [], [], 0
    for upload in uploads:
        try:
            decode(upload.data, upload.name)
        except ImageError as error:
            refused.append({"name": upload.name, "reason": error.reason})
            continue
        image = project.add_image(label, _named_by_content(upload), upload.data)
        if image is None:
            num_same += 1
        else:
            added.append(image.path)
    return {"added": added, "same": num_same, "refused": refused}


def _named_by_content(upload: Upload) -> str:
    """The name of a file with an extension by which other commands find it."""
    path = Path(upload.name.replace("\\", "/"))
    if path.suffix.lower() in EXTENSIONS and not path.name.startswith("."):
        return path.name
    found = recognize(upload.data)
    return f"{path.name.lstrip('.') or 'image'}{found.extensions[0] if found else '.jpg'}"


async def add_archive(project: Project, request: Request, name: str) -> dict[str, Any]:
    """Receives an archive, and moves its images into the classes that it has.

    Raises:
        HTTPException: It is too large, or does not arrive.
        DataError: It is damaged, or has no images in classes.
    """
    name = safe_name(Path(name.replace("\\", "/")).name)
    if not is_archive_name(name):
        raise ConfigError(f"{name}: not an archive", hint="zip, tar, tar.gz, tar.bz2, tar.xz or tar.zst")
    length = request.headers.get("content-length", "")
    if length.isdecimal():
        if int(length) > MAX_ARCHIVE_BYTES:
            raise _too_large()
        check_space(project.path, int(length), name, hint="free some space")
    with _incoming(project) as folder:
        archive = folder / name
        await _receive(request, archive)
        try:
            return await asyncio.to_thread(_take_archive, project, archive, folder / "unpacked")
        except ResnetCliError as error:
            # Nobody knows the folder, which will be gone.
            for known, shown in ((archive, name), (folder / "unpacked", name)):
                error.message = error.message.replace(str(known), shown)
                error.hint = error.hint and error.hint.replace(str(known), shown)
            raise


async def _receive(request: Request, archive: Path) -> None:
    num_bytes = 0
    stream = aiter(request.stream())
    with disk_errors(archive, hint="free some space"), archive.open("wb") as file:
        while True:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise HTTPException(408, f"nothing arrived for {TIMEOUT_S:g} s", {"connection": "close"}) from None
            except ClientDisconnect:
                raise HTTPException(400, "the archive ended early", {"connection": "close"}) from None
            num_bytes += len(chunk)
            if num_bytes > MAX_ARCHIVE_BYTES:
                raise _too_large()
            file.write(chunk)


def _take_archive(project: Project, archive: Path, folder: Path) -> dict[str, Any]:
    unpack(archive, folder)
    dataset = open_dataset(str(folder))
    other_way = f"train on it with: resnet-cli finetune {shlex.quote(archive.name)}"
    if dataset.task != "single-label":
        raise DataError(f"{archive.name}: its images have several labels each", hint=other_way)
    if not all(isinstance(item.source, Path) for item in dataset.items):
        raise DataError(f"{archive.name}: its images are not files of their own", hint=other_way)
    folders = folder_names([_short(label) for label in dataset.classes])
    num_added = num_same = 0
    existing = {name.casefold(): name for name in project.classes()}
    for label, items in _by_class(dataset):
        wanted = folders[_short(dataset.classes[label])]
        target = existing.get(wanted.casefold()) or project.add_class(wanted)
        for source in items:
            if project.adopt(target, source) is None:
                num_same += 1
            else:
                num_added += 1
    notes = list(dataset.notes)
    if len(dataset.counts()) and sum(bool(dataset.split(split)) for split in ("train", "val", "test")) > 1:
        notes.append("Its splits were merged: each training holds out images of every class itself.")
    return {"added": num_added, "same": num_same, "refused": [], "notes": notes, "reading": dataset.reading}


def _by_class(dataset: Any) -> Iterator[tuple[int, list[Path]]]:
    files: dict[int, list[Path]] = {}
    for item in dataset.items:
        files.setdefault(item.label, []).append(item.source)
    yield from sorted(files.items())


def _short(label: str) -> str:
    return " ".join(label.split())[:MAX_NAME_CHARS].strip() or "class"


@contextmanager
def _incoming(project: Project) -> Iterator[Path]:
    """A hidden folder of the project, which is removed at the end."""
    folder = make_dir(project.path / ".incoming" / uuid.uuid4().hex)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _too_large() -> HTTPException:
    return HTTPException(413, f"the archive is over the limit of {MAX_ARCHIVE_BYTES:,} bytes", {"connection": "close"})
