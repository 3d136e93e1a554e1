"""Which instructions this processor has for matrix products; found without torch."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import platform
import subprocess
import sys
from pathlib import Path

#: Flags of the kernel -> the instructions that decide the speed of a network, in the order in which they are shown.
#: Source: https://docs.kernel.org/arch/x86/cpuinfo.html and, for Arm, https://docs.kernel.org/arch/arm64/elf_hwcaps.html
_FLAGS = {
    "avx2": "AVX2",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 bf16",
    "amx_int8": "AMX int8",
    "amx_bf16": "AMX bf16",
    "asimddp": "NEON dot products",
    "i8mm": "NEON int8",
    "bf16": "NEON bf16",
}
#: Keys of ``sysctl`` on macOS with the same meaning.
#: Source: https://developer.apple.com/documentation/kernel/1387446-sysctlbyname/determining_instruction_set_characteristics
_SYSCTL = {
    "hw.optional.avx2_0": "AVX2",
    "hw.optional.avx512f": "AVX-512",
    "hw.optional.arm.FEAT_DotProd": "NEON dot products",
    "hw.optional.arm.FEAT_I8MM": "NEON int8",
    "hw.optional.arm.FEAT_BF16": "NEON bf16",
}
#: What multiplies bfloat16 on x86, and 8-bit integers anywhere, several at a time.
_BF16 = {"AVX-512 bf16", "AMX bf16"}
_INT8 = {"AVX-VNNI", "AVX-512 VNNI", "AMX int8", "NEON dot products", "NEON int8"}

#: The variable that limits oneDNN, and so torch, to older instructions; its values -> what they allow. Any other value
#: allows everything.
#: Source: https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html
LIMIT = "ONEDNN_MAX_CPU_ISA"
_AVX2, _AVX512 = {"AVX2"}, {"AVX2", "AVX-512"}
_ALLOWED = {
    "SSE41": set[str](),
    "AVX": set[str](),
    "AVX2": _AVX2,
    "AVX2_VNNI": _AVX2 | {"AVX-VNNI"},
    "AVX2_VNNI_2": _AVX2 | {"AVX-VNNI"},
    "AVX512_CORE": _AVX512,
    "AVX512_CORE_VNNI": _AVX512 | {"AVX-512 VNNI"},
    "AVX512_CORE_BF16": _AVX512 | {"AVX-512 VNNI", "AVX-512 bf16"},
}


@dataclasses.dataclass(frozen=True)
class Processor:
    """A processor.

    Attributes:
        name: Its name; its architecture where the system does not tell.
        instructions: Those that multiply matrices, from the oldest to the newest; empty where the system does not tell.
        limit: The value of ``ONEDNN_MAX_CPU_ISA`` if it forbids some of them, else empty.
    """

    name: str
    instructions: tuple[str, ...]
    limit: str = ""

    @property
    def usable(self) -> tuple[str, ...]:
        """The instructions that torch may use."""
        allowed = _ALLOWED.get(self.limit)
        return tuple(one for one in self.instructions if allowed is None or one in allowed)

    @property
    def multiplies_bf16(self) -> bool:
        """Whether torch multiplies bfloat16 natively on this x86 processor; emulated, it is slower than float32."""
        return not _BF16.isdisjoint(self.usable)

    @property
    def multiplies_int8(self) -> bool:
        """Whether several 8-bit products are added in one instruction, which makes int8 faster than float32."""
        return not _INT8.isdisjoint(self.instructions)


def this_processor() -> Processor:
    """The processor of this machine, with the limit that the environment sets now."""
    name, instructions = _found()
    limit = os.environ.get(LIMIT, "").upper()
    found = Processor(name, instructions, limit if limit in _ALLOWED else "")
    return found if set(found.usable) < set(instructions) else dataclasses.replace(found, limit="")


@functools.cache
def _found() -> tuple[str, tuple[str, ...]]:
    if sys.platform == "linux":
        return _read_cpuinfo(Path("/proc/cpuinfo"))
    if sys.platform == "darwin":
        name = _sysctl("machdep.cpu.brand_string") or platform.machine()
        return name, tuple(text for key, text in _SYSCTL.items() if _sysctl(key) == "1")
    return platform.processor() or platform.machine(), ()


def _read_cpuinfo(path: Path) -> tuple[str, tuple[str, ...]]:
    fields: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    name = fields.get("model name") or platform.machine()
    return name, tuple(text for flag, text in _FLAGS.items() if flag in flags)


def _sysctl(key: str) -> str:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(["sysctl", "-n", key], capture_output=True, text=True, check=True, timeout=5)
        return done.stdout.strip()
    return ""
