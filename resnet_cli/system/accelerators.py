"""Whether this machine may have an accelerator that torch can use; told without torch."""

from __future__ import annotations

import functools
import importlib.metadata
import sys
from pathlib import Path

#: Local part of torch's version -> files that the driver of the accelerators of this build makes on Linux.
#: Source: https://download.pytorch.org/whl; the manuals of the drivers.
_FILES = {
    "cpu": (),
    "cu": ("dev/nvidia[0-9]*", "dev/nvidiactl", "dev/nvidia-uvm", "dev/dxg", "dev/nvhost-gpu", "proc/driver/nvidia"),
    "rocm": ("dev/kfd", "dev/dxg"),
    "xpu": ("dev/dri/renderD*", "dev/dxg"),
}


@functools.cache
def may_have_accelerator(root: Path = Path("/")) -> bool:
    """Whether torch may find an accelerator here; False only if that is certain.

    Args:
        root: The root of the file system.
    """
    if not sys.platform.startswith("linux"):
        # Apple's GPUs and the drivers of Windows have no such files.
        return True
    patterns = [pattern for files in _of_this_torch() for pattern in files]
    return any(next(root.glob(pattern), None) is not None for pattern in patterns)


def _of_this_torch() -> list[tuple[str, ...]]:
    """The files that matter for the build of torch that is installed."""
    try:
        local = importlib.metadata.version("torch").partition("+")[2]
    except importlib.metadata.PackageNotFoundError:
        return list(_FILES.values())
    if not local:
        # From PyPI and distributions; builds for Intel's GPUs, whose files many laptops have, are named.
        return [_FILES["cu"], _FILES["rocm"]]
    return [_FILES[kind] for kind in _FILES if local.startswith(kind)] or list(_FILES.values())
