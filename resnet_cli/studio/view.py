"""What the page shows of a project, and the files of a project that a browser may open."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from pathlib import Path
from typing import Any

from starlette.responses import FileResponse, JSONResponse, Response

from resnet_cli.errors import DataError
from resnet_cli.images import read_image
from resnet_cli.model.facts import MODEL_FILE
from resnet_cli.network.download import find_cached, is_offline
from resnet_cli.network.registry import WEIGHTS
from resnet_cli.runs import RunFolder, list_checkpoints
from resnet_cli.studio.calls import (
    FORMATS,
    RECIPES,
    Settings,
    audit_call,
    export_call,
    in_folder,
    inspect_call,
    resume_call,
    train_call,
)
from resnet_cli.studio.project import NUMBERED, Image, Project
from resnet_cli.system.paths import atomic_path, checkpoints_dir, file_version
from resnet_cli.text import size

#: Runs whose commands the page can show.
MAX_RUNS = 20
#: Longer side of the images on the page, in pixels.
THUMBNAIL_PX = 256
#: A page that a command wrote is shown with its own script, and without any right to this server.
PAGE_HEADERS = {
    "content-security-policy": "sandbox allow-scripts allow-popups allow-downloads; default-src 'none'; "
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; frame-ancestors 'none'"
}
#: Seconds in which a server on the network has to accept a connection.
_CONNECT_S = 3.0


class Answer(JSONResponse):
    """JSON in which a question mark stands for each byte of a file name that is not text."""

    def render(self, content: Any) -> bytes:
        """The body of the response."""
        return json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def describe_project(project: Project, settings: Settings) -> dict[str, Any]:
    """Everything that the page shows of a project."""
    classes = project.classes()
    results = project.read_state()
    return {
        "name": project.name,
        "folder": str(project.path),
        "classes": [{"name": name, "images": images} for name, images in classes.items()],
        "stamp": project.stamp(),
        "results": results,
        "runs": [_describe_run(run) for run in project.list_runs()],
        "exports": _exports(project),
        "commands": {
            "inspect": in_folder(project.path, inspect_call(settings).line()),
            **{name: in_folder(project.path, train_call(project, settings, recipe=name).line()) for name in RECIPES},
        },
        "run_commands": {
            run.path.name: _run_commands(project, settings, run.path.name) for run in project.list_runs()[:MAX_RUNS]
        },
    }


def _run_commands(project: Project, settings: Settings, number: str) -> dict[str, str]:
    calls = {f"export-{name}": export_call(project, settings, number, name) for name in FORMATS}
    calls |= {"audit": audit_call(project, settings, number), "resume": resume_call(project, number)}
    shown = {name: in_folder(project.path, call.line()) for name, call in calls.items()}
    return shown | {"serve": in_folder(project.path, f"resnet-cli serve runs/{number}")}


def summarize_project(project: Project) -> dict[str, Any]:
    """One line about a project."""
    classes = project.classes()
    return {
        "name": project.name,
        "num_classes": len(classes),
        "num_images": sum(map(len, classes.values())),
        "num_runs": len(project.list_runs()),
    }


async def describe_weights(settings: Settings) -> str | None:
    """Why a training cannot start for lack of weights, and what to do; None if it can."""
    if settings.weights != "auto":
        return None
    cached = await asyncio.to_thread(
        lambda: any(find_cached(WEIGHTS[name], checkpoints_dir()) for name in ("imagenet-v1", "imagenet-v2"))
    )
    if cached:
        return None
    remote = WEIGHTS["imagenet-v1"]
    way_out = (
        f"Put {remote.name} into {checkpoints_dir()}, or start the studio with a file of ResNet-50 weights: "
        "resnet-cli studio --weights FILE"
    )
    if is_offline(settings.offline):
        return f"There are no ImageNet weights on this machine, and downloads are switched off. {way_out}"
    host = remote.url.split("/")[2]
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_connection(host, 443)
        writer.close()
    except (OSError, TimeoutError):
        return f"There are no ImageNet weights on this machine, and {host} cannot be reached. {way_out}"
    return None


def thumbnail(project: Project, image: Image, known: str = "") -> Response:
    """A small copy of an image; status 404 for one that cannot be read.

    Args:
        project: The project.
        image: The image.
        known: The tag of the copy that the browser has.
    """
    try:
        file = project.file_of(image)
        tag = '"{}-{}-{}"'.format(*file_version(file))
        headers = {"cache-control": "private, no-cache", "etag": tag}
        if known == tag:
            return Response(status_code=304, headers=headers)
        found = read_image(file, bit_depth=None)
    except (DataError, OSError):
        return Response(status_code=404)
    found.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    found.save(buffer, "JPEG", quality=80)
    return Response(buffer.getvalue(), media_type="image/jpeg", headers=headers)


def page(project: Project, name: str) -> Response:
    """A page that a command has written.

    Args:
        project: The project.
        name: ``inspection``, ``report-N`` of a run, or ``labels-N`` of a check of the labels.

    Raises:
        DataError: There is no such page.
    """
    kind, _, number = name.partition("-")
    file: Path | None = None
    if kind == "inspection" and not number:
        file = project.path / "inspection.html"
    elif kind == "report":
        file = project.run(number).path / "report.html"
    elif kind == "labels" and NUMBERED.fullmatch(number):
        file = project.path / "labels" / f"{number}.html"
    if file is None or not file.is_file():
        raise DataError(f"there is no page {name!r}; was it removed?")
    return FileResponse(file, media_type="text/html", headers=PAGE_HEADERS)


def download(project: Project, name: str) -> Response:
    """An exported file, or the model of a run as ``model-N``.

    Raises:
        DataError: There is no such file.
    """
    number = name.removeprefix("model-")
    if number != name:
        file, shown = project.run(number).model_path, f"{project.name}-{number}.safetensors"
    elif name in {one["file"] for one in _exports(project)}:
        file, shown = project.path / "exports" / name, name
    else:
        raise DataError(f"there is no export {name!r}; was it removed?")
    if file.is_dir():
        file, shown = _zipped(file), f"{shown}.zip"
    if not file.is_file():
        raise DataError(f"there is no file {shown!r}; was it removed?")
    return FileResponse(file, filename=shown, media_type="application/octet-stream")


def _zipped(folder: Path) -> Path:
    """A folder as one hidden file beside it."""
    with atomic_path(folder.with_name(f".{folder.name}.zip")) as temporary:
        # Weights do not become smaller.
        with zipfile.ZipFile(temporary, "w") as archive:
            for one in sorted(folder.iterdir()):
                archive.write(one, f"{folder.name}/{one.name}")
    return folder.with_name(f".{folder.name}.zip")


def _describe_run(run: RunFolder) -> dict[str, Any]:
    return {
        "number": run.path.name,
        "is_finished": run.is_finished,
        "has_model": (run.path / MODEL_FILE).is_file(),
        "can_resume": not run.is_finished and bool(list_checkpoints(run.checkpoints_path)),
        "has_report": (run.path / "report.html").is_file(),
    }


def _exports(project: Project) -> list[dict[str, Any]]:
    folder = project.path / "exports"
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(filter(Path.exists, folder.iterdir()), key=lambda one: -one.stat().st_mtime):
        if not path.name.startswith("."):
            files = [path] if path.is_file() else [one for one in path.iterdir() if one.is_file()]
            found.append({"file": path.name, "size": size(sum(one.stat().st_size for one in files))})
    return found
