"""Two processes that train one network; run as a program, this file is one of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from support.running import TINY, command_environment, tolerance

from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.errors import DataError, ResnetCliError
from resnet_cli.history import EpochRecord
from resnet_cli.training.assembly import start_network
from resnet_cli.training.checkpoint import read_newest, write_checkpoint
from resnet_cli.training.distributed import LINGER, SINGLE_PROCESS, Distributed, join_processes
from resnet_cli.training.events import Event, MemoryShort, StepDone
from resnet_cli.training.loop import FitOptions, fit
from resnet_cli.training.plan import make_plan
from resnet_cli.training.state import TrainState
from resnet_cli.training.task_network import NetworkTraining

pytest_plugins = ["support.small_runs"]

SIZE = 2
RECIPE: dict[str, Any] = {
    "mode": "full",
    "epochs": 2,
    "limit": 12,
    "batch_size": 6,
    "lr": 0.001,
    "head_lr": 0.001,
    **TINY,
}


class Checkpointing:
    """Writes a checkpoint after one step of the training, as the chief."""

    def __init__(self, folder: Path | None, distributed: Distributed, at: int) -> None:
        self.folder, self.distributed, self.at = folder, distributed, at

    def keep_if_best(self, record: EpochRecord) -> bool:
        return True

    def on_step_end(self, train_state: TrainState) -> None:
        if self.folder and self.distributed.is_main and train_state.counters.num_steps == self.at:
            write_checkpoint(self.folder, train_state.capture(), num_steps=self.at)

    def on_epoch_end(self, train_state: TrainState) -> None: ...

    def save_now(self, train_state: TrainState) -> str:
        return ""


def train(photos: str, distributed: Distributed, *, batchnorm: str, into: Path | None = None,
          out_of: Path | None = None, short: bool = False, accumulate: int = 1) -> dict[str, Any]:  # fmt: skip
    values = {"data": photos, "batchnorm": batchnorm, "accumulate": accumulate, **RECIPE}
    plan = make_plan(resolve(FinetuneConfig, values))
    network = start_network(plan)
    training = NetworkTraining(plan, network, distributed)
    if out_of:
        found = read_newest(out_of)
        assert found
        training.train_state.restore(found[0])
    if short:
        forward, once = network.forward, iter([True])

        def fails_once(images: torch.Tensor) -> torch.Tensor:
            if next(once, False):
                raise torch.OutOfMemoryError("out of memory")
            return forward(images)

        network.forward = fails_once  # type: ignore[method-assign]
    events: list[Event] = []
    fit(training.train_state, training.task(), FitOptions(plan.epochs, warmup=0.1), compute=plan.compute,
        callback=Checkpointing(into, distributed, at=3), on_event=events.append, distributed=distributed)  # fmt: skip
    digest = hashlib.sha256(b"".join(x.numpy().tobytes() for x in network.state_dict().values()))
    return {
        "losses": [event.loss for event in events if isinstance(event, StepDone)],
        "history": [dataclasses.asdict(record) | {"seconds": 0} for record in training.train_state.counters.history],
        "digest": digest.hexdigest(),
        "num_short": sum(isinstance(event, MemoryShort) for event in events),
    }


def is_first(folder: Path) -> bool:
    is_first = not (folder / "turn").exists()
    (folder / "turn").touch()
    return is_first


def main() -> None:
    photos, folder = sys.argv[1], Path(sys.argv[2])
    out: dict[str, Any] = {}
    try:
        with join_processes() as distributed:
            out["told"] = distributed.broadcast({"rank": distributed.rank})
            out["is_first"] = distributed.main_process_first(lambda: is_first(folder))
            out["largest"] = distributed.all_max(distributed.rank / 4)
            out["eval"] = train(photos, distributed, batchnorm="eval", short=not distributed.is_main)
            out["train"] = train(photos, distributed, batchnorm="train", into=folder / "checkpoints")
            out["resumed"] = train(photos, distributed, batchnorm="train", out_of=folder / "checkpoints")
            # Of three images in each process, two go through the network at once, and then one.
            out["odd"] = train(photos, distributed, batchnorm="train", accumulate=3)
            if not distributed.is_main:
                raise DataError("an image is gone", hint="bring it back")
            began = time.monotonic()
            try:
                distributed.wait()
            finally:
                out["waited_s"] = time.monotonic() - began
    except ResnetCliError as error:
        out["error"] = [type(error).__name__, error.message, error.hint]
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(out))


@pytest.fixture(scope="module")
def both(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the two processes say."""
    folder = tmp_path_factory.mktemp("team")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(SIZE):
        place = {"RANK": rank, "WORLD_SIZE": SIZE, "LOCAL_RANK": rank, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
        environment = command_environment() | {name: str(value) for name, value in place.items()}
        environment["RESNET_CLI_CACHE"] = str(folder / "cache")
        children.append(subprocess.Popen([sys.executable, __file__, str(photos), str(folder)], env=environment))
    assert [process.wait(timeout=300) for process in children] == [0] * SIZE
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(SIZE)]


def test_what_the_chief_tells_all_hear(both: list[dict[str, Any]]) -> None:
    assert [each["told"] for each in both] == [{"rank": 0}] * SIZE
    assert [each["largest"] for each in both] == [0.25] * SIZE


def test_one_process_does_first_what_the_others_find(both: list[dict[str, Any]]) -> None:
    assert [each["is_first"] for each in both] == [True, False]


def test_losses_of_two_processes_are_those_of_one(both: list[dict[str, Any]], photos: Path) -> None:
    alone = train(str(photos), SINGLE_PROCESS, batchnorm="eval")
    assert len(alone["losses"]) == 4
    for each in both:
        assert each["eval"]["losses"] == pytest.approx(alone["losses"], rel=tolerance(1e-4))
        for record, expected in zip(each["eval"]["history"], alone["history"], strict=True):
            numbers = [name for name, value in expected.items() if value is not None]
            assert [record[name] for name in numbers] == pytest.approx(
                [expected[name] for name in numbers], rel=tolerance(1e-4)
            )


def test_weights_and_statistics_are_the_same_in_all_processes(both: list[dict[str, Any]]) -> None:
    for name in ("eval", "train", "resumed", "odd"):
        assert both[0][name] | {"num_short": 0} == both[1][name] | {"num_short": 0}
    assert both[0]["train"]["digest"] != both[0]["eval"]["digest"]


def test_a_checkpoint_within_an_epoch_holds_what_all_processes_have_seen(both: list[dict[str, Any]]) -> None:
    whole, resumed = both[0]["train"], both[0]["resumed"]
    assert resumed["losses"] == whole["losses"][3:]
    assert resumed["history"] == whole["history"]
    assert resumed["digest"] == whole["digest"]


def test_a_process_that_runs_out_of_memory_alone_keeps_step(both: list[dict[str, Any]]) -> None:
    assert [each["eval"]["num_short"] for each in both] == [0, 1]
    assert both[0]["eval"]["losses"] == both[1]["eval"]["losses"]


def test_the_chief_says_why_another_process_ended(both: list[dict[str, Any]]) -> None:
    assert both[0]["error"] == ["DataError", "an image is gone (process 1)", "bring it back"]
    assert both[1]["error"][1] == "an image is gone"
    # It hears of it when it happens, and not when the other one has waited long enough.
    assert both[0]["waited_s"] < LINGER.total_seconds() / 2


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("num", [1, 4, 7])
def test_shares_are_the_whole_and_each_item_once(size: int, num: int) -> None:
    shares = [Distributed(rank, size).share(list(range(num))) for rank in range(size)]
    assert sorted(item for share in shares for item in share) == list(range(num))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_batches_too_small_for_the_team_are_refused(photos: Path) -> None:
    plan = make_plan(resolve(FinetuneConfig, {"data": str(photos), **RECIPE}))
    with pytest.raises(ResnetCliError, match="too small for 5 processes"):
        NetworkTraining(plan, start_network(plan), Distributed(0, 5))
    assert math.isclose(SINGLE_PROCESS.all_max(0.1), 0.1) and not SINGLE_PROCESS.any(False)


if __name__ == "__main__":
    main()
