"""The instructions of a processor are read from the kernel, and a limit for oneDNN is respected."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnet_cli.system import processor
from resnet_cli.system.processor import Processor, this_processor

CPUINFO = """processor\t: 0
model name\t: A Processor
flags\t\t: fpu sse2 avx2 avx512f avx512_vnni avx512_bf16 avx_vnni

processor\t: 1
model name\t: A Processor
flags\t\t: fpu
"""


def test_instructions_are_read_from_the_kernel_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(CPUINFO)
    name, instructions = processor._read_cpuinfo(file)
    assert name == "A Processor"
    assert instructions == ("AVX2", "AVX-VNNI", "AVX-512", "AVX-512 VNNI", "AVX-512 bf16")
    file.write_text("processor\t: 0\nFeatures\t: fp asimd asimddp i8mm bf16\n")
    assert processor._read_cpuinfo(file)[1] == ("NEON dot products", "NEON int8", "NEON bf16")
    # A system that does not tell.
    name, instructions = processor._read_cpuinfo(tmp_path / "missing")
    assert name and instructions == ()


def test_a_limit_for_onednn_takes_newer_instructions_from_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "_found", lambda: ("A", ("AVX2", "AVX-512", "AVX-512 VNNI", "AVX-512 bf16")))
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert this_processor().multiplies_bf16 and this_processor().multiplies_int8
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "avx2")
    held = this_processor()
    assert held.limit == "AVX2" and held.usable == ("AVX2",) and not held.multiplies_bf16
    # Other engines do not read this variable.
    assert held.multiplies_int8
    for allowing_all in ("DEFAULT", "AVX512_CORE_AMX", "AVX512_CORE_BF16", "nonsense"):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", allowing_all)
        assert this_processor().limit == "" and this_processor().multiplies_bf16


def test_an_old_processor_multiplies_neither() -> None:
    old = Processor("A", ("AVX2",))
    assert not old.multiplies_bf16 and not old.multiplies_int8
