"""Tensors and metadata from files of other people: safetensors, or ``.pth`` with ``weights_only=True``.

Nothing is unpickled that could run code.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_cli.errors import ModelError, UntrustedFileError
from resnet_cli.model.model_file import METADATA_KEY


def read_metadata(path: Path) -> dict[str, Any] | None:
    """The metadata that this program wrote into a safetensors file; None for other files.

    Raises:
        ModelError: The file is damaged.
    """
    if path.suffix != ".safetensors":
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
        about = None if text is None else json.loads(text)
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not a complete safetensors file ({error})") from error
    if about is not None and not (isinstance(about, dict) and isinstance(about.get("preprocess"), dict)):
        raise ModelError(f"{path}: damaged metadata")
    return about


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """All tensors of a ``.safetensors`` or ``.pth`` file, on the CPU.

    Raises:
        ModelError: The file is damaged, or contains something else.
        UntrustedFileError: It is a ``.pth`` file that would run code when loaded.
    """
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors: Any = load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelError(f"{path}: not a complete safetensors file ({error})") from error
        return dict(tensors)
    _check_magic(path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UntrustedFileError(
            f"{path}: contains more than tensors and could run code when loaded",
            hint="ask for it as .safetensors, or save its state_dict() alone",
        ) from error
    except Exception as error:
        # The file is untrusted, and torch's reader fails in more ways than it documents.
        raise ModelError(f"{path}: not a complete .pth file ({error})") from error
    state = loaded.get("state_dict", loaded.get("model", loaded)) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not all(map(_is_plain, state.values())):
        raise ModelError(f"{path}: not a state dict of tensors")
    # DistributedDataParallel adds this prefix to every name.
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def _check_magic(path: Path) -> None:
    """Refuses a web page or a Git LFS pointer that was saved as ``.pth``, with a message that says so."""
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from error
    # A zip file, or a pickle of protocol 2 or later.
    if start != b"PK" and start[:1] != b"\x80":
        raise ModelError(
            f"{path}: not a .pth file, despite its name",
            hint="it may be a saved web page or a pointer to the real file: open it, then download it again",
        )


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.device.type == "cpu"
        and value.layout == torch.strided
        and not (value.is_complex() or value.is_quantized)
    )
