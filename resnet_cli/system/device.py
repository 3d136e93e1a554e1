"""Which device to compute on, in which precision, with which seed."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import os
import platform
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

from resnet_cli.errors import ConfigError, MemoryExhausted, SetupError
from resnet_cli.system.processor import this_processor
from resnet_cli.system.threads import processor_limit

Precision: TypeAlias = Literal["auto", "fp32", "bf16", "fp16", "int8"]
StepPrecision: TypeAlias = Literal["fp32", "bf16", "fp16"]


@dataclasses.dataclass(frozen=True)
class Quantized:
    """The quantized backbone that computes features in int8.

    Attributes:
        path: The file.
        sha256: The checksum of its graph.
    """

    path: Path
    sha256: str


@dataclasses.dataclass(frozen=True)
class Compute:
    """Where and how tensors are computed.

    Attributes:
        device: Name of the device in torch: ``cpu``, ``cuda:0``, ``mps``, ``xpu``.
        precision: ``fp32``; ``bf16`` or ``fp16`` for autocast (weights stay float32); ``int8`` for features from a
            quantized backbone, while everything else is float32.
        reason: Why this precision was chosen, for the plan.
        engine: What computes features that are cached: ``torch``, ``onnxruntime`` or ``openvino``. Everything else is
            computed by torch.
        quantized: The backbone of ``int8``; None until it is known.
    """

    device: str
    precision: Literal["fp32", "bf16", "fp16", "int8"]
    reason: str
    engine: str = "torch"
    quantized: Quantized | None = None

    @property
    def type(self) -> str:
        """The type of the device, without its number."""
        return self.device.partition(":")[0]

    def autocast(self) -> torch.autocast:
        """The autocast context for the network's forward pass."""
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.type, dtype=dtype, enabled=self.precision in {"bf16", "fp16"})

    def to_device(self, pixels: torch.Tensor) -> torch.Tensor:
        """Moves a batch [b x 3 x h x w] to the device, channels last (faster for convolutions everywhere)."""
        return pixels.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)


class SlowPrecisionWarning(UserWarning):
    """The requested precision is slower than float32 on this processor."""


#: What to do where bfloat16 saves no time.
EMULATED = (
    "--precision bf16: this processor has no instructions for bfloat16, which makes it slower than fp32 here; remove "
    "--precision, or use --precision int8"
)

#: The reference for exported files: the CPU in float32, as they compute.
REFERENCE = Compute("cpu", "fp32", "as exported files compute")


def choose_compute(device: str = "auto", precision: Precision = "auto") -> Compute:
    """Chooses the device, and the precision of inference: features, probabilities and all metrics.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``mps`` or ``xpu``.
        precision: ``auto`` is float32, so that a model gives the same predictions on every machine. Over 253 photos and
            1,000 classes, bfloat16 changes probabilities by up to 0.11, and TF32 and float16 by more than 5e-3
            (benchmarks/precisions.py).

    Raises:
        ConfigError: There is no device of that name, or it does not compute in this precision.
        SetupError: This machine does not have the device.
    """
    name = _find_device(device)
    if precision == "int8" and name != "cpu":
        raise ConfigError(
            f"--precision int8: a quantized model computes on the CPU, and the device is {name}",
            hint="add --device cpu, or remove --precision",
        )
    respect_processor_limit()
    if name == "cpu":
        keep_freed_memory()
    if name.startswith("cuda"):
        _compute_convolutions_in_float32()
    if precision == "auto":
        precision, reason = "fp32", "the same predictions on every machine"
    else:
        if (name, precision) == ("cpu", "bf16") and not native_bf16(name):
            warnings.warn(EMULATED, SlowPrecisionWarning, stacklevel=2)
        coarser = "" if precision == "fp32" else ": all metrics are computed in it, less precisely than in float32"
        reason = f"requested{coarser}"
    return Compute(name, precision, reason)


def choose_step_compute(answers: Compute, asked: Precision, step_precision: StepPrecision | None) -> Compute:
    """The precision of forward and backward passes in training, on the same device.

    Args:
        answers: Device and precision of inference, from :func:`choose_compute`.
        asked: Value of ``--precision``.
        step_precision: Value of ``--step-precision``. None uses ``asked``; if that is ``auto``, bfloat16 on hardware
            that supports it natively (emulated, it is several times slower than float32).
    """
    if step_precision is not None:
        return dataclasses.replace(answers, precision=step_precision, reason="requested")
    if asked != "auto":
        return dataclasses.replace(answers, precision=asked)
    native, reason = _bf16_is_native(answers.device)
    return dataclasses.replace(answers, precision="bf16" if native else answers.precision, reason=reason)


def _compute_convolutions_in_float32() -> None:
    """By default, torch lets convolutions use TF32 on GPUs that have it, even for float32.

    The global cuDNN setting (``torch.backends.cudnn.fp32_precision``) does not affect its convolutions in torch 2.11.
    """
    cudnn: Any = torch.backends.cudnn
    cudnn.conv.fp32_precision = "ieee"


def seed_everything(seed: int) -> None:
    """Seeds torch's generators: weights drawn after this are a function of the seed."""
    torch.manual_seed(seed)


def make_deterministic() -> None:
    """Restricts torch to operations that give the same bits each time; slower on a GPU.

    Source: https://docs.pytorch.org/docs/stable/notes/randomness.html.
    """
    # cuBLAS reads it at startup.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


@functools.cache
def respect_processor_limit() -> None:
    """Lets torch start no more threads than a container has processors, unless ``OMP_NUM_THREADS`` says how many.

    By itself, torch counts the processors of the machine.
    """
    limit = processor_limit()
    if limit is not None and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(limit, torch.get_num_threads()))


@functools.cache
def keep_freed_memory() -> None:
    """Lets glibc keep large freed blocks for the next batch instead of returning them to the system.

    By default, every activation of a forward pass is mapped, zeroed by the kernel and unmapped again; without
    that, a batch of 32 images of 224 px takes a quarter less processor time and about 250 MB more memory
    (measured). Does nothing with other C libraries.

    Source: mallopt(3), M_MMAP_THRESHOLD (-3) and M_TRIM_THRESHOLD (-1).
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for option in (-3, -1):
        libc.mallopt(option, 2**30)


@contextlib.contextmanager
def memory_errors_named(batch_size: int) -> Iterator[None]:
    """Turns an out-of-memory failure inside the block into :class:`MemoryExhausted`."""
    exhausted = False
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError):
        exhausted = True
    except RuntimeError as error:
        # Plain RuntimeErrors: "DefaultCPUAllocator: can't allocate memory", "MPS backend out of memory".
        if "allocate memory" not in str(error) and "out of memory" not in str(error):
            raise
        exhausted = True
    # Raised outside the except block: a live traceback would keep the tensors that fill the memory.
    if exhausted:
        # Not 1: training refuses single images at small sizes.
        fewer = batch_size // 2
        hint = f"--batch-size {fewer}, or a smaller --image-size" if fewer > 1 else "a smaller --image-size"
        raise MemoryExhausted(f"not enough memory for a batch of {batch_size}", hint=hint)


def _find_device(device: str) -> str:
    kind, _, number = device.partition(":")
    if kind not in {"auto", "cpu", "cuda", "mps", "xpu"} or (number and not number.isdecimal()):
        raise ConfigError(f"--device {device}: unknown device", hint="use auto, cpu, cuda, cuda:1, mps or xpu")
    available = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "xpu": torch.xpu.device_count() if torch.xpu.is_available() else 0,
        "cpu": 1,
    }
    if kind == "auto":
        kind = next(name for name, count in available.items() if count)
    if int(number or 0) >= available[kind]:
        there = ", ".join(f"{name} ({count})" for name, count in available.items() if count)
        raise SetupError(
            f"--device {device}: this machine and this build of torch have only {there}",
            hint="remove --device to use the best available one",
        )
    return kind if kind in {"cpu", "mps"} else f"{kind}:{number or 0}"


def native_bf16(device: str) -> bool:
    """Whether a device multiplies bfloat16 natively, as far as torch tells."""
    return _bf16_is_native(device)[0]


def _bf16_is_native(device: str) -> tuple[bool, str]:
    if device.startswith("cuda"):
        native = torch.cuda.get_device_capability(device)[0] >= 8
        return native, f"{torch.cuda.get_device_name(device)} {'has' if native else 'lacks'} native bfloat16"
    if device.startswith("xpu"):
        return True, "Intel GPUs multiply bfloat16 natively"
    if device == "mps":
        return False, "float32 is the safe choice on Apple GPUs"
    # Private functions: if torch lacks them, float32 is used, which is right everywhere.
    checks = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    processor = this_processor()
    native = any(check() for check in checks if check) and (not processor.limit or processor.multiplies_bf16)
    return native, f"this CPU {'has' if native else 'lacks'} native bfloat16"
