"""The rounds of ``torchrun``: when a process is gone it starts all of them again, and they have to find each other.

It keeps one store for all rounds of a job, so that processes would find the addresses of those that are gone; and it
counts the rounds of each machine apart, so that some would not know that theirs is not the first.
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

#: Between two looks at what the others have written.
POLL_S = 0.05
#: Keys in the job's store: the newest round, and whether the run folder was there before the first one.
ROUND, WAS_THERE = "resnet-cli/round", "resnet-cli/was-there"
#: Of this round; a store ends with the object.
_servers: list[TCPStore] = []

T = TypeVar("T")


def has_rounds() -> bool:
    """Whether ``torchrun`` may start this process again, with the store that it keeps."""
    is_kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return is_kept and os.environ.get("TORCHELASTIC_MAX_RESTARTS") != "0"


def begin_round(out: Path | None) -> bool:
    """Waits for the other processes of this round, and gives them a store that no earlier round has written to.

    What was agreed on is left in the environment, where torch looks for it.

    Args:
        out: The run folder that a first round is to make.

    Returns:
        Whether an earlier round has made it, so that this one goes on with it. All processes get the same answer.

    Raises:
        SetupError: The others do not come, or torchrun is gone.
    """
    # When the first process is gone the others say so in our words, and not in forty lines of C++.
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
    return bool(agreed["goes_on"])


def _lead(store: TCPStore, size: int, out: Path | None, deadline: float) -> dict[str, Any]:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    goes_on = _goes_on(store, out)
    server = TCPStore(os.environ["MASTER_ADDR"], 0, size, is_master=True, wait_for_workers=False, multi_tenant=True)
    _servers.append(server)
    name = f"{ROUND}/{uuid.uuid4().hex}"
    store.set(ROUND, name)
    others = [f"{name}/{rank}" for rank in range(1, size)]
    _wait_for(lambda: (not others or store.check(others)) or None, deadline)
    count = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    tokens = [store.get(key).decode() for key in others]
    agreed = {"port": server.port, "goes_on": goes_on, "count": count, "tokens": tokens}
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
        # Otherwise it is an earlier round, and this one's is still to be named.
        return agreed if agreed["tokens"][rank - 1] == token else None

    return _wait_for(look, deadline)


def _goes_on(store: TCPStore, out: Path | None) -> bool:
    from resnet_cli.runs import RunFolder

    if out is None:
        return False
    # Only the first round's answer stays. A folder that others have made is refused in every round.
    was_there = store.compare_set(WAS_THERE, "", "yes" if os.path.lexists(out) else "no")
    if was_there == b"yes":
        return False
    if (out / "split.csv").is_file():
        return True
    # Killed before anything was in it.
    RunFolder(out).discard()
    return False


def _wait_for(look: Callable[[], T | None], deadline: float) -> T:
    # In Python, where a signal is heard; torch's own waiting hears none.
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise SetupError(
                "the other processes of this training did not come", hint="is torchrun running on every machine?"
            )
        time.sleep(POLL_S)
    return found
