"""ResNet-50 weights on the Hugging Face Hub: ``hf:OWNER/NAME[@REVISION]`` and the short names of the registry.

Only safetensors are accepted, and only of a plain ResNet-50 of timm or transformers (``microsoft/resnet-50``). The
files are stored in the Hub's own cache, so that other tools share them. This module does not import torch.
"""

from __future__ import annotations

import errno
import importlib
import inspect
import logging
import re
import shlex
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_cli.errors import ConfigError, DiskError, ModelError, NetworkError, UntrustedFileError, missing_extra
from resnet_cli.network.download import is_offline, is_sound
from resnet_cli.network.model_config import CONFIG_FILE, PREPROCESSOR_FILE, read_model_config
from resnet_cli.network.registry import HUB_WEIGHTS, HubWeights
from resnet_cli.network.remote_file import OnProgress, RemoteFile
from resnet_cli.system.paths import FULL_DISK, MORE_ROOM, disk_errors

WEIGHTS_FILE = "model.safetensors"
# Source: huggingface_hub/utils/_validators.py (validate_repo_id).
_SPEC = re.compile(
    r"hf:(?!.*(?:--|\.\.|\.git(?:@|$)))(?P<repo>\b[\w.-]{1,96}\b/\b[\w.-]{1,96}\b)(?:@(?P<revision>\w[\w./-]*))?",
    re.ASCII,
)
_COMMIT = re.compile("[0-9a-f]{40}")
_DISK_ERRORS = FULL_DISK | {errno.EACCES, errno.EPERM, errno.ENOTDIR}


@dataclass(frozen=True)
class HubFile:
    """Weights in the Hub's cache.

    Attributes:
        path: The safetensors file.
        name: ``hf:OWNER/NAME@COMMIT``, which permanently identifies these bytes.
        preprocess: Argument of ``Preprocess.from_dict``; not validated yet.
        classes: Names of the head's classes in index order; None if the repository has no names.
    """

    path: Path
    name: str
    preprocess: dict[str, Any]
    classes: tuple[str, ...] | None


def is_spec(text: str) -> bool:
    """Whether a text denotes weights on the Hub."""
    return text in HUB_WEIGHTS or text.startswith("hf:")


def parse(spec: str) -> HubWeights:
    """Parses a short name of the registry, or ``hf:OWNER/NAME[@REVISION]``.

    Raises:
        ConfigError: It is neither.
    """
    if spec in HUB_WEIGHTS:
        return HUB_WEIGHTS[spec]
    found = _SPEC.fullmatch(spec)
    if not found:
        raise ConfigError(
            f"{spec[:200]}: not the name of weights on the Hub", hint="write hf:OWNER/NAME or hf:OWNER/NAME@REVISION"
        )
    return HubWeights(repo=found["repo"], revision=found["revision"])


def find_cached(weights: HubWeights) -> Path | None:
    """The weights file in the Hub's cache, not verified; None if there is none, or no huggingface_hub."""
    try:
        return _cached(weights.repo, WEIGHTS_FILE, weights.revision)
    except ImportError:
        return None


def fetch_weights(weights: HubWeights, *, offline: bool = False, on_progress: OnProgress | None = None) -> HubFile:
    """Finds weights in the Hub's cache, or downloads them.

    Args:
        weights: Weights from :func:`parse`.
        offline: Use only the cache.
        on_progress: Called with the bytes of the weights received so far, and the total.

    Raises:
        SetupError: huggingface_hub is not installed.
        ConfigError: There is no such repository or revision.
        NetworkError: The files cannot be downloaded, or have the wrong bytes.
        ModelError: The weights have a different architecture.
        UntrustedFileError: The repository has no safetensors.
        DiskError: The cache cannot be written.
    """
    config = _download(weights, CONFIG_FILE, weights.revision, offline=is_offline(offline))
    # From the commit of the description, even if the branch changes in between.
    commit = config.parent.name
    about = read_model_config(config, None, weights.spec)
    if about is not None and about.preprocess is None:
        preprocessor = _download(weights, PREPROCESSOR_FILE, commit, offline=is_offline(offline))
        about = read_model_config(config, preprocessor, weights.spec)
    if about is None or about.preprocess is None:
        raise _not_described(weights, f"its {CONFIG_FILE} is not one of theirs")
    path = _download(weights, WEIGHTS_FILE, commit, offline=is_offline(offline), on_progress=on_progress)
    _check_hash(path, weights)
    return HubFile(path, f"hf:{weights.repo}@{commit}", about.preprocess, about.classes)


def known_bytes(weights: HubWeights, path: Path) -> RemoteFile:
    """The expected bytes of the file at ``path``: the Hub's cache names large files by their SHA-256."""
    blob = path.resolve().name
    sha256 = weights.sha256 or (blob if re.fullmatch("[0-9a-f]{64}", blob) else None)
    return RemoteFile(name=blob, url="", sha256=sha256)


def _check_hash(path: Path, weights: HubWeights) -> None:
    blob = path.resolve()
    with disk_errors(blob, "read"):
        sound = is_sound(known_bytes(weights, path), blob)
    if not sound:
        raise NetworkError(
            f"{weights.spec}: {blob} has the wrong bytes",
            hint=f"remove it and run this again: rm {shlex.quote(str(blob))} {shlex.quote(str(path))}",
        )


def _download(
    weights: HubWeights, name: str, revision: str | None, *, offline: bool, on_progress: OnProgress | None = None
) -> Path:
    quiet_retries()
    try:
        from huggingface_hub import errors, hf_hub_download

        cached = _cached(weights.repo, name, revision)
    except ImportError as error:
        raise missing_extra(f"{weights.spec} needs huggingface_hub, which is not installed", "hub") from error
    if cached and (offline or _COMMIT.fullmatch(revision or "")):
        return cached
    if offline:
        # Not with local_files_only: from version 2.4 on, the library contacts the Hub even then.
        raise _unreachable(weights, "offline, and it is not in the Hub's cache")
    # Versions before 1.0 draw their own bar.
    takes_bar = "tqdm_class" in inspect.signature(hf_hub_download).parameters
    # Its second protocol has another bar, for the same bytes on the network.
    bar = silent_bar(on_progress, counts=lambda options: "downloading bytes" not in str(options.get("desc")))
    options: dict[str, Any] = {"tqdm_class": bar} if takes_bar else {}
    try:
        return Path(hf_hub_download(weights.repo, name, revision=revision, **options))
    except errors.LocalEntryNotFoundError as error:
        raise _unreachable(weights, "not in the Hub's cache, and the Hub cannot be reached") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        raise ConfigError(
            f"{weights.spec}: there is no such repository or revision, or it is private",
            hint="check the name; for a private or gated one: hf auth login",
        ) from error
    except errors.EntryNotFoundError as error:
        if name in {CONFIG_FILE, PREPROCESSOR_FILE}:
            raise _not_described(weights, f"it has no {name}") from error
        raise UntrustedFileError(
            f"{weights.spec} has no {WEIGHTS_FILE}; .bin and .pth files of the Hub could run code and are not accepted",
            hint="ask its owner for safetensors, or choose from: resnet-cli download --list",
        ) from error
    except Exception as error:
        # Errors of its HTTP library depend on the version.
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            raise DiskError(f"cannot write the Hub's cache: {error.strerror}", hint=MORE_ROOM) from error
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise NetworkError(f"cannot download {weights.spec}: {reason}", hint="run this again") from error


def quiet_retries() -> None:
    """Keeps the Hub's library from printing each retry; a final failure is reported as our own error."""
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def _cached(repo: str, name: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, name, revision=revision)
    return Path(found) if isinstance(found, str) else None


def _unreachable(weights: HubWeights, reason: str) -> NetworkError:
    return NetworkError(f"{weights.spec}: {reason}", hint=f"with network access: resnet-cli download {weights.spec}")


def silent_bar(
    on_progress: OnProgress | None, *, counts: Callable[[Mapping[str, Any]], bool], total: int | None = None
) -> type[Any]:
    """A replacement for the Hub library's progress bars that draws nothing and reports the bytes.

    Args:
        on_progress: Called with the bytes of all bars that count, and the total.
        counts: Tells from a bar's options whether it counts the downloaded bytes: the library has several bars for the
            same download.
        total: Number of bytes in all; None uses the total of the bar.
    """
    # huggingface_hub depends on it; it has no types.
    base: Any = importlib.import_module("tqdm").tqdm
    lock = threading.Lock()
    num_bytes = 0

    class Bar(base):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})
            self._reports = on_progress is not None and counts(options)
            self.update(int(options.get("initial") or 0))

        def update(self, n: float | None = 1) -> None:
            nonlocal num_bytes
            if self._reports and on_progress:
                with lock:
                    num_bytes += int(n or 0)
                    on_progress(num_bytes if total is None else min(num_bytes, total), total or self.total)

    return Bar


def _not_described(weights: HubWeights, reason: str) -> ModelError:
    return ModelError(
        f"{weights.spec} is not a plain ResNet-50 of timm or transformers: {reason}",
        hint="choose from: resnet-cli download --list; a variant such as resnet50d or resnet50_gn has other tensors",
    )
