"""Restarts by ``torchrun``: when a process ends, it starts all of them again, and they must find each other.

``torchrun`` keeps one store for all rounds of a job, in which processes would find the addresses of ended processes;
and it counts the rounds of each machine separately, so some processes would not know that theirs is not the first.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from resnet_cli.errors import SetupError

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

#: Interval in seconds at which the store is polled.
POLL_S = 0.05
#: Keys in the job's store: the newest round, and whether the run folder existed before the first round.
ROUND, WAS_THERE = "resnet-cli/round", "resnet-cli/was-there"
#: Servers of this round's store; a store closes with its object.
_servers: list[TCPStore] = []

T = TypeVar("T")


def has_rounds() -> bool:
    """Whether ``torchrun`` may restart this process and keeps its store."""
    is_kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return is_kept and os.environ.get("TORCHELASTIC_MAX_RESTARTS") != "0"


def begin_round(out: Path | None) -> bool:
    """Waits for the other processes of this round and agrees with them on a new store.

    Its address is set in the environment, where torch reads it.

    Args:
        out: The run folder that the first round creates.

    Returns:
        Whether an earlier round has created the folder, so that this round continues it; the same in all processes.

    Raises:
        SetupError: The other processes do not connect, or torchrun has ended.
    """
    # If the first process ends, the others report it in one sentence instead of forty lines of C++.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    from resnet_cli.training.distributed import JOINING

    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    deadline = time.monotonic() + JOINING.total_seconds()
    try:
        store = TCPStore(host, port, size, is_master=False, timeout=JOINING)
        agreed = _lead(store, size, out, deadline) if rank == 0 else _follow(store, rank, deadline)
    except RuntimeError as error:
        reason = str(error).split("\n")[0]
        raise SetupError(f"cannot reach the other processes of this training: {reason}") from error
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "False", "MASTER_PORT": str(agreed["port"])}
    os.environ["TORCHELASTIC_RESTART_COUNT"] = agreed["count"]
    return bool(agreed["continues"])


def _lead(store: TCPStore, size: int, out: Path | None, deadline: float) -> dict[str, Any]:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    continues = _continues(store, out)
    server = TCPStore(os.environ["MASTER_ADDR"], 0, size, is_master=True, wait_for_workers=False, multi_tenant=True)
    _servers.append(server)
    name = f"{ROUND}/{uuid.uuid4().hex}"
    store.set(ROUND, name)
    others = [f"{name}/{rank}" for rank in range(1, size)]
    _wait_for(lambda: (not others or store.check(others)) or None, deadline)
    count = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    tokens = [store.get(key).decode() for key in others]
    agreed = {"port": server.port, "continues": continues, "count": count, "tokens": tokens}
    store.set(f"{name}/agreed", json.dumps(agreed))
    return agreed


def _follow(store: TCPStore, rank: int, deadline: float) -> dict[str, Any]:
    token = uuid.uuid4().hex

    def look() -> dict[str, Any] | None:
        if not store.check([ROUND]):
            return None
        name = store.get(ROUND).decode()
        store.set(f"{name}/{rank}", token)
        if not store.check([f"{name}/agreed"]):
            return None
        agreed: dict[str, Any] = json.loads(store.get(f"{name}/agreed"))
        # Otherwise this is an earlier round, and the current one is not published yet.
        return agreed if agreed["tokens"][rank - 1] == token else None

    return _wait_for(look, deadline)


def _continues(store: TCPStore, out: Path | None) -> bool:
    from resnet_cli.runs import RunFolder

    if out is None:
        return False
    # The value of the first round is kept: a folder that existed before is refused in every round.
    was_there = store.compare_set(WAS_THERE, "", "yes" if os.path.lexists(out) else "no")
    if was_there == b"yes":
        return False
    if (out / "split.csv").is_file():
        return True
    # The process was killed before it wrote anything.
    RunFolder(out).discard()
    return False


def _wait_for(look: Callable[[], T | None], deadline: float) -> T:
    # Polled in Python, where signals are handled; torch's own waiting ignores them.
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise SetupError(
                "the other processes of this training did not connect", hint="is torchrun running on every machine?"
            )
        time.sleep(POLL_S)
    return found
