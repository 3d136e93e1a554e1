"""``resnet-cli doctor`` says what decides speed, and says it where something is broken, too."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.running import run_cli

from resnet_cli.commands import doctor, doctor_facts
from resnet_cli.commands.doctor import SIDE
from resnet_cli.engines.choice import here
from resnet_cli.engines.rates import Rate, remember
from resnet_cli.installation import install_command
from resnet_cli.system import processor


@pytest.fixture(autouse=True)
def a_known_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(processor, "_found", lambda: ("A Processor", ("AVX2", "AVX-512", "AVX-512 bf16")))


def diagnosis(*arguments: str) -> dict[str, Any]:
    result = run_cli("doctor", "--json", *arguments)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def text() -> str:
    result = run_cli("doctor")
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_versions_processor_caches_and_precisions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setenv("RESNET_CLI_TOKEN", "a-secret-token")
    found = diagnosis()
    assert found["versions"]["torch"] == importlib.metadata.version("torch")
    assert "libjpeg" in found["versions"]["pillow"]
    assert found["system"]["processor"] == "A Processor"
    assert found["system"]["instructions"].endswith("up to AVX2 (ONEDNN_MAX_CPU_ISA)")
    assert [lane["precision"] for lane in found["precisions"]] == ["fp32", "bf16", "int8"]
    assert not found["precisions"][1]["native"]
    assert all(lane["engines"] for lane in found["precisions"]) and not found["problems"]
    shown = text()
    assert "this processor has no instructions for it: slow" in shown and "resnet-cli doctor --measure" in shown
    assert "a-secret-token" not in shown + json.dumps(found)


def test_measured_rates_are_shown_with_what_they_decide() -> None:
    remember(here("fp32", SIDE), {"onnxruntime": Rate(20, 0.5), "openvino": Rate(20, 0.5), "torch": Rate(40, 5)})
    remember(here("bf16", SIDE), {"torch": Rate(100, 5)})
    found = diagnosis()
    (one, many) = found["precisions"][0]["engines"]
    assert (one["images"], many["images"], many["engine"]) == (1, 1_000_000, "torch")
    assert one["engine"] in ("openvino", "onnxruntime")
    assert [set(entry["rates"]) for entry in found["measured"]] == [{"onnxruntime", "openvino", "torch"}, {"torch"}]
    shown = text()
    assert "2.5 times the images per second" in shown and "ONNX Runtime fp32 224 px 20.0 0.5 s" in shown


def test_measuring_says_what_could_not_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resnet_cli.engines.backbone_writer.write_backbone", lambda *_: None)
    monkeypatch.setattr("resnet_cli.engines.measuring.measure", lambda conditions, engines, path: {})
    monkeypatch.setattr(doctor, "is_busy", lambda: True)
    found = diagnosis("--measure")
    assert "torch could not be measured in fp32" in found["problems"]
    assert "torch could not be measured in bf16" in found["problems"]
    assert found["warnings"] == ["other programs are busy on this machine: the measured rates are too low"]


def test_it_works_where_torch_is_broken_and_no_cache_can_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RESNET_CLI_CACHE", str(tmp_path / "file" / "cache"))
    # An import of a module that is None fails.
    monkeypatch.setitem(sys.modules, "torch", None)
    for arguments in ((), ("--measure",)):
        found = diagnosis(*arguments)
        assert any(problem.startswith("torch cannot be used: ") for problem in found["problems"])
        assert any("the folder of features cannot be written" in problem for problem in found["problems"])
        assert found["accelerators"] == []
    assert any("could not be measured" in problem for problem in found["problems"])
    assert f"to install it again: {install_command()}" in text()


def test_a_missing_extra_comes_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version

    def without_openvino(name: str) -> str:
        if name == "openvino":
            raise importlib.metadata.PackageNotFoundError
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without_openvino)
    monkeypatch.setattr("resnet_cli.engines.choice.installed_engines", lambda: {"onnxruntime": "1", "torch": "1"})
    found = diagnosis()
    assert found["versions"]["openvino"] == f"not installed; to add it: {install_command('openvino')}"
    assert found["precisions"][0]["command"] == install_command("openvino")
    assert not found["problems"]


def test_doctor_knows_every_extra_that_users_can_install() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert set(doctor_facts._EXTRAS) == set(project["optional-dependencies"]) - {"dev"}


def test_every_missing_extra_and_the_defaults_are_named_and_the_short_text_needs_no_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version = importlib.metadata.version

    def without_two(name: str) -> str:
        if name in {"pyarrow", "uvicorn"}:
            raise importlib.metadata.PackageNotFoundError
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without_two)
    lines = ["pyarrow>=16; extra == 'parquet'", 'uvicorn>=0.34 ; extra == "serve"', "torch>=2", "mypy; extra == 'dev'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: lines)
    found = diagnosis()
    assert [(extra["name"], extra["missing"]) for extra in found["extras"]] == [
        ("serve", ["uvicorn"]),
        ("parquet", ["pyarrow"]),
    ]
    assert found["extras"][0]["command"] == install_command("serve")
    defaults = found["defaults"]
    assert (defaults["precision"], defaults["why"]) == ("fp32", "the same predictions on every machine")
    assert defaults["step_precision"] == "bf16" or defaults["step_why"]
    shown = text()
    assert "fp32: the same predictions on every machine" in shown and "serve and studio" in shown
    assert install_command("parquet") in run_cli("doctor").stdout
    # The import of a module that is None fails.
    monkeypatch.setitem(sys.modules, "torch", None)
    short = run_cli("--version", "--verbose")
    assert short.exit_code == 0 and "extras that are not installed: serve, parquet" in short.stdout
    assert "AVX-512 bf16" in short.stdout and len(short.stdout.splitlines()) < 10


def test_a_gpu_that_torch_cannot_use_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    driver = tmp_path / "version"
    driver.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n")
    monkeypatch.setattr("resnet_cli.commands.doctor_facts._NVIDIA_DRIVER", driver)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert any(
        "NVIDIA driver (570.86.15), but this torch was built without CUDA" in text for text in diagnosis()["problems"]
    )
