"""``finetune --devices N``: a process for each device, started by TorchElastic, and again when one is killed."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from resnet_cli.cli import EXIT_INTERRUPTED, output
from resnet_cli.errors import ConfigError, ResnetCliError, SetupError

if TYPE_CHECKING:
    from resnet_cli.config.finetune import FinetuneConfig
    from resnet_cli.runs import RunFolder
    from resnet_cli.training.distributed import Distributed

#: As ``torchrun --max-restarts`` has it where elastic training is shown.
MAX_RESTARTS = 3
#: A process that is told to stop ends its step or validation and saves; after that it is killed.
SHUTDOWN_S = 600
_MEMBER_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def num_members() -> int | None:
    """Processes that ``torchrun`` has started together with this one; None if it was not ``torchrun``."""
    if not all(os.environ.get(name) for name in _MEMBER_VARIABLES):
        return None
    size = os.environ["WORLD_SIZE"]
    return int(size) if size.isdecimal() else None


def is_started_again(out: Path | None) -> bool:
    """Whether ``torchrun`` has started the processes again, in place of ones that were killed in the run ``out``.

    To be asked once, by all of them: they wait for each other.

    Raises:
        SetupError: The others do not come.
    """
    from resnet_cli.training import restarts

    return num_members() is not None and restarts.has_rounds() and restarts.begin_round(out)


@contextlib.contextmanager
def joined(members: int | None) -> Iterator[Distributed]:
    """The processes of this process, in which only the main process says why it ends."""
    from resnet_cli.training.distributed import SINGLE_PROCESS, PeerLost, join_processes

    if members is None or members == 1:
        yield SINGLE_PROCESS
        return
    is_silent = False
    try:
        with join_processes() as processes:
            is_silent = not processes.is_main
            yield processes
    except (ResnetCliError, KeyboardInterrupt) as error:
        if not is_silent:
            if isinstance(error, PeerLost) and error.hint is None:
                error.hint = "if it is not started again: torchrun ... -m resnet_cli finetune --resume RUN"
            raise
        raise typer.Exit(getattr(error, "exit_code", EXIT_INTERRUPTED)) from None


def launch(num: int, arguments: Mapping[str, Any], config: FinetuneConfig, *, run: RunFolder | None) -> int:
    """Runs ``finetune`` in several processes on this machine, and goes on with it when one of them is killed.

    Args:
        num: Processes, one a device.
        arguments: Of the command, by the flags' names; ``data`` is DATA. ``devices`` is left out.
        config: What they come to.
        run: One that is resumed; None for a new one.

    Returns:
        The exit code of the process that talks.

    Raises:
        ConfigError: There are fewer devices.
        SetupError: Processes were killed again and again.
    """
    _check_devices(num, config.device)
    from resnet_cli.runs import RunFolder
    from resnet_cli.system.paths import refuse_existing
    from resnet_cli.system.threads import num_threads

    refuse_existing(config.out)
    folder = run or RunFolder(config.out or _new_folder(config.data))
    again = {name: arguments.get(name) for name in ("json", "quiet")} | {"data": folder.path, "resume": True}
    command = dict(arguments) | {"data" if run else "out": folder.path, "devices": None}
    # Each process would use all cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, num_threads() // num)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SHUTDOWN_S))
    for _ in range(1 + MAX_RESTARTS):
        codes = _run_processes(num, _command_line(command))
        killed = {rank: -code for rank, code in codes.items() if code < 0 and code != -signal.SIGTERM}
        # SetupError: the main process only says that another one is gone.
        if not killed or codes.get(0, 0) not in {*range(-64, 0), SetupError.exit_code}:
            return _exit_code(codes)
        if run is None:
            folder.discard()
        command = again if folder.path.exists() else command
        where = f"from the newest checkpoint of {folder.path}" if command is again else "from the beginning"
        rank, number = next(iter(killed.items()))
        output.warn(f"process {rank} was killed (signal {number}): all {num} go on {where}")
    raise SetupError(
        f"processes were killed {1 + MAX_RESTARTS} times, the last one by signal {number}",
        hint="is there memory enough for all of them? Try fewer --devices",
    )


def _check_devices(num: int, device: str) -> None:
    from resnet_cli.system.device import choose_compute
    from resnet_cli.training.distributed import count_devices

    if ":" in device:
        raise ConfigError(f"--device {device} is one device, --devices {num}: choose one of the two flags")
    # A precision that needs no look at the GPU: that would keep memory on it.
    compute = choose_compute(device, "fp32")
    count = count_devices(compute)
    if num > count:
        raise ConfigError(
            f"--devices {num}: this machine has {count} of kind {compute.type} that can work together",
            hint=f"use --devices {max(1, count)}",
        )


def _new_folder(data: str) -> Path:
    from resnet_cli.system.paths import RUNS

    name = re.sub(r"[^\w.-]+", "-", Path(data).absolute().stem) or "data"
    # The process's number: the folder is made later, and nobody else's may have the name by then.
    return RUNS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"


def _command_line(arguments: Mapping[str, Any]) -> list[str]:
    options = {name: value for name, value in arguments.items() if value is not None and value is not False}
    data = options.pop("data", None)
    flags = [f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}") for name, value in options.items()]
    return ["-m", "resnet_cli", "finetune", *flags, *([] if data is None else ["--", str(data)])]


def _run_processes(num: int, command: list[str]) -> dict[int, int]:
    """Runs Python on a command line in several processes; returns the exit codes of those that failed, by rank.

    A signal goes to all of them, and the first one that fails ends the others.

    Raises:
        typer.Exit: A signal ended them.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Our own messages tell what it would tell in its way.
    logging.disable(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as logs:
            # As ``torchrun --standalone`` does it. Starting again is ours: it does so after errors of every kind.
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=num,
                run_id=uuid.uuid4().hex,
                rdzv_backend="c10d",
                rdzv_endpoint="localhost:0",
                local_addr="localhost",
                max_restarts=0,
                logs_specs=DefaultLogsSpecs(log_dir=logs),
            )
            elastic_launch(config, sys.executable)(*command)
    except ChildFailedError as error:
        return {rank: failure.exitcode for rank, failure in error.failures.items()}
    except SignalException as stop:
        raise typer.Exit(128 + stop.sigval) from None
    finally:
        logging.disable(logging.NOTSET)
    return {}


def _exit_code(codes: Mapping[int, int]) -> int:
    """The main process's code; where it was ended because another one had failed, that one's."""
    main_code = codes.get(0, 0)
    if main_code >= 0:
        return main_code
    return next((code for code in codes.values() if code > 0), 128 + signal.SIGTERM)
