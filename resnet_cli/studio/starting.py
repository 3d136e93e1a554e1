"""Starts the studio's server, then serves until a signal comes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_cli.config.studio import StudioConfig
from resnet_cli.errors import Interrupted, missing_extra
from resnet_cli.network.registry import HUB_WEIGHTS, WEIGHTS
from resnet_cli.studio.calls import Settings
from resnet_cli.system.paths import check_writable, make_dir, user_path

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from resnet_cli.serving.server import Address

#: Seconds that the last requests, and a training that saves, may take once a signal has come.
GRACE_S = 10.0


@dataclasses.dataclass(frozen=True)
class StartedStudio:
    """A server that listens, before it serves.

    Attributes:
        address: Where it listens.
        app: The HTTP app.
        token: What the page must send.
        root: Folder of the projects.
        end_events: Ends the responses that last as long as the page is open.
    """

    address: Address
    app: Starlette
    token: str
    root: Path
    end_events: Callable[[], None]

    @property
    def url(self) -> str:
        """Address of the page with the token, which a browser sends to no server."""
        return f"{self.address.url}/#token={self.token}"

    def serve(self) -> None:
        """Serves until a signal comes.

        Raises:
            Interrupted: A signal came; a training that was running has saved what it keeps.
        """
        from resnet_cli.serving.server import serve

        try:
            serve(self.app, self.address, grace_s=GRACE_S, on_stop=self.end_events)
        except KeyboardInterrupt as interrupt:
            kept = f"everything is kept in {self.root}"
            raise Interrupted(kept, signal=getattr(interrupt, "signal", None)) from None


def start_studio(config: StudioConfig) -> StartedStudio:
    """Starts to listen; clients can connect from then on, and wait.

    Raises:
        ResnetCliError: See ``resnet_cli.errors``.
    """
    try:
        import python_multipart  # noqa: F401

        from resnet_cli.serving.access import Access
        from resnet_cli.serving.server import listen
        from resnet_cli.studio.actions import Studio
        from resnet_cli.studio.app import OPEN_PATHS, make_app
    except ImportError as error:
        raise missing_extra(f"studio needs {error.name}, which is not installed", "serve") from error
    address = listen("127.0.0.1", config.port)
    with contextlib.ExitStack() as stack:
        stack.enter_context(address.listening)
        root = Path(os.path.abspath(user_path(config.dir)))
        make_dir(root)
        check_writable(root / "project")
        settings = Settings(_find_weights(config.weights), config.offline)
        stack.pop_all()
    token = secrets.token_urlsafe(24)
    studio = Studio(root, settings, Access(token, OPEN_PATHS, is_local=True))
    return StartedStudio(address, make_app(studio), token, root, lambda: studio.jobs.tell(None))


def _find_weights(spec: str) -> str:
    """The value of ``--weights`` for a process in another folder.

    Raises:
        ConfigError: There is no such file.
    """
    from resnet_cli.model.model_path import resolve_model_path
    from resnet_cli.network.hub import is_spec

    if spec in {"auto", "none", *WEIGHTS, *HUB_WEIGHTS} or is_spec(spec):
        return spec
    path = user_path(spec)
    resolve_model_path(path, "--weights")
    return os.path.abspath(path)
