"""The use case of ``doctor``: what a bug report needs, and what decides the speed on this machine.

It is run where something is broken: a part that fails is reported, and the other parts are still shown.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from resnet_cli.commands.doctor_facts import (
    Cache,
    Defaults,
    Extra,
    accelerators,
    caches,
    defaults,
    extras,
    in_short,
    system_facts,
    versions,
)
from resnet_cli.engines.choice import NAMES, PREFERRED, choose_engine, here, usable_engines
from resnet_cli.engines.rates import Conditions, Measured, Rate, read_all
from resnet_cli.errors import ResnetCliError
from resnet_cli.installation import install_command
from resnet_cli.system.caches import temporary_folder
from resnet_cli.system.processor import this_processor
from resnet_cli.system.threads import is_busy
from resnet_cli.version import SCHEMA_VERSION

#: Side of the images that engines are measured with: that of most weights.
SIDE = 224
#: Numbers of images for which the choice of the engine is shown.
ONE, MANY = 1, 1_000_000
#: What a faster precision costs, as measured on photos of ImageNet's classes (benchmarks/precisions.py). Each model
#: has its own figure, which commands print when they use the precision.
_COSTS = {
    "bf16": "the same class for 99.2 % of 256 photos of 1,000 classes",
    "int8": "measured for each model on its validation images, when it is first used",
}


@dataclasses.dataclass(frozen=True)
class Lane:
    """One precision on the CPU.

    Attributes:
        precision: The precision.
        engines: Number of images -> the engine that computes them and why; empty if none can.
        native: Whether the processor has instructions for it.
        cost: What it costs, in words; empty for float32, which is exact.
        command: What to type to be able to use it, or to use a faster engine; empty if there is nothing to add.
    """

    precision: str
    engines: Mapping[int, tuple[str, str]]
    native: bool
    cost: str = ""
    command: str = ""


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Everything that ``doctor`` found.

    Attributes:
        versions: Package -> its version, or why it cannot be used.
        system: Facts about system, processor and threads, by name.
        accelerators: Devices besides the CPU that torch can use.
        problems: What does not work, in sentences.
        caches: Cached files.
        lanes: The precisions on the CPU, float32 first.
        measured: Rates that were measured under the present conditions.
        warnings: Why a measurement may be wrong.
        extras: The optional parts of the installation.
        defaults: What commands compute with by default; None if torch cannot be used.
    """

    versions: Mapping[str, str]
    system: Mapping[str, str]
    accelerators: Sequence[str]
    problems: Sequence[str]
    caches: Sequence[Cache]
    lanes: Sequence[Lane]
    measured: Sequence[Measured]
    warnings: Sequence[str] = ()
    extras: Sequence[Extra] = ()
    defaults: Defaults | None = None

    def to_dict(self) -> dict[str, Any]:
        """The object that ``doctor --json`` prints."""
        lanes = [
            {
                "precision": lane.precision,
                "native": lane.native,
                "engines": [
                    {"images": count, "engine": engine, "reason": reason}
                    for count, (engine, reason) in lane.engines.items()
                ],
                "cost": lane.cost,
                "command": lane.command,
            }
            for lane in self.lanes
        ]
        return {
            "schema_version": SCHEMA_VERSION,
            "versions": dict(self.versions),
            "system": dict(self.system),
            "accelerators": list(self.accelerators),
            "problems": list(self.problems),
            "caches": [dataclasses.asdict(cache) for cache in self.caches],
            "extras": [dataclasses.asdict(extra) for extra in self.extras],
            "defaults": dataclasses.asdict(self.defaults) if self.defaults else None,
            "precisions": lanes,
            "measured": [one.to_dict() for one in self.measured],
            "warnings": list(self.warnings),
        }


def diagnose(*, measure: bool = False, on_event: Callable[[str], None] = lambda _: None) -> Diagnosis:
    """Examines this machine and installation.

    Args:
        measure: Whether to measure the engines now, which takes about half a minute.
        on_event: Called with what is done next, in words.
    """
    problems: list[str] = []
    warnings: list[str] = []
    on_event("loading torch")
    found = accelerators(problems)
    if measure:
        if is_busy():
            warnings.append("other programs are busy on this machine: the measured rates are too low")
        problems += _measure(on_event)
    mine = [here(precision, SIDE) for precision in PREFERRED]
    return Diagnosis(
        versions=versions(problems),
        system=system_facts(),
        accelerators=found,
        problems=problems,
        caches=caches(problems),
        lanes=[_lane(precision) for precision in ("fp32", "bf16", "int8")],
        measured=[one for one in read_all() if _without_size(one.conditions) in map(_without_size, mine)],
        warnings=warnings,
        extras=extras(),
        defaults=defaults(),
    )


def _lane(precision: str) -> Lane:
    processor = this_processor()
    engines: dict[int, tuple[str, str]] = {}
    with contextlib.suppress(ResnetCliError):
        for count in (ONE, MANY):
            choice = choose_engine(precision=precision, side=SIDE, num_images=count)
            engines[count] = choice.engine, choice.reason
    native = {"bf16": processor.multiplies_bf16, "int8": processor.multiplies_int8}.get(precision, True)
    missing = "openvino" not in usable_engines(precision) and PREFERRED[precision][0] == "openvino"
    command = install_command("openvino") if missing and (native or precision != "bf16") else ""
    return Lane(precision, engines, native, _COSTS.get(precision, ""), command)


def _measure(on_event: Callable[[str], None]) -> list[str]:
    """Measures the engines in float32 and bfloat16; what fails is returned in sentences."""
    problems: list[str] = []
    try:
        from resnet_cli.engines.backbone_writer import write_backbone
        from resnet_cli.engines.measuring import measure
        from resnet_cli.model.network import ResNet50
        from resnet_cli.preprocess import Preprocess

        with temporary_folder() as folder:
            path = folder / "backbone.onnx"
            write_backbone(ResNet50(2).eval(), Preprocess(resize_size=SIDE, crop_size=SIDE), "random", path)
            for precision in ("fp32", "bf16"):
                if precision == "bf16" and not this_processor().multiplies_bf16:
                    continue
                on_event(f"measuring {precision}")
                usable = usable_engines(precision)
                rates = measure(here(precision, SIDE), usable, path)
                problems += [
                    f"{NAMES[name]} could not be measured in {precision}" for name in usable if name not in rates
                ]
    except Exception as error:  # noqa: BLE001
        # The rest of the diagnosis is worth more than this traceback.
        problems.append(f"the engines could not be measured: {in_short(error)}")
    return problems


def _without_size(conditions: Conditions) -> Conditions:
    return dataclasses.replace(conditions, side=0, precision="")


def fastest(measured: Sequence[Measured]) -> dict[str, tuple[str, Rate]]:
    """Precision -> the engine with the highest rate in the newest measurement, and that rate."""
    found: dict[str, tuple[str, Rate]] = {}
    for one in measured:
        if one.rates and one.conditions.side == SIDE:
            found[one.conditions.precision] = max(one.rates.items(), key=lambda item: item[1].per_s)
    return found
