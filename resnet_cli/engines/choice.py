"""Which engine computes the backbone on a CPU: the one that finishes all images first. No torch.

In float32 the engines differ in the last digits only, so the fastest one may be chosen by measurement. In other
precisions each engine rounds in its own way: the choice depends only on what is installed, so that repeated commands
give the same results.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

from resnet_cli.engines.rates import Conditions, Rate, read_rates
from resnet_cli.errors import ConfigError, SetupError, missing_extra
from resnet_cli.installation import install_command
from resnet_cli.system.extras import is_installed
from resnet_cli.system.processor import this_processor
from resnet_cli.system.threads import engine_threads, is_busy

if TYPE_CHECKING:
    from resnet_cli.system.device import Compute

Engine: TypeAlias = Literal["openvino", "onnxruntime", "torch"]
#: Value of ``--engine``.
EngineName: TypeAlias = Literal["auto", "torch", "onnxruntime", "openvino"]
#: Precision -> the engines that compute it on a CPU, in the order in which they are taken without a measurement: on the
#: processors that were measured, OpenVINO is not slower than ONNX Runtime in float32.
PREFERRED: Mapping[str, tuple[Engine, ...]] = {
    "fp32": ("openvino", "onnxruntime", "torch"),
    "bf16": ("openvino", "torch"),
    "fp16": ("torch",),
    # A model's results in int8 are measured in this engine; others round its sums and pooling in another way.
    "int8": ("onnxruntime",),
}
NAMES: Mapping[Engine, str] = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "torch": "torch"}
#: From this many images on, the engines are measured: it takes some seconds, and these images minutes.
MANY_IMAGES = 5_000
#: An engine must promise to save this share of the time of the preferred one. Smaller differences are within the error
#: of the measurement.
LEAST_GAIN = 0.05


@dataclasses.dataclass(frozen=True)
class Choice:
    """An engine and why it was chosen.

    Attributes:
        engine: The engine.
        reason: The end of a sentence, such as ``the fastest one here``.
    """

    engine: Engine
    reason: str


def engine_name(engine: str) -> str:
    """The name of an engine as its makers write it."""
    return {str(known): name for known, name in NAMES.items()}.get(engine, engine)


def installed_engines() -> dict[Engine, str]:
    """The engines that are installed, with their versions; none of them is imported."""
    found: dict[Engine, str] = {}
    for name in NAMES:
        if is_installed(name):
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                # Builds for other hardware have other names, such as onnxruntime-gpu.
                found[name] = "unknown"
    return found


def usable_engines(precision: str) -> tuple[Engine, ...]:
    """The installed engines that compute a precision here, the preferred one first.

    Only torch emulates bfloat16 on processors that do not multiply it.
    """
    installed = installed_engines()
    preferred = PREFERRED[precision]
    if precision == "bf16" and not this_processor().multiplies_bf16:
        preferred = ("torch",)
    return tuple(engine for engine in preferred if engine in installed)


def choose_engine(
    engine: EngineName = "auto",
    *,
    precision: str = "fp32",
    side: int = 224,
    num_images: int | None = None,
    torch_is_loaded: bool = False,
    measure: Callable[[Conditions], Mapping[str, Rate]] | None = None,
) -> Choice:
    """Chooses the engine that computes features on this machine's CPU.

    Args:
        engine: Value of ``--engine``; anything but ``auto`` is the choice.
        precision: fp32, bf16, fp16 or int8.
        side: Side of the images in pixels.
        num_images: How many are to be computed; None if it is not known.
        torch_is_loaded: Whether the command needs torch anyway. It then computes float32 too: others would hardly be
            faster, and features that are cached keep the same bits.
        measure: Measures the engines; None if there is nothing to measure with.

    Raises:
        ConfigError: The engine that was asked for does not compute this precision.
        SetupError: It is not installed.
    """
    if engine != "auto":
        check_engine(engine, precision)
        return Choice(engine, "--engine")
    usable = usable_engines(precision)
    if not usable:
        raise SetupError(f"--precision {precision}: no engine for it is installed", hint=install_command())
    if precision != "fp32" or usable == ("torch",):
        return Choice(usable[0], f"{NAMES[usable[0]]} computes {precision} on this machine")
    if torch_is_loaded and "torch" in usable:
        return Choice("torch", "torch is loaded already, and others are hardly faster in float32")
    conditions = here(precision, side)
    rates = read_rates(conditions)
    if not rates and measure is not None and (num_images or 0) >= MANY_IMAGES and not is_busy():
        rates = measure(conditions)
    return _fastest(usable, rates, num_images)


def with_engine(compute: Compute, engine: EngineName) -> Compute:
    """Adds the engine that computes features to a device and precision, for commands that load torch anyway.

    Args:
        compute: Device and precision.
        engine: Value of ``--engine``.

    Raises:
        ConfigError: The engine that was asked for has no effect on this device, or does not compute this precision.
        SetupError: It is not installed.
    """
    if compute.type == "cpu":
        found = choose_engine(engine, precision=compute.precision, torch_is_loaded=True)
        return dataclasses.replace(compute, engine=found.engine)
    if engine not in ("auto", "torch"):
        raise ConfigError(
            f"--engine {engine} has no effect on the device {compute.device}: it computes on the CPU",
            hint="add --device cpu, or remove --engine",
        )
    return compute


def check_engine(engine: Engine, precision: str) -> None:
    """Checks that an engine is installed and computes a precision here.

    Raises:
        ConfigError: It does not compute the precision.
        SetupError: It is not installed.
    """
    if engine not in installed_engines():
        if engine == "openvino":
            raise missing_extra("--engine openvino needs OpenVINO, which is not installed", "openvino")
        raise SetupError(
            f"--engine {engine} needs {NAMES[engine]}, which is not installed",
            hint=f"{install_command()}; or remove --engine",
        )
    if engine in usable_engines(precision):
        return
    why = f"{NAMES[engine]} does not compute {precision} on CPUs"
    if precision == "int8":
        why = "a quantized model is checked in ONNX Runtime, and therefore computed in it"
    elif engine in PREFERRED[precision]:
        why = f"this processor does not multiply {precision}, and {NAMES[engine]} does not emulate it"
    others = " or ".join(usable_engines(precision)) or "auto"
    raise ConfigError(f"--engine {engine} and --precision {precision}: {why}", hint=f"use --engine {others}")


def here(precision: str, side: int) -> Conditions:
    """What the rates of the engines depend on, on this machine."""
    processor = this_processor()
    return Conditions(
        processor=", ".join((processor.name, *processor.usable)),
        engines=tuple(sorted(f"{name} {version}" for name, version in installed_engines().items())),
        precision=precision,
        side=side,
        threads=engine_threads(),
    )


def _fastest(usable: tuple[Engine, ...], rates: Mapping[str, Rate], num_images: int | None) -> Choice:
    """The engine with the least start-up and computation; the preferred one unless another gains enough."""
    first = usable[0]
    if not rates:
        return Choice(first, "the usual choice; not measured here")
    # A folder of unknown size is taken for a small one.
    num_images = num_images or 1
    seconds = {name: rates[name].start_s + num_images / rates[name].per_s for name in usable if name in rates}
    if not seconds:
        return Choice(first, "the usual choice; none could be measured here")
    best = min(seconds, key=seconds.__getitem__)
    if first in seconds and seconds[best] > (1 - LEAST_GAIN) * seconds[first]:
        return Choice(first, "as fast as any other, as measured here")
    return Choice(best, "the fastest one, as measured here")
