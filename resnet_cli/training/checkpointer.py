"""What a training keeps while it runs: the weights of the best epoch, the history and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from resnet_cli.history import EpochRecord, kept_text, selection_key
from resnet_cli.runs import RunFolder, list_checkpoints
from resnet_cli.training.checkpoint import Checkpoint, prune, require_same_inputs, write_checkpoint
from resnet_cli.training.environment import changes_since
from resnet_cli.training.state import TrainState

#: Maximum share of the time for checkpoints at the end of epochs; a long epoch always gets one.
CHECKPOINT_SHARE = 0.05
#: Age of the last checkpoint after which another one is written within an epoch.
CHECKPOINT_EVERY_S = 600.0
#: Interval at which the best model so far is written: `predict` can use it during the training.
MODEL_EVERY_S = 60.0


class Checkpointer:
    """Keeps the best epoch in memory, and everything else in the run folder.

    Args:
        folder: The run folder.
        snapshot: Returns the current tensors of the model that differ from the initial weights.
        write_model: Writes the model file from such tensors.
        data: Fingerprint of the images, which checkpoints store.
        weights: SHA-256 of the initial weights if a file of the user holds them, which checkpoints store.
        environment: What the training runs on, from :func:`describe_environment`; checkpoints store it.
        every_s: Seconds between checkpoints within an epoch; None for the default.
        writes: Whether this process writes files; True only in the main process.

    Attributes:
        best: Record of the best epoch; None before the first.
        state: Tensors of the best epoch, on the CPU.
        changes: What has changed whenever the run was resumed, in words.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        snapshot: Callable[[], Mapping[str, Tensor]],
        write_model: Callable[[Mapping[str, Tensor], EpochRecord], object],
        data: str = "",
        weights: str = "",
        environment: Mapping[str, str] | None = None,
        every_s: float | None = None,
        writes: bool = True,
    ) -> None:
        self.best: EpochRecord | None = None
        self.snapshot = snapshot
        self._folder = folder
        self._write_model = write_model
        self._every_s = CHECKPOINT_EVERY_S if every_s is None else every_s
        self._always = every_s is not None
        self._data, self._weights = data, weights
        self._environment = dict(environment or {})
        self.changes: list[str] = []
        self._writes = writes
        self.state: dict[str, Tensor] = {}
        self._checkpoint_at = self._model_at = time.perf_counter()
        self._checkpoint_s = 0.0
        self._model_is_best = False
        self._saved_at: tuple[int, int] | None = None

    def keep_if_best(self, record: EpochRecord) -> bool:
        """Keeps the current weights if the epoch is the best so far."""
        if self.best is not None and selection_key(record) <= selection_key(self.best):
            return False
        self.best = record
        self.state = {name: tensor.detach().to("cpu", copy=True) for name, tensor in self.snapshot().items()}
        self._model_is_best = False
        return True

    def on_step_end(self, train_state: TrainState) -> None:
        """Writes a checkpoint if the last one is old enough."""
        if time.perf_counter() - self._checkpoint_at >= self._every_s:
            self._write_checkpoint(train_state)

    def on_epoch_end(self, train_state: TrainState) -> None:
        """Writes the history, and a checkpoint and the model unless that would slow down the training."""
        if self._writes:
            self._folder.write_history(train_state.counters.history)
        now = time.perf_counter()
        if self._always or CHECKPOINT_SHARE * (now - self._checkpoint_at) >= self._checkpoint_s:
            self._write_checkpoint(train_state)
        if now - self._model_at >= MODEL_EVERY_S and not self._model_is_best:
            self.save_model()

    def save_now(self, train_state: TrainState) -> str:
        """Writes a checkpoint, the history and the best model; returns a sentence that says what is kept."""
        self._write_checkpoint(train_state)
        state = train_state.counters
        if self._writes:
            self._folder.write_history(state.history)
        if self.best is None:
            return f"kept {self._folder.path} after step {state.num_steps}; {self._folder.continue_with}"
        return self.save_best(state.history)

    def save_best(self, history: Sequence[EpochRecord]) -> str:
        """Writes the best model; returns a sentence that says what is kept."""
        assert self.best is not None
        self.save_model()
        which = kept_text(history).removeprefix("kept ")
        kept = f"kept {self._folder.model_path} ({which}, validation {self.best.val_text})"
        has_checkpoint = bool(list_checkpoints(self._folder.checkpoints_path))
        return f"{kept}; {self._folder.continue_with}" if has_checkpoint else kept

    def save_model(self) -> None:
        """Writes the best model so far."""
        assert self.best is not None
        if self._writes:
            self._write_model(self.state, self.best)
        self._model_at, self._model_is_best = time.perf_counter(), True

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restores the best epoch from a checkpoint, and compares the environment with the one that wrote it.

        Raises:
            DataError: The checkpoint was trained on other images.
            ModelError: It began with other weights.
        """
        require_same_inputs(checkpoint.values, data=self._data, weights=self._weights)
        self.state = checkpoint.part("best.")
        best = checkpoint.values.get("best")
        self.best = EpochRecord.from_dict(best) if best else None
        self._saved_at = checkpoint.values["epoch"], checkpoint.values["step"]
        new = changes_since(checkpoint.values.get("environment"), self._environment)
        self.changes = [*checkpoint.values.get("changes", ()), *new]

    def finish(self, train_state: TrainState) -> None:
        """Keeps only the last checkpoint, from which the training can be extended."""
        if self._saved_at != (train_state.counters.epoch, train_state.counters.step):
            self._write_checkpoint(train_state)
        if self._writes:
            prune(self._folder.checkpoints_path, keep=1)

    def _write_checkpoint(self, train_state: TrainState) -> None:
        began = time.perf_counter()
        if self._writes:
            state = train_state.capture()
            best = self.best.to_dict() if self.best else None
            values: dict[str, Any] = {**state.values, "best": best, "data": self._data}
            values |= {"environment": self._environment, "changes": self.changes, "weights": self._weights}
            tensors = {**state.tensors, **{f"best.{name}": x for name, x in self.state.items()}}
            write_checkpoint(
                self._folder.checkpoints_path, Checkpoint(tensors, values), num_steps=train_state.counters.num_steps
            )
        self._saved_at = train_state.counters.epoch, train_state.counters.step
        self._checkpoint_at = time.perf_counter()
        self._checkpoint_s = self._checkpoint_at - began


def head_tensors(head: torch.nn.Module) -> dict[str, Tensor]:
    """A head's tensors under the names that they have in the network."""
    return {f"fc.{name}": tensor for name, tensor in head.state_dict().items()}
