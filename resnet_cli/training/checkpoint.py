"""Checkpoints: everything that a training needs to go on as if nothing had happened.

One safetensors file a checkpoint, written atomically, read back, and two kept: whatever moment the power goes,
one of them is whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_cli.errors import DiskError, ModelError
from resnet_cli.runs import list_checkpoints
from resnet_cli.system.paths import disk_errors, make_dir, write_bytes

#: Raised when an old reader would misread it.
SCHEMA_VERSION = 1
METADATA_KEY = "resnet_cli_checkpoint"
#: The newest, and the one before it for a disk that loses the newest.
NUM_KEPT = 2


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The state of a training after some step.

    Attributes:
        tensors: ``network.*``, ``optimizer.*``, ``average.*``, ``best.*`` and what else the loop keeps.
        values: Plain JSON values: epoch, step, history, rates.
    """

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under a prefix, without it."""
        return {name.removeprefix(prefix): x for name, x in self.tensors.items() if name.startswith(prefix)}


def write_checkpoint(folder: Path, checkpoint: Checkpoint, *, num_steps: int) -> Path:
    """Writes a checkpoint, reads it back, and removes all but the newest two.

    Args:
        folder: Of the run's checkpoints.
        checkpoint: Tensors may be on any device.
        num_steps: Steps taken since the first; names the file.

    Raises:
        DiskError: It cannot be written, or the disk gives back other bytes; earlier ones stand.
    """
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    values = dict(checkpoint.values)
    about = {"schema_version": SCHEMA_VERSION, "sha256": _digest(tensors, values), "values": values}
    data = save(tensors, metadata={METADATA_KEY: json.dumps(about)})
    make_dir(folder)
    path = folder / _name(num_steps)
    write_bytes(path, data)
    with disk_errors(path, "read"):
        is_whole = path.read_bytes() == data
    if not is_whole:
        path.unlink(missing_ok=True)
        raise DiskError(f"{path}: the disk gives back other bytes than were written", hint="check the disk")
    drop_after(folder, num_steps)
    prune(folder, keep=NUM_KEPT)
    return path


def prune(folder: Path, *, keep: int) -> None:
    """Removes all but the newest checkpoints, and what a killed write has left."""
    _remove([*list_checkpoints(folder)[keep:], *folder.glob(".*.tmp")])


def drop_after(folder: Path, num_steps: int) -> None:
    """Removes the checkpoints of later steps: those of a way that was given up."""
    _remove([path for path in list_checkpoints(folder) if path.name > _name(num_steps)])


def read_newest(folder: Path) -> tuple[Checkpoint, tuple[str, ...]] | None:
    """Reads the newest checkpoint that is whole.

    Returns:
        The checkpoint, and why newer ones were passed over; None if there is none at all.

    Raises:
        ModelError: There are some, and none is whole.
    """
    damaged: list[str] = []
    for path in list_checkpoints(folder):
        try:
            return _read(path), tuple(damaged)
        except ModelError as error:
            damaged.append(error.message)
    if damaged:
        raise ModelError(
            f"no checkpoint of {folder} is whole: {damaged[0]}", hint="start again: resnet-cli finetune DATA"
        )
    return None


def _read(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(METADATA_KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not a whole checkpoint ({error})") from error
    if not isinstance(about, dict) or about.get("schema_version") != SCHEMA_VERSION:
        raise ModelError(f"{path}: not a checkpoint that this program can read")
    values = about.get("values")
    if not isinstance(values, dict) or about.get("sha256") != _digest(tensors, values):
        raise ModelError(f"{path}: its content is not what was written")
    return Checkpoint(tensors, values)


def _name(num_steps: int) -> str:
    return f"step-{num_steps:09d}.safetensors"


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        # What cannot be removed takes space, and harms nothing else.
        with contextlib.suppress(OSError):
            path.unlink()


def _digest(tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
