"""The processes that train one network together; usually there is only one.

Each batch is split over the processes and gradients are summed, so all processes always have the same weights.
BatchNorm normalizes by the images of its own process, as in torch's DistributedDataParallel; its running statistics are
the mean over the processes.

The main process (rank 0) writes files and reports; if another process fails, the main process reports why.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import datetime
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from resnet_cli.errors import ResnetCliError, SetupError
from resnet_cli.system.device import Compute

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import PrefixStore

#: Time that a process waits for the first message of the others.
JOINING = datetime.timedelta(minutes=10)
#: Time that it waits for their work: a download, or a pass over all images. The end of a process is noticed earlier, by
#: its closed connection and by its launcher.
PATIENCE = datetime.timedelta(days=1)
#: Time that a failed process waits until the main process has saved its work and reported: the launcher ends all
#: processes when the first one ends.
LINGER = datetime.timedelta(seconds=60)

T = TypeVar("T")


class PeerLost(SetupError):
    """Another process has ended during a collective operation."""


@dataclasses.dataclass(frozen=True)
class Distributed:
    """Rank of this process among those that share a training, and their collective operations.

    Attributes:
        rank: Rank of this process; rank 0 is the main process.
        size: Number of processes.
        local_rank: Rank on this machine, which is the number of the GPU.

    All methods except :meth:`share` and :meth:`place` must be called by all processes, in the same order, and raise
    PeerLost if one of them has ended.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this is the main process, which writes files and reports."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of a batch; every item is in exactly one part."""
        return items[self.rank :: self.size]

    def place(self, compute: Compute) -> Compute:
        """Assigns each process of a machine its own GPU.

        Raises:
            SetupError: There are fewer GPUs than processes, or none that supports several processes.
        """
        if self.size == 1 or compute.type == "cpu":
            return compute
        count = count_devices(compute)
        if self.local_rank >= count:
            raise SetupError(f"process {self.local_rank + 1} of this machine finds {count} usable GPUs")
        torch.cuda.set_device(self.local_rank)
        return dataclasses.replace(compute, device=f"cuda:{self.local_rank}")

    def all_reduce_(self, tensors: Sequence[Tensor]) -> None:
        """Sums tensors over all processes, in place, with one message for each dtype."""
        self._exchange(tensors, lambda flat: dist.all_reduce(flat))

    def copy_(self, tensors: Sequence[Tensor]) -> None:
        """Overwrites tensors with those of the main process, with one message for each dtype."""
        self._exchange(tensors, lambda flat: dist.broadcast(flat, src=0))

    def all_max(self, value: float) -> float:
        """The largest value over all processes."""
        if self.size == 1:
            return value
        # On the CPU even if gradients are on a GPU, so that no process waits for queued work there.
        found = torch.tensor(value, dtype=torch.float64)
        with _peers_needed():
            dist.all_reduce(found, op=dist.ReduceOp.MAX)
        return found.item()

    def any(self, flag: bool) -> bool:
        """Whether the flag is True in any process."""
        return self.all_max(float(flag)) > 0

    def wait(self) -> None:
        """Waits until all processes have called this."""
        self.all_max(0.0)

    def broadcast(self, value: T) -> T:
        """The value of the main process, which must be JSON; the values of the others are ignored."""
        if self.size == 1:
            return value
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        length = torch.tensor(len(data))
        self.copy_([length])
        data = data if self.is_main else torch.empty(int(length), dtype=torch.uint8)
        self.copy_([data])
        told: T = json.loads(bytes(data.tolist()))
        return told

    def main_process_first(self, work: Callable[[], T]) -> T:
        """Runs the work in one process per machine first, then in the others, which use its downloads and caches."""
        if self.local_rank == 0:
            result = work()
            self.wait()
        else:
            self.wait()
            result = work()
        # The next operation may change what another process is still reading.
        self.wait()
        return result

    def _exchange(self, tensors: Sequence[Tensor], send: Callable[[Tensor], Any]) -> None:
        if self.size == 1:
            return
        for kind in sorted({(str(tensor.dtype), tensor.device.type) for tensor in tensors}):
            group = [tensor for tensor in tensors if (str(tensor.dtype), tensor.device.type) == kind]
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            with _peers_needed():
                send(flat)
            for tensor, part in zip(group, torch.split(flat, [tensor.numel() for tensor in group]), strict=True):
                tensor.copy_(part.view_as(tensor))


SINGLE_PROCESS = Distributed()


@contextlib.contextmanager
def join_processes() -> Iterator[Distributed]:
    """Joins the processes that ``torchrun`` has started with this one, and leaves them at the end.

    If one process fails, all of them end; the main process ends last and reports the reason.

    Raises:
        SetupError: The other processes cannot be reached.
    """
    # The default arguments of its functions keep the process group that exists when torch imports it, which it does by
    # itself during a training: connections would stay open after the end of the group, and hide a failure.
    import torch.distributed.nn.functional

    # A build of torch may lack these modules.
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    has_gpu = torch.cuda.is_available()
    try:
        store, rank, size = next(rendezvous("env://", timeout=JOINING))
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if has_gpu else "gloo", store=store, rank=rank, world_size=size, timeout=PATIENCE
        )
    except (RuntimeError, ValueError) as error:
        raise SetupError(f"cannot reach the other processes of this training: {error}") from error
    notes = PrefixStore(f"resnet-cli/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    distributed = Distributed(rank, size, int(os.environ.get("LOCAL_RANK", rank)))
    if distributed.is_main:
        # At exit, since the main process still reports after this block.
        atexit.register(_leave_note, notes, "over", {})
    try:
        yield distributed
    except PeerLost:
        dist.destroy_process_group()
        if distributed.is_main and (reason := _read_reason(notes)):
            raise reason from None
        _wait_for_main(distributed, notes)
        raise
    except BaseException as error:
        if not distributed.is_main:
            _leave_note(notes, "failed", _describe(rank, error))
        dist.destroy_process_group()
        _wait_for_main(distributed, notes)
        raise
    dist.destroy_process_group()


def count_devices(compute: Compute) -> int:
    """Number of devices of this kind that several processes can use on this machine; unlimited for a CPU."""
    if compute.type == "cpu":
        return 2**16
    return torch.cuda.device_count() if compute.type == "cuda" else 0


@contextlib.contextmanager
def _peers_needed() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # "[/build/.../pair.cc:561] Connection closed by peer [127.0.0.1]:57759. This is typically ..."
        reason = str(error).split("\n")[0].partition(". ")[0].rpartition("] ")[2]
        raise PeerLost(f"another process of this training has ended ({reason})") from error


def _describe(rank: int, error: BaseException) -> dict[str, Any]:
    if isinstance(error, ResnetCliError):
        return {"code": error.code, "message": f"{error.message} (process {rank})", "hint": error.hint}
    return {"code": "", "message": f"process {rank}: {error!r}", "hint": None}


def _leave_note(notes: PrefixStore, name: str, value: dict[str, Any]) -> None:
    # The store ends with the process that hosts it.
    with contextlib.suppress(RuntimeError):
        notes.set(name, json.dumps(value))


def _read_reason(notes: PrefixStore) -> ResnetCliError | None:
    """The error of another process that has ended; None if it was killed."""
    try:
        if not notes.check(["failed"]):
            return None
        value = json.loads(notes.get("failed"))
    except RuntimeError:
        return None
    kinds = {kind.code: kind for kind in ResnetCliError.__subclasses__()}
    return kinds.get(value["code"], ResnetCliError)(value["message"], hint=value["hint"])


def _wait_for_main(distributed: Distributed, notes: PrefixStore) -> None:
    if not distributed.is_main:
        with contextlib.suppress(RuntimeError):
            notes.wait(["over"], LINGER)
