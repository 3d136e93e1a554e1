"""Checkpoints: everything that an interrupted training needs to continue bit by bit.

Each checkpoint is a safetensors file that is written atomically and read back. Two are kept, so that one of them is
intact at any moment of a power failure.
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

from resnet_cli.errors import DataError, DiskError, ModelError
from resnet_cli.runs import list_checkpoints
from resnet_cli.system.paths import disk_errors, make_dir, write_bytes

#: Version of the format; increased when an older reader would misread it.
SCHEMA_VERSION = 1
METADATA_KEY = "resnet_cli_checkpoint"
#: Number of checkpoints kept: the newest, and the one before it in case the disk loses the newest.
NUM_KEPT = 2


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """State of a training after a step.

    Attributes:
        tensors: ``network.*``, ``optimizer.*``, ``average.*``, ``best.*`` and the sums of the loop.
        values: JSON values: epoch, step, history, rates.
    """

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under a prefix, without it."""
        return {name.removeprefix(prefix): x for name, x in self.tensors.items() if name.startswith(prefix)}


def write_checkpoint(folder: Path, checkpoint: Checkpoint, *, num_steps: int) -> Path:
    """Writes a checkpoint, reads it back, and removes all but the newest two.

    Args:
        folder: Folder of the run's checkpoints.
        checkpoint: The state; its tensors may be on any device.
        num_steps: Number of all steps so far, for the file name.

    Raises:
        DiskError: It cannot be written, or other bytes are read back; earlier checkpoints are kept.
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
        raise DiskError(f"{path}: other bytes were read back than were written", hint="check the disk")
    drop_after(folder, num_steps)
    prune(folder, keep=NUM_KEPT)
    return path


def prune(folder: Path, *, keep: int) -> None:
    """Removes all but the newest checkpoints, and the temporary files of killed writes."""
    _remove([*list_checkpoints(folder)[keep:], *folder.glob(".*.tmp")])


def drop_after(folder: Path, num_steps: int) -> None:
    """Removes the checkpoints of later steps, which a divergence has made useless."""
    _remove([path for path in list_checkpoints(folder) if path.name > _name(num_steps)])


def read_newest(folder: Path) -> tuple[Checkpoint, tuple[str, ...]] | None:
    """Reads the newest intact checkpoint.

    Returns:
        The checkpoint and the reasons why newer ones were skipped; None if there is no checkpoint.

    Raises:
        ModelError: All checkpoints are damaged.
    """
    damaged: list[str] = []
    for path in list_checkpoints(folder):
        try:
            return _read(path), tuple(damaged)
        except ModelError as error:
            damaged.append(error.message)
    if damaged:
        raise ModelError(
            f"every checkpoint in {folder} is damaged: {damaged[0]}", hint="start a new run: resnet-cli finetune DATA"
        )
    return None


def require_same_inputs(values: Mapping[str, Any], *, data: str, weights: str) -> None:
    """Checks that a training has the images and the initial weights of the one that wrote a checkpoint.

    Args:
        values: The values of the checkpoint.
        data: Fingerprint of the images.
        weights: SHA-256 of the initial weights if a file of the user holds them, else empty.

    Raises:
        DataError: The checkpoint was trained on other images.
        ModelError: It began with other weights.
    """
    if values["data"] != data:
        raise DataError(
            "the images have changed since this run began: it cannot be continued",
            hint="start a new run: resnet-cli finetune DATA",
        )
    # Checkpoints of earlier versions do not tell.
    if values.get("weights", weights) != weights:
        raise ModelError(
            "the weights that this run began with have other content now: it cannot be continued",
            hint="restore the file, or name it if it was moved: --weights FILE",
        )


def read_values(folder: Path) -> Mapping[str, Any] | None:
    """The values of the newest checkpoint, without its tensors; None if there is none that can be read."""
    for path in list_checkpoints(folder):
        with contextlib.suppress(ModelError):
            return _read_values(path)
    return None


def _read_values(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            values = json.loads((file.metadata() or {})[METADATA_KEY])["values"]
        if not isinstance(values, dict) or "data" not in values:
            raise ValueError("values are missing")
        return values
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ModelError(f"{path}: not a complete checkpoint ({error})") from error


def _read(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(METADATA_KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not a complete checkpoint ({error})") from error
    if not isinstance(about, dict) or about.get("schema_version") != SCHEMA_VERSION:
        raise ModelError(f"{path}: not a checkpoint that this program can read")
    values = about.get("values")
    if not isinstance(values, dict) or about.get("sha256") != _digest(tensors, values):
        raise ModelError(f"{path}: its content differs from what was written")
    return Checkpoint(tensors, values)


def _name(num_steps: int) -> str:
    return f"step-{num_steps:09d}.safetensors"


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        # A file that cannot be removed only takes space.
        with contextlib.suppress(OSError):
            path.unlink()


def _digest(tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
