"""Facts about the installation and the machine for ``doctor``; each is found even if others cannot be."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from resnet_cli.errors import ResnetCliError
from resnet_cli.installation import install_command
from resnet_cli.system.paths import check_writable, checkpoints_dir, data_dir, engines_dir, features_dir, folder_bytes
from resnet_cli.system.processor import this_processor
from resnet_cli.system.threads import engine_threads, num_threads, processor_limit
from resnet_cli.version import __version__

#: Packages that affect results or speed -> the extra that installs them; empty for dependencies.
_PACKAGES = {
    "torch": "",
    "torchvision": "",
    "onnxruntime": "",
    "openvino": "openvino",
    "numpy": "",
    "pillow": "",
    "safetensors": "",
}
#: Prefixes of the environment variables that affect speed or locations.
_VARIABLES = ("RESNET_CLI_", "ONEDNN_", "ATEN_", "OMP_", "MKL_", "KMP_", "CUDA_VISIBLE", "TORCH_HOME", "OV_")


@dataclasses.dataclass(frozen=True)
class Cache:
    """A folder of cached files.

    Attributes:
        what: What is in it.
        path: The folder.
        num_bytes: Size of its files.
        problem: Why it cannot be written; empty if it can.
    """

    what: str
    path: str
    num_bytes: int
    problem: str = ""


def versions(problems: list[str]) -> dict[str, str]:
    """Package -> its version, or the command that installs it; read without importing the packages.

    Args:
        problems: What does not work is added to it, in sentences.
    """
    found = {"resnet-cli": __version__, "Python": platform.python_version()}
    for name, extra in _PACKAGES.items():
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = f"not installed; to add it: {install_command(extra)}"
            if not extra:
                problems.append(f"{name} is not installed; to install it: {install_command()}")
    try:
        from PIL import features

        # Decoders of JPEG round differently.
        turbo = features.version_feature("libjpeg_turbo")
        found["pillow"] += f" (libjpeg-turbo {turbo})" if turbo else f" (libjpeg {features.version_codec('jpg')})"
    except Exception as error:  # noqa: BLE001
        # A library that is damaged may raise anything.
        problems.append(f"Pillow cannot be imported: {in_short(error)}")
    return found


def system_facts() -> dict[str, str]:
    """Facts about system, processor, threads and environment, by name."""
    processor = this_processor()
    limit = processor_limit()
    instructions = ", ".join(processor.instructions) or "not known on this system"
    if processor.limit:
        instructions += f"; torch and OpenVINO: up to {processor.limit} (ONEDNN_MAX_CPU_ISA)"
    found = {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": processor.name,
        "instructions": instructions,
        "cores": f"{os.cpu_count() or 1}, of which this process may use {num_threads()}",
        "container_limit": "none" if limit is None else f"{limit} processors",
        "training_steps": "bf16" if processor.multiplies_bf16 else "fp32: the processor does not multiply bf16",
        "threads": f"{engine_threads()}" + (" (OMP_NUM_THREADS)" if "OMP_NUM_THREADS" in os.environ else ""),
    }
    set_here = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(_VARIABLES)]
    # A bug report is public.
    shown = [text for text in set_here if "TOKEN" not in text]
    return found | {"variables": "; ".join(shown) or "none"}


def accelerators(problems: list[str]) -> list[str]:
    """Devices besides the CPU that torch can use.

    Args:
        problems: Why torch cannot be used is added to it.
    """
    try:
        import torch

        found = []
        if torch.cuda.is_available():
            for index in range(torch.cuda.device_count()):
                about = torch.cuda.get_device_properties(index)
                found.append(f"cuda:{index} {about.name}, {about.total_memory / 2**30:.0f} GiB, {_cuda(torch)}")
        if torch.backends.mps.is_available():
            found.append("mps: the GPU of this Apple computer")
        if torch.xpu.is_available():
            found += [f"xpu:{index} {torch.xpu.get_device_name(index)}" for index in range(torch.xpu.device_count())]
    except Exception as error:  # noqa: BLE001
        # Missing libraries, a driver of another version, a damaged installation: each raises something else.
        problems.append(f"torch cannot be used: {in_short(error)}; to install it again: {install_command()}")
        return []
    return found


def _cuda(torch: Any) -> str:
    """The versions of CUDA and of NVIDIA's driver."""
    driver = ""
    with contextlib.suppress(OSError):
        words = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace").split()
        driver = next((f", driver {word}" for word in words if word[:1].isdecimal() and "." in word), "")
    return f"CUDA {torch.version.cuda or torch.version.hip}{driver}"


def caches(problems: list[str]) -> list[Cache]:
    """The folders of cached files.

    Args:
        problems: Those that cannot be written are added to it.
    """
    kinds = {
        "weights (torch.hub)": checkpoints_dir,
        "features": features_dir,
        "prepared backbones": engines_dir,
        "data sets": data_dir,
    }
    found = []
    for what, folder in kinds.items():
        try:
            path = folder()
            problem = _why_not_writable(path)
            found.append(Cache(what, str(path), folder_bytes(path), problem))
        except ResnetCliError as error:
            problem = error.message
        if problem:
            problems.append(f"the folder of {what} cannot be written: {problem}")
    return found


def _why_not_writable(folder: Path) -> str:
    try:
        check_writable(folder / "file")
    except ResnetCliError as error:
        return str(error.__cause__.strerror if isinstance(error.__cause__, OSError) else error.message)
    return ""


def in_short(error: BaseException) -> str:
    """An error in one line."""
    first = str(error).strip().partition("\n")[0][:200]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
