"""What the clicks of the studio's page do: one handler for each request."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from resnet_cli.errors import ConfigError, DataError
from resnet_cli.serving.access import Access
from resnet_cli.serving.limits import read_images
from resnet_cli.studio import view
from resnet_cli.studio.calls import (
    Call,
    Settings,
    audit_call,
    export_call,
    in_folder,
    inspect_call,
    resume_call,
    train_call,
)
from resnet_cli.studio.changes import change
from resnet_cli.studio.jobs import WORKER, Job, Jobs, Kind
from resnet_cli.studio.project import Image, Project
from resnet_cli.studio.projects import create_project, find_project, list_projects
from resnet_cli.studio.trial import LIMITS, Trial
from resnet_cli.studio.uploads import add_archive, add_images

#: Maximum size of a JSON body, in bytes.
_MAX_JSON = 1_000_000


class Studio:
    """The projects of a folder, and what the page does with them.

    Args:
        root: Folder of the projects.
        settings: What the command line says about every command.
        access: Which requests are allowed; it has a token.
        worker: The program that carries out commands, with its arguments.
    """

    def __init__(self, root: Path, settings: Settings, access: Access, worker: Sequence[str] = WORKER) -> None:
        assert access.token is not None
        self.root, self.settings, self.access = root, settings, access
        #: Lets a browser open images and pages, which cannot send a header; it allows nothing else.
        self.view_key = hmac.new(access.token.encode(), b"view", hashlib.sha256).hexdigest()
        self.jobs = Jobs(self._on_end, worker)
        self.trial = Trial()
        self._changing = asyncio.Lock()

    def project(self, request: Request) -> Project:
        """The project that a path names."""
        return find_project(self.root, request.path_params["project"])

    def _on_end(self, job: Job) -> None:
        stored = {"command": in_folder(job.project.path, job.call.line()), "options": job.options}
        if job.state == "done":
            results = job.project.read_state()
            result = stored | {"result": job.result, "stamp": job.options.get("stamp"), "epochs": job.epochs}
            if job.kind == "train":
                assert job.result is not None
                job.project.store("train", results.get("train", {}) | {job.result["run"]: result})
                job.project.store("failure", None)
            elif job.kind != "export":
                job.project.store(job.kind, result)
        elif job.kind == "train":
            job.project.store("failure", stored | {"state": job.state, "message": job.message, "hint": job.hint})

    async def state(self, request: Request) -> Response:
        """Projects, the current job, and whether there are weights."""
        job = self.jobs.job
        return view.Answer(
            {
                "projects": [view.summarize_project(project) for project in list_projects(self.root)],
                "root": str(self.root),
                "job": job and job.to_dict(),
                "weights": await view.describe_weights(self.settings),
                "view_key": self.view_key,
            }
        )

    async def events(self, request: Request) -> Response:
        """The current job, and every change of it, as one JSON object per line for as long as the page listens."""
        # A training is likely to begin soon.
        await self.jobs.prepare()

        async def lines() -> AsyncIterator[str]:
            async for message in self.jobs.listen():
                yield json.dumps(message) + "\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def create(self, request: Request) -> Response:
        """Creates a project."""
        project = create_project(self.root, str((await read_json(request)).get("name", "")))
        return view.Answer(view.describe_project(project, self.settings), 201)

    async def show(self, request: Request) -> Response:
        """Everything about a project."""
        return view.Answer(await asyncio.to_thread(view.describe_project, self.project(request), self.settings))

    async def change(self, request: Request) -> Response:
        """Changes classes or images, and shows the command that does the same."""
        project, asked = self.project(request), await read_json(request)
        # Not in the way of other requests, but one at a time: two could choose the same free name.
        async with self._changing:
            lines = await asyncio.to_thread(change, project, asked)
        return view.Answer({"command": in_folder(project.path, *lines)})

    async def upload(self, request: Request) -> Response:
        """Adds images to a class."""
        project, label = self.project(request), request.path_params["label"]
        project.folder_of(label)
        uploads = await read_images(request, LIMITS)
        return view.Answer(await asyncio.to_thread(add_images, project, label, uploads))

    async def archive(self, request: Request) -> Response:
        """Adds the images of an archive."""
        project = self.project(request)
        return view.Answer(await add_archive(project, request, request.query_params.get("name", "")))

    async def start(self, request: Request) -> Response:
        """Starts a command."""
        project, asked = self.project(request), await read_json(request)
        kind, call = _call(project, self.settings, asked)
        job = await self.jobs.start(kind, project, call, stamp=project.stamp())
        return view.Answer({"job": job.to_dict()}, 202)

    async def cancel(self, request: Request) -> Response:
        """Stops the current command as Ctrl-C does, or at once."""
        if (await read_json(request)).get("now"):
            await self.jobs.kill()
        else:
            await self.jobs.stop()
        return view.Answer({"job": self.jobs.job and self.jobs.job.to_dict()})

    async def predict(self, request: Request) -> Response:
        """Predictions of a run's model; without images, its classes."""
        project = self.project(request)
        run = project.run(request.path_params["run"])
        name = f"{project.name}, training {run.path.name}"
        if request.method == "GET":
            return Response(await self.trial.about(run.path, name), media_type="application/json")
        return Response(await self.trial.predict(request, run.path, name), media_type="application/json")

    async def thumbnail(self, request: Request) -> Response:
        """A small copy of an image."""
        image = Image(request.path_params["label"], request.path_params["name"])
        known = request.headers.get("if-none-match", "")
        return await asyncio.to_thread(view.thumbnail, self.project(request), image, known)

    async def page(self, request: Request) -> Response:
        """A page that a command has written."""
        return view.page(self.project(request), request.path_params["name"])

    async def download(self, request: Request) -> Response:
        """An exported file."""
        return await asyncio.to_thread(view.download, self.project(request), request.path_params["name"])


async def read_json(request: Request) -> dict[str, Any]:
    """The JSON object in a request's body.

    Raises:
        HTTPException: There is none.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "send application/json", {"connection": "close"})
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MAX_JSON:
            raise HTTPException(413, f"the body is over the limit of {_MAX_JSON:,} bytes", {"connection": "close"})
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise HTTPException(400, "send a JSON object")
    return found


def _call(project: Project, settings: Settings, asked: dict[str, Any]) -> tuple[Kind, Call]:
    """The command that the page asks for."""
    run = str(asked.get("run", ""))
    match asked.get("kind"):
        case "inspect":
            return "inspect", inspect_call(settings)
        case "train":
            _require_classes(project)
            return "train", train_call(project, settings, recipe=str(asked.get("recipe", "frozen")))
        case "resume":
            return "train", resume_call(project, run)
        case "audit":
            return "audit", audit_call(project, settings, run)
        case "export":
            return "export", export_call(project, settings, run, str(asked.get("format", "onnx")))
        case other:
            raise ConfigError(f"there is no work of the kind {other!r}")


def _require_classes(project: Project) -> None:
    filled = [name for name, images in project.classes().items() if images]
    if len(filled) < 2:
        raise DataError("a training needs images of at least two classes", hint="add another class, and images to it")
