"""The socket, the server on it, and a shutdown that finishes the requests in flight."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import NamedTuple

import uvicorn
from starlette.applications import Starlette

from resnet_cli.errors import SetupError

#: Seconds an idle connection is kept for the next request.
_KEEP_ALIVE_S = 15
#: Connections that the system queues until they are accepted.
_BACKLOG = 512


class Address(NamedTuple):
    """A listening socket and its URL."""

    listening: socket.socket
    url: str


def listen(host: str, port: int) -> Address:
    """Starts to listen; from then on clients can connect, and wait.

    Args:
        host: Name or number; IPv6 without brackets.
        port: Port; 0 takes any that is free.

    Raises:
        SetupError: The address is taken, or is not one of this machine's.
    """
    try:
        family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.create_server(where[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        hint = f"--port {port + 1}, or --port 0 for any that is free" if port < 65_535 else "--port 0"
        raise SetupError(f"cannot listen on {host} port {port}: {error.strerror or error}", hint=hint) from error
    shown = f"[{host}]" if family == socket.AF_INET6 else host
    return Address(listening, f"http://{shown}:{listening.getsockname()[1]}")


def serve(app: Starlette, address: Address, *, grace_s: float, on_stop: Callable[[], None] = lambda: None) -> None:
    """Serves until a signal comes; then accepts no more connections and finishes the requests in flight.

    Args:
        app: The app, from :func:`resnet_cli.serving.app.make_app`.
        address: The socket, from :func:`listen`; closed at the end.
        grace_s: Maximum time for the requests in flight, in seconds.
        on_stop: Called when a signal comes: ends responses that would otherwise last as long as the server.

    Raises:
        KeyboardInterrupt: The signal, once all requests are finished.
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
        _Server(config, on_stop).run(sockets=[address.listening])


class _Server(uvicorn.Server):
    """Keeps SIGINT ignored if the parent process ignores it, as a shell does for background jobs."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop
        self._is_sigint_ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins to shut down."""
        if not (sig == signal.SIGINT and self._is_sigint_ignored):
            self._on_stop()
            super().handle_exit(sig, frame)
