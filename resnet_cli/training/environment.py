"""What the last digits of a training depend on besides its config: versions, processor, device, processes."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence

import torch

from resnet_cli.system.device import Compute, native_bf16


def describe_environment(compute: Compute, *, num_processes: int = 1) -> dict[str, str]:
    """What a training runs on, in words that a checkpoint stores; equal bits need an equal description.

    Args:
        compute: Device and precision of the training steps.
        num_processes: Number of processes that share each step.
    """
    import PIL
    from PIL import features

    # Decoders of JPEG round differently.
    libjpeg = "libjpeg-turbo" if features.check_feature("libjpeg_turbo") else "libjpeg"
    return {
        "torch": str(torch.__version__),
        "Pillow": f"{PIL.__version__} ({libjpeg} {features.version_codec('jpg')})",
        "processor": _processor(),
        "device": torch.cuda.get_device_name(compute.device) if compute.type == "cuda" else compute.type,
        "precision": compute.precision,
        "processes": str(num_processes),
    }


def changes_since(before: Mapping[str, str] | None, now: Mapping[str, str]) -> list[str]:
    """What has changed, such as ``torch 2.11.0 -> 2.12.0``.

    Args:
        before: What a checkpoint stores; None if an earlier version wrote it, which stored nothing.
        now: The environment of this process.
    """
    if before is None:
        return ["the earlier ones were not recorded"]
    return [
        f"{name} {before.get(name, 'unknown')} -> {value}" for name, value in now.items() if before.get(name) != value
    ]


def bits_warning(changes: Sequence[str]) -> str:
    """The warning that a resumed run may differ from an uninterrupted one."""
    return (
        f"resumed under other conditions ({', '.join(changes)}): the result may differ in the last digits from that of "
        "an uninterrupted run"
    )


def _processor() -> str:
    """The instructions that torch uses on the processor, such as ``x86_64 AVX512, native bfloat16``."""
    facts = [f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"]
    if native_bf16("cpu"):
        facts.append("native bfloat16")
    # oneDNN, which computes convolutions, has a limit of its own.
    if limit := os.environ.get("ONEDNN_MAX_CPU_ISA"):
        facts.append(f"oneDNN up to {limit}")
    return ", ".join(facts)
