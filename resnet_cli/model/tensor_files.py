"""Tensors and metadata from files of other people: safetensors, or ``.pth`` with ``weights_only=True``.

Nothing is unpickled that could run code.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import re
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_cli.errors import ModelError, UntrustedFileError
from resnet_cli.model.facts import METADATA_KEY
from resnet_cli.model.foreign_files import is_safetensors, refuse_foreign
from resnet_cli.model.inert import ALLOWED
from resnet_cli.model.model_path import INDEX_SUFFIX
from resnet_cli.text import first_of, shorten

#: Size in bytes above which a file is not the list of a model's files.
MAX_INDEX_BYTES = 10_000_000
#: How torch's reader names what it refuses.
_NAMED = re.compile(r"(?:GLOBAL|class|function) ([\w.]+\.\w+)")
#: Where the classes of networks are: a file that names them is a pickled object with code elsewhere.
_WHOLE_MODELS = ("torch.nn.modules.", "torchvision.models.", "timm.models.", "ultralytics.", "fastai.", "models.")
_LOADING = threading.Lock()


def read_metadata(path: Path) -> dict[str, Any] | None:
    """The metadata that this program wrote into a safetensors file; None for other files.

    Raises:
        ModelError: The file is damaged, or it is not a weights file.
    """
    if path.name.endswith(INDEX_SUFFIX) or not _holds_safetensors(path):
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


def read_state(path: Path) -> Any:
    """The content of a weights file, on the CPU: tensors by name, or a checkpoint that contains them somewhere.

    The content decides how a file is read, not its extension.

    Args:
        path: A safetensors file, what ``torch.save`` wrote, or the ``.index.json`` of a model in several files.

    Raises:
        ModelError: The file is damaged, or it is not a weights file.
        UntrustedFileError: It names more than tensors and plain data, and could run code when loaded.
    """
    if path.name.endswith(INDEX_SUFFIX):
        return _read_parts(path)
    if not _holds_safetensors(path):
        return _unpickle(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{path}: not a complete safetensors file ({error})", hint="download or copy it again"
        ) from error


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """All tensors of a file of nothing but named tensors, such as a model file of this program, on the CPU.

    Raises:
        ModelError: The file is damaged, or contains something else.
        UntrustedFileError: It could run code when loaded.
    """
    state = read_state(path)
    if not isinstance(state, dict) or not all(map(is_plain, state.values())):
        raise ModelError(f"{path}: not a state dict of tensors")
    return {str(name): tensor for name, tensor in state.items()}


def is_plain(value: object) -> bool:
    """Whether a value is a dense tensor of real numbers with its data."""
    return (
        isinstance(value, Tensor)
        and value.device.type == "cpu"
        and value.layout == torch.strided
        and not (value.is_complex() or value.is_quantized)
    )


def _unpickle(path: Path) -> Any:
    """Loads what ``torch.save`` wrote; what is not tensors becomes plain data or a placeholder (``inert.py``)."""
    try:
        # The list of names is torch's own, for the whole process: not while another thread is about to leave it.
        with (
            # Not the path: torch.load reads every file that is called .safetensors as safetensors.
            path.open("rb") as file,
            _LOADING,
            torch.serialization.safe_globals(ALLOWED),
            warnings.catch_warnings(action="ignore"),
        ):
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _untrusted(path, error) from error
    except Exception as error:
        # The file is untrusted, and torch's reader fails in more ways than it documents.
        if "magic number" in str(error):
            raise ModelError(
                f"{path}: a pickle file that torch.save did not write", hint="give a .pth or .safetensors file"
            ) from error
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise ModelError(f"{path}: not a complete .pth file ({reason})", hint="download or copy it again") from error


def _untrusted(path: Path, error: pickle.UnpicklingError) -> UntrustedFileError:
    """The refusal of a file that names more than tensors: what it names, and how its owner can save the tensors."""
    named = set(_NAMED.findall(str(error)))
    with contextlib.suppress(Exception):
        # All of them, where torch can list them.
        named |= set(torch.serialization.get_unsafe_globals_in_checkpoint(path)) - {
            str(name) for _, name in ALLOWED[1:]
        }
    named -= {"argparse.Namespace"}
    first = next((name for name in sorted(named) if name.startswith(_WHOLE_MODELS)), None)
    what = "more than tensors" if not named else first_of([shorten(name, 60) for name in sorted(named)], 3)
    if first is not None:
        what = f"a whole pickled model ({shorten(first, 60)})"
    hint = "ask for it as .safetensors, or save its state_dict() alone"
    if first is not None:
        key = "['model']" if first.startswith("ultralytics.") else ""
        hint = (
            'if you trust it, save its tensors where its library is installed: python -c "import torch; '
            f"m = torch.load('{path.name}', weights_only=False){key}; torch.save(m.state_dict(), 'weights.pth')\""
        )
    return UntrustedFileError(f"{path}: contains {what} and could run code when loaded; it was not loaded", hint=hint)


def _read_parts(index: Path) -> dict[str, Tensor]:
    """The tensors of a model in several files. Source: transformers, ``*.index.json``, "weight_map"."""
    try:
        if index.stat().st_size > MAX_INDEX_BYTES:
            raise ValueError("it is too large")
        names = {str(name) for name in json.loads(index.read_bytes())["weight_map"].values()}
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(f"{index}: not an index of weights files ({error})") from error
    tensors: dict[str, Tensor] = {}
    for name in sorted(names):
        path = index.parent / name
        if Path(name).name != name or not path.is_file():
            raise ModelError(
                f"{index}: its part {shorten(name, 80)} is not beside it", hint="download all parts into one folder"
            )
        tensors |= read_tensors(path)
    return tensors


def _holds_safetensors(path: Path) -> bool:
    """Whether a file is safetensors rather than what torch.save writes.

    Raises:
        ModelError: It is neither.
    """
    is_named = path.suffix == ".safetensors"
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from error
    if is_named and not head:
        raise ModelError(f"{path}: not a complete safetensors file: it is empty", hint="download it again")
    refuse_foreign(path)
    # A zip file, or a pickle of protocol 2 or later.
    is_torch = head[:2] == b"PK" or head[:1] == b"\x80"
    if is_safetensors(head) or (is_named and not is_torch):
        return True
    if not is_torch:
        raise ModelError(
            f"{path}: not a {path.suffix or 'weights'} file, despite its name",
            hint="give a .safetensors file, or a .pth file that torch.save wrote",
        )
    return False
