"""A socket, a server on it, and an end that leaves nobody without an answer."""

from __future__ import annotations

import signal
import socket
from types import FrameType
from typing import NamedTuple

import uvicorn
from starlette.applications import Starlette

from resnet_cli.errors import SetupError

#: Seconds an idle connection is kept for the next request.
_KEEP_ALIVE_S = 15
#: Connections that the system holds while none is accepted.
_BACKLOG = 512


class Address(NamedTuple):
    """Where a server listens."""

    listening: socket.socket
    url: str


def listen(host: str, port: int) -> Address:
    """Takes an address; from then on clients may connect, and wait.

    Args:
        host: A name or number; IPv6 without brackets.
        port: 0 for any that is free.

    Raises:
        SetupError: It is taken, or none of this machine's.
    """
    try:
        family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.create_server(where[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        hint = f"--port {port + 1}, or --port 0 for any that is free" if port < 65_535 else "--port 0"
        raise SetupError(f"cannot listen on {host} port {port}: {error.strerror or error}", hint=hint) from error
    shown = f"[{host}]" if family == socket.AF_INET6 else host
    return Address(listening, f"http://{shown}:{listening.getsockname()[1]}")


def serve(app: Starlette, address: Address, *, grace_s: float) -> None:
    """Serves until a signal ends it: takes no more connections then, and answers what it took.

    Args:
        app: Of :func:`resnet_cli.serving.app.make_app`.
        address: Of :func:`listen`; closed at the end.
        grace_s: How long answers may take from then on.

    Raises:
        KeyboardInterrupt: The signal, once all is answered.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        lifespan="on",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=round(grace_s),
    )
    with address.listening:
        _Server(config).run(sockets=[address.listening])


class _Server(uvicorn.Server):
    """Leaves a signal alone that the parent process has set to be ignored, as a shell does in the background."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._is_sigint_ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins to end."""
        if not (sig == signal.SIGINT and self._is_sigint_ignored):
            super().handle_exit(sig, frame)
