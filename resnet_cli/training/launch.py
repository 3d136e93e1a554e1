"""``finetune --devices N``: TorchElastic starts one process per device, and all again if one is killed."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from resnet_cli.config.base import flag_name
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.errors import ConfigError, Interrupted, ResnetCliError, SetupError
from resnet_cli.runs import RunFolder
from resnet_cli.system.caches import temporary_folder
from resnet_cli.system.device import choose_compute
from resnet_cli.system.events import Warned
from resnet_cli.system.paths import RUNS, refuse_existing
from resnet_cli.system.threads import num_threads
from resnet_cli.training import restarts
from resnet_cli.training.distributed import SINGLE_PROCESS, Distributed, PeerLost, count_devices, join_processes
from resnet_cli.training.events import OnEvent

#: The value that torch's examples of elastic training give to ``torchrun --max-restarts``.
MAX_RESTARTS = 3
#: Time in which a process that is told to stop ends its step or validation and saves; then it is killed.
SHUTDOWN_S = 600
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class WorkerEnded(Exception):
    """A process that is not the main one has ended early; the main process says why.

    Args:
        exit_code: Exit code of this process.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneRequest:
    """What the command line of ``finetune`` asks for.

    Attributes:
        data: DATA, or with ``resume`` the run folder; None for the default, or the newest interrupted run.
        flags: Field of the config -> value, for the fields that were given.
        config_file: The value of ``--config``; ``flags`` take precedence over it.
        resume: Whether to continue a run.
        moved_to: Where the images of a run that is continued are now; None: where they were.
        dry_run: Whether to plan only.
        switches: Other arguments, such as ``--json``.
    """

    data: str | None
    flags: Mapping[str, Any]
    config_file: Path | None = None
    resume: bool = False
    moved_to: str | None = None
    dry_run: bool = False
    switches: Sequence[str] = ()

    def command_line(self) -> list[str]:
        """The arguments of Python for one of several processes that carry out the request."""
        flags = dict(self.flags) | {"devices": None}
        shown = {flag_name(FinetuneConfig, name): value for name, value in flags.items() if value is not None}
        shown |= {"--config": self.config_file} if self.config_file else {}
        shown |= {name: ",".join(value) for name, value in shown.items() if isinstance(value, list)}
        options = [name if value is True else f"{name}={value}" for name, value in shown.items() if value is not False]
        resume = ["--resume"] if self.resume else []
        resume += [f"--data={self.moved_to}"] if self.moved_to is not None else []
        data = [] if self.data is None else ["--", self.data]
        return ["-m", "resnet_cli", "finetune", *options, *resume, *self.switches, *data]


def num_started() -> int | None:
    """Number of processes that ``torchrun`` has started, this one included; None without ``torchrun``."""
    if not all(os.environ.get(name) for name in _VARIABLES):
        return None
    size = os.environ["WORLD_SIZE"]
    return int(size) if size.isdecimal() else None


def is_restarted(out: Path | None) -> bool:
    """Whether ``torchrun`` has started the processes again after one of them was killed in the run ``out``.

    Must be called once by all processes: they wait for each other.

    Raises:
        SetupError: The other processes do not connect.
    """
    return num_started() is not None and restarts.has_rounds() and restarts.begin_round(out)


@contextlib.contextmanager
def joined(size: int | None) -> Iterator[Distributed]:
    """Joins the processes that ``torchrun`` has started; only the main process raises what went wrong.

    Raises:
        WorkerEnded: In every other process.
    """
    if size is None or size == 1:
        yield SINGLE_PROCESS
        return
    is_silent = False
    try:
        with join_processes() as distributed:
            is_silent = not distributed.is_main
            yield distributed
    except (ResnetCliError, KeyboardInterrupt) as error:
        if not is_silent:
            if isinstance(error, PeerLost) and error.hint is None:
                error.hint = "if it is not started again: torchrun ... -m resnet_cli finetune --resume RUN"
            raise
        raise WorkerEnded(getattr(error, "exit_code", Interrupted("").exit_code)) from None


def launch(
    num: int, request: FinetuneRequest, config: FinetuneConfig, *, run: RunFolder | None, on_event: OnEvent
) -> int:
    """Runs ``finetune`` in several processes on this machine, and continues it when one of them is killed.

    Args:
        num: Number of processes, one per device.
        request: The request, for all processes.
        config: The config that it gives.
        run: The run to continue; None for a new one.
        on_event: Called with a warning when a process was killed.

    Returns:
        The exit code of the main process.

    Raises:
        ConfigError: There are fewer devices.
        SetupError: Processes were killed again and again.
    """
    _check_devices(num, config.device)
    refuse_existing(config.out)
    folder = run or RunFolder(config.out or _new_folder(config.data))
    again = FinetuneRequest(data=str(folder.path), flags={}, resume=True, switches=request.switches)
    command = dataclasses.replace(request, flags={**request.flags, "out": folder.path})
    if run:
        command = dataclasses.replace(request, data=str(folder.path))
    # Each process would use all cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, num_threads() // num)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SHUTDOWN_S))
    for _ in range(1 + MAX_RESTARTS):
        codes = _run_processes(num, command.command_line())
        killed = {rank: -code for rank, code in codes.items() if code < 0 and code != -signal.SIGTERM}
        # SetupError: the main process only reports that another process has ended.
        if not killed or codes.get(0, 0) not in {*range(-64, 0), SetupError.exit_code}:
            return _exit_code(codes)
        if run is None:
            folder.discard()
        command = again if folder.path.exists() else command
        where = f"from the newest checkpoint of {folder.path}" if command is again else "from the beginning"
        rank, number = next(iter(killed.items()))
        on_event(Warned((f"process {rank} was killed (signal {number}): all {num} continue {where}",)))
    raise SetupError(
        f"processes were killed {1 + MAX_RESTARTS} times, the last one by signal {number}",
        hint="is there enough memory for all of them? Try fewer --devices",
    )


def _check_devices(num: int, device: str) -> None:
    if ":" in device:
        raise ConfigError(f"--device {device} is one device, --devices {num}: choose one of the two flags")
    # A precision that does not query the GPU, which would allocate memory on it.
    compute = choose_compute(device, "fp32")
    count = count_devices(compute)
    if num > count:
        raise ConfigError(
            f"--devices {num}: this machine has only {count} usable device{'' if count == 1 else 's'} ({compute.type})",
            hint=f"use --devices {max(1, count)}",
        )


def _new_folder(data: str) -> Path:
    name = re.sub(r"[^\w.-]+", "-", Path(data).absolute().stem) or "data"
    # The process's number makes the name unique: the folder is created later, by another process.
    return RUNS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"


def _run_processes(num: int, command: list[str]) -> dict[int, int]:
    """Runs Python on a command line in several processes; returns the exit codes of those that failed, by rank.

    A signal goes to all of them and gives the exit code 128 + its number; the first one that fails ends the others.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Our own messages replace those of TorchElastic.
    logging.disable(logging.ERROR)
    try:
        with temporary_folder() as logs:
            # As ``torchrun --standalone`` does it, but without restarts, which it makes after errors of every kind.
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=num,
                run_id=uuid.uuid4().hex,
                rdzv_backend="c10d",
                rdzv_endpoint="localhost:0",
                local_addr="localhost",
                max_restarts=0,
                logs_specs=DefaultLogsSpecs(log_dir=str(logs)),
            )
            elastic_launch(config, sys.executable)(*command)
    except ChildFailedError as error:
        return {rank: failure.exitcode for rank, failure in error.failures.items()}
    except SignalException as stop:
        return {0: 128 + stop.sigval}
    finally:
        logging.disable(logging.NOTSET)
    return {}


def _exit_code(codes: Mapping[int, int]) -> int:
    """The exit code of the main process, or that of the process whose failure ended it."""
    main_code = codes.get(0, 0)
    if main_code >= 0:
        return main_code
    return next((code for code in codes.values() if code > 0), 128 + signal.SIGTERM)
