"""The engine is the one that is ready first with all images; what was measured is remembered for its conditions."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from resnet_cli.engines import choice, rates
from resnet_cli.engines.choice import (
    MANY_IMAGES,
    Engine,
    check_engine,
    choose_engine,
    here,
    usable_engines,
    with_engine,
)
from resnet_cli.engines.rates import Conditions, Rate, rates_path, read_all, read_rates, remember
from resnet_cli.errors import ConfigError, SetupError
from resnet_cli.installation import install_command
from resnet_cli.system import processor
from resnet_cli.system.caches import CacheWarning
from resnet_cli.system.device import Compute

ALL: dict[Engine, str] = {"openvino": "1", "onnxruntime": "1", "torch": "1"}
QUICK_START, FAST = Rate(per_s=20, start_s=0.5), Rate(per_s=40, start_s=5)


@pytest.fixture(autouse=True)
def a_processor_with_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(processor, "_found", lambda: ("A", ("AVX2", "AVX-512", "AVX-512 VNNI", "AVX-512 bf16")))
    monkeypatch.setattr(choice, "is_busy", lambda: False)
    install(monkeypatch, ALL)


def install(monkeypatch: pytest.MonkeyPatch, engines: dict[Engine, str]) -> None:
    monkeypatch.setattr(choice, "installed_engines", lambda: engines)


def test_one_image_and_a_million_choose_differently() -> None:
    remember(here("fp32", 224), {"openvino": QUICK_START, "torch": FAST})
    assert choose_engine(num_images=1).engine == choose_engine().engine == "openvino"
    assert choose_engine(num_images=10**6).engine == "torch"


def test_a_small_difference_does_not_decide() -> None:
    remember(here("fp32", 224), {"openvino": Rate(100, 1), "onnxruntime": Rate(104, 1)})
    assert choose_engine(num_images=10**6).engine == "openvino"
    remember(here("fp32", 224), {"openvino": Rate(100, 1), "onnxruntime": Rate(110, 1)})
    assert choose_engine(num_images=10**6).engine == "onnxruntime"


def test_engines_are_measured_once_and_only_for_many_images() -> None:
    asked: list[Conditions] = []

    def measure(conditions: Conditions) -> Mapping[str, Rate]:
        asked.append(conditions)
        found = {"openvino": QUICK_START, "onnxruntime": FAST}
        remember(conditions, found)
        return found

    for count in (1, MANY_IMAGES - 1, None):
        assert choose_engine(num_images=count, measure=measure).engine == "openvino" and not asked
    for _ in range(2):
        assert choose_engine(num_images=MANY_IMAGES, measure=measure).engine == "onnxruntime"
    assert len(asked) == 1


def test_nothing_is_measured_on_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "is_busy", lambda: True)

    def measure(_: Conditions) -> Mapping[str, Rate]:
        raise AssertionError("the machine is busy")

    assert choose_engine(num_images=10**6, measure=measure).engine == "openvino"


def test_rates_hold_for_their_conditions_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    remember(here("fp32", 224), {"openvino": QUICK_START, "torch": FAST})
    assert read_rates(here("fp32", 224))
    assert not read_rates(here("fp32", 192)) and not read_rates(here("bf16", 224))
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert not read_rates(here("fp32", 224))
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert not read_rates(here("fp32", 224))
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    install(monkeypatch, ALL | {"torch": "2"})
    assert not read_rates(here("fp32", 224))


def test_other_precisions_are_not_a_matter_of_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    # A model's results in int8 are measured in ONNX Runtime.
    for precision, expected in (("bf16", "openvino"), ("int8", "onnxruntime")):
        remember(here(precision, 224), {"openvino": QUICK_START, "onnxruntime": QUICK_START, "torch": FAST})
        assert choose_engine(precision=precision, num_images=10**6).engine == expected
    install(monkeypatch, {"onnxruntime": "1", "torch": "1"})
    assert choose_engine(precision="bf16").engine == "torch"
    assert choose_engine(precision="int8").engine == "onnxruntime"
    # Emulated bfloat16 is computed as torch's autocast does.
    install(monkeypatch, ALL)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert choose_engine(precision="bf16").engine == "torch"
    assert usable_engines("fp32") == ("openvino", "onnxruntime", "torch")


def test_torch_computes_float32_where_it_is_loaded_anyway() -> None:
    cpu = Compute("cpu", "fp32", "")
    assert with_engine(cpu, "auto").engine == "torch"
    assert with_engine(cpu, "openvino").engine == "openvino"
    assert with_engine(dataclasses.replace(cpu, precision="bf16"), "auto").engine == "openvino"
    gpu = dataclasses.replace(cpu, device="cuda:0")
    assert with_engine(gpu, "auto").engine == with_engine(gpu, "torch").engine == "torch"
    with pytest.raises(ConfigError, match="--engine onnxruntime has no effect on the device cuda:0"):
        with_engine(gpu, "onnxruntime")


def test_an_engine_that_is_missing_or_unable_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="ONNX Runtime does not compute bf16 on CPUs") as refused:
        check_engine("onnxruntime", "bf16")
    assert refused.value.hint == "use --engine openvino or torch"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    with pytest.raises(ConfigError, match="this processor does not multiply bf16"):
        check_engine("openvino", "bf16")
    install(monkeypatch, {"torch": "1"})
    with pytest.raises(SetupError, match="OpenVINO, which is not installed") as missing:
        check_engine("openvino", "fp32")
    assert missing.value.hint == install_command("openvino")
    with pytest.raises(SetupError, match="ONNX Runtime, which is not installed"):
        check_engine("onnxruntime", "fp32")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"version": 1}',
        '{"version": 9, "measured": []}',
        '{"version": 1, "measured": {"a": 1}}',
        '{"version": 1, "measured": [1, null, {}, {"rates": 3}]}',
        "\x00\xff",
    ],
)
def test_a_damaged_or_foreign_file_is_as_if_there_were_none(text: str) -> None:
    conditions = here("fp32", 224)
    rates_path().parent.mkdir(parents=True, exist_ok=True)
    rates_path().write_bytes(text.encode("latin-1"))
    assert read_rates(conditions) == {} and choose_engine(num_images=10**6).engine == "openvino"
    remember(conditions, {"torch": FAST})
    assert read_rates(conditions) == {"torch": FAST}


def test_rates_that_cannot_be_are_not_believed() -> None:
    conditions = here("fp32", 224)
    remember(conditions, {"torch": FAST})
    good = rates_path().read_text()
    for wrong in ("-1", "0", "1e999", "null", '"many"', "NaN"):
        rates_path().write_text(good.replace("40", wrong))
        assert read_rates(conditions) == {}


def test_a_cache_that_cannot_be_written_costs_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RESNET_CLI_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(CacheWarning, match="cannot be written"):
        remember(here("fp32", 224), {"torch": FAST})
    assert read_all() == []


def test_writers_at_once_leave_a_whole_file_and_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    conditions = here("fp32", 224)
    threads = [
        threading.Thread(target=remember, args=(dataclasses.replace(conditions, side=side), {"torch": FAST}))
        for side in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= len(json.loads(rates_path().read_text())["measured"]) <= 8
    monkeypatch.setattr(rates, "_MOST", 3)
    for side in range(100, 105):
        remember(dataclasses.replace(conditions, side=side), {"torch": FAST})
    assert [one.conditions.side for one in read_all()] == [102, 103, 104]
