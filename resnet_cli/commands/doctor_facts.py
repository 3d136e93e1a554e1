"""Facts about the installation and the machine for ``doctor``; each is found even if others cannot be."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

from resnet_cli.errors import ResnetCliError
from resnet_cli.installation import NAME, install_command
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
#: Extra -> what it is for, as in ``pyproject.toml``; those that are for developers are left out.
_EXTRAS = {
    "openvino": "a faster engine on Intel and AMD processors, and its exports",
    "coreml": "exports for Core ML",
    "litert": "exports for LiteRT (TensorFlow Lite); needs torch below 2.15",
    "executorch": "exports for ExecuTorch",
    "ncnn": "exports for ncnn",
    "mnn": "exports for MNN",
    "serve": "serve and studio",
    "formats": "HEIC, JPEG XL, DICOM and unusual TIFF files",
    "parquet": "tables in Parquet",
    "excel": "tables in Excel workbooks",
    "arrays": "arrays in HDF5",
    "hub": "hf:OWNER/NAME data sets and weights",
    "cloud": "data behind s3://, gs:// and https://",
    "tensorboard": "finetune --log-to tensorboard",
    "wandb": "finetune --log-to wandb",
    "mlflow": "finetune --log-to mlflow",
    "ray": "predict --engine ray",
}
#: Where the NVIDIA driver says which version it is.
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
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


@dataclasses.dataclass(frozen=True)
class Extra:
    """An optional part of the installation.

    Attributes:
        name: Its name in ``pip install 'resnet-cli[NAME]'``.
        purpose: What it is for.
        missing: Its packages that are not installed.
        command: The command that installs it; empty if nothing is missing.
    """

    name: str
    purpose: str
    missing: tuple[str, ...]
    command: str


@dataclasses.dataclass(frozen=True)
class Defaults:
    """What commands compute with if nothing else is asked for.

    Attributes:
        device: The device.
        precision: The precision of features, validation and predictions.
        why: Why it is this one.
        step_precision: The precision of training steps.
        step_why: Why it is this one.
    """

    device: str
    precision: str
    why: str
    step_precision: str
    step_why: str


def extras() -> list[Extra]:
    """The optional parts, from the metadata of the installation; empty if this package is not installed.

    Source: the form of a requirement with an extra:
    https://packaging.python.org/en/latest/specifications/core-metadata/#provides-extra-multiple-use
    """
    try:
        lines = importlib.metadata.requires(NAME) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    needed: dict[str, list[str]] = {}
    for line in lines:
        package = re.match(r"[A-Za-z0-9._-]+", line)
        extra = re.search(r"""extra == ['"]([a-z]+)['"]""", line)
        if package and extra:
            needed.setdefault(extra[1], []).append(package[0])
    found = []
    for name in sorted(needed.keys() & _EXTRAS.keys(), key=list(_EXTRAS).index):
        missing = tuple(package for package in needed[name] if not _is_installed(package))
        found.append(Extra(name, _EXTRAS[name], missing, install_command(name) if missing else ""))
    return found


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def defaults() -> Defaults | None:
    """The device and the precisions that commands choose on this machine; None if torch cannot be used."""
    try:
        from resnet_cli.system.device import choose_compute, choose_step_compute

        compute = choose_compute()
        steps = choose_step_compute(compute, "auto", None)
    except Exception:  # noqa: BLE001
        # What is wrong with torch is said elsewhere.
        return None
    return Defaults(compute.device, compute.precision, compute.reason, steps.precision, steps.reason)


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
        "memory": _memory(),
        "container_limit": "none" if limit is None else f"{limit} processors",
        "training_steps": "bf16" if processor.multiplies_bf16 else "fp32: the processor does not multiply bf16",
        "threads": f"{engine_threads()}" + (" (OMP_NUM_THREADS)" if "OMP_NUM_THREADS" in os.environ else ""),
    }
    set_here = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(_VARIABLES)]
    # A bug report is public.
    shown = [text for text in set_here if "TOKEN" not in text]
    return found | {"variables": "; ".join(shown) or "none"}


def _memory() -> str:
    """The memory of the machine."""
    try:
        return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
    except (AttributeError, OSError, ValueError):
        # There is no such call on Windows.
        return "not known on this system"


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
        if unused := _unused_driver(torch):
            problems.append(unused)
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
    driver = nvidia_driver()
    return f"CUDA {torch.version.cuda or torch.version.hip}" + (f", driver {driver}" if driver else "")


def nvidia_driver() -> str:
    """The version of NVIDIA's driver; empty if there is none, or if the system does not tell."""
    with contextlib.suppress(OSError):
        words = _NVIDIA_DRIVER.read_text(encoding="utf-8", errors="replace").split()
        return next((word for word in words if word[:1].isdecimal() and "." in word), "")
    return ""


def _unused_driver(torch: Any) -> str:
    """Why torch does not use the NVIDIA GPU that this machine seems to have; empty if there is nothing to say."""
    driver = nvidia_driver()
    if not driver or torch.cuda.is_available():
        return ""
    if torch.version.cuda is None:
        return f"there is an NVIDIA driver ({driver}), but this torch was built without CUDA; see docs/installation.md"
    return f"there is an NVIDIA driver ({driver}), but torch, built for CUDA {torch.version.cuda}, cannot use the GPU"


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


def short_facts() -> list[str]:
    """The facts that a bug report needs most, in lines; found in a moment, since torch is not imported."""
    problems: list[str] = []
    found = versions(problems)
    system = system_facts()
    packages = [f"{name} {text}" for name, text in found.items() if name != NAME and not text.startswith("not ")]
    driver = nvidia_driver()
    missing = [extra.name for extra in extras() if extra.missing]
    lines = [
        f"{NAME} {found[NAME]}",
        ", ".join(packages),
        f"{system['system']}; {system['processor']} ({system['instructions']})",
        f"cores: {system['cores']}; threads: {system['threads']}; memory: {system['memory']}",
        f"NVIDIA driver {driver}" if driver else "no NVIDIA driver",
        f"training steps on the CPU in {system['training_steps']}; everything else in fp32",
        *(f"problem: {problem}" for problem in problems),
    ]
    return [*lines, f"extras that are not installed: {', '.join(missing)}"] if missing else lines


def in_short(error: BaseException) -> str:
    """An error in one line."""
    first = str(error).strip().partition("\n")[0][:200]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
