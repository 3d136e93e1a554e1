"""A Ray cluster: joined or started, kept quiet, divided into workers, and its failures explained.

Only this module imports Ray.

Source: https://docs.ray.io/en/latest/ray-core/configure.html, and "Token authentication" there for RAY_AUTH_MODE.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

from resnet_cli.errors import SetupError, missing_extra
from resnet_cli.installation import install_command
from resnet_cli.system.muting import STDERR, muted
from resnet_cli.system.threads import num_threads
from resnet_cli.version import __version__

#: ``auto`` takes GPUs where the cluster has any.
Device: TypeAlias = Literal["auto", "cpu", "cuda"]
CONNECT_TIMEOUT_S = 10
#: Size of the object store of a cluster on this machine: it holds names and one copy of the model.
_STORE_BYTES = 1_000_000_000
#: By default Ray prints a lot on stderr and stdout. Its usage statistics are off since this package was imported.
_ENVIRONMENT = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    # Otherwise every death of a worker is printed on stdout, which is for results.
    "RAY_DEDUP_LOGS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".?",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclasses.dataclass(frozen=True)
class Workers:
    """How a cluster is divided.

    Attributes:
        num: Number of workers.
        num_cpus: Number of cores, and threads, per worker.
        num_gpus: Number of GPUs per worker, 0 or 1.
    """

    num: int
    num_cpus: int
    num_gpus: int


def load_ray() -> Any:
    """Imports Ray and keeps it quiet.

    Raises:
        SetupError: It is not installed.
    """
    os.environ.update(_ENVIRONMENT)
    try:
        ray = importlib.import_module("ray")
        importlib.import_module("ray.data")
    except ImportError as error:
        raise missing_extra("--engine ray needs Ray, which is not installed", "ray") from error
    return ray


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[Any]:
    """Joins a cluster, or starts one on this machine alone.

    Args:
        address: ``host:port``, or ``auto`` for the cluster that this machine belongs to; None: a new one.

    Yields:
        The Ray module, connected.

    Raises:
        SetupError: There is no cluster, or it runs another version of Ray.
    """
    ray = load_ray()
    if address is not None and address != "auto":
        _check_reachable(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address is None:
        options |= {"num_cpus": num_threads(), "include_dashboard": False, "object_store_memory": _STORE_BYTES}
    try:
        with _own_signals(), muted(STDERR), _without_usage_process(), _own_token(address):
            ray.init(address=address or "local", **options)
    except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
        if address is None:
            raise SetupError(f"Ray cannot be started: {_first_line(error)}") from error
        raise _no_cluster(address, error) from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Refuses an address where nothing listens; Ray itself would try for ten minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> SetupError:
    return SetupError(
        f"--ray-address {address}: no cluster there: {_first_line(error)}",
        hint="start one: ray start --head; this command must run on one of its machines, and with RAY_AUTH_MODE=token "
        "where the cluster asks for a token",
    )


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Restores the command's signal handler, which Ray replaces."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _own_token(address: str | None) -> Iterator[None]:
    """Gives a cluster on this machine a secret of its own; otherwise Ray writes one into the user's home.

    Source: ray/_private/authentication/authentication_token_setup.py; a user's own settings come first.
    """
    names = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE")
    if address is not None or any(os.environ.get(name) for name in names):
        yield
        return
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    try:
        yield
    finally:
        del os.environ["RAY_AUTH_TOKEN"]


@contextlib.contextmanager
def _without_usage_process() -> Iterator[None]:
    """Keeps Ray from starting the process that reports its usage.

    Without a dashboard, this is the only purpose of the process. Where usage statistics are off, it still asks the
    metadata services of three clouds whether the machine is theirs, which includes looking up a name.

    Source: ray/dashboard/modules/usage_stats/usage_stats_head.py, and ``start_api_server`` in ray/_private/services.py,
    which returns the same if the process cannot be started.
    """
    services: Any = importlib.import_module("ray._private.services")
    start = services.start_api_server
    services.start_api_server = lambda *_, **__: (None, None)
    try:
        yield
    finally:
        services.start_api_server = start


def divide(ray: Any, device: Device, num_blocks: int) -> Workers:
    """One worker per GPU if there are any, else one per core.

    Args:
        ray: The Ray module, connected.
        device: Devices to use; ``cpu`` uses no GPU.
        num_blocks: Number of blocks; more workers than this would be idle.

    Raises:
        SetupError: The cluster has no GPU, or no core.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    with_gpus = [node for node in nodes if node.get("GPU", 0) >= 1] if device != "cpu" else []
    if with_gpus:
        num_cpus = max(1, min(int(node.get("CPU", 1) // node["GPU"]) for node in with_gpus))
        return Workers(min(num_blocks, sum(int(node["GPU"]) for node in with_gpus)), num_cpus, 1)
    if device == "cuda":
        raise SetupError("--device cuda: the cluster has no GPU", hint="remove --device")
    num_cpus = sum(int(node.get("CPU", 0)) for node in nodes)
    if not num_cpus:
        raise SetupError("the cluster has no CPU to compute on", hint="ray status shows what it has")
    return Workers(min(num_blocks, num_cpus), 1, 0)


def explained(ray: Any, error: Exception) -> Exception:
    """The error for the user if the cluster failed; an error in a worker's own code is returned as it is."""
    if "No module named 'resnet_cli'" in str(error):
        return SetupError(
            f"a machine of the cluster has no resnet-cli {__version__}",
            hint=f"install it there: {install_command('ray', elsewhere=True)}",
        )
    if isinstance(error, ray.exceptions.RayTaskError | ray.exceptions.UserCodeException):
        return error  # type: ignore[no-any-return]
    return SetupError(
        f"the cluster failed: {_first_line(error)}", hint="see ray status; the same command continues with the rest"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:300]
