"""``resnet-cli doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from resnet_cli.cli import app, output
from resnet_cli.cli.options import JsonFlag
from resnet_cli.cli.takes import examples

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from resnet_cli.commands.doctor import Diagnosis


@app.command(epilog=examples("resnet-cli doctor", "resnet-cli doctor --measure", docs="installation.md"))
def doctor(
    measure: Annotated[
        bool, typer.Option("--measure", metavar="", help="Measure the engines first, which takes about half a minute.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show versions, processor, caches and engines, for a bug report.

    The list also explains how fast predictions are on this machine.
    """
    from resnet_cli.commands.doctor import diagnose

    def show(step: str) -> None:
        if measure and not as_json:
            output.note(f"{step} ...")

    with output.status("examining this machine", quiet=as_json or measure):
        found = diagnose(measure=measure, on_event=show)
    if as_json:
        return output.show_json(found.to_dict())
    output.show(*blocks(found))
    for text in (*found.problems, *found.warnings):
        output.warn(text)


def blocks(found: Diagnosis) -> list[RenderableType]:
    """The diagnosis as tables."""
    from resnet_cli.cli.tables import plain_table
    from resnet_cli.system.paths import shorten_home
    from resnet_cli.text import size

    defaults = found.defaults
    chosen = (
        {}
        if defaults is None
        else {
            "device": defaults.device,
            "predictions": f"{defaults.precision}: {defaults.why}",
            "training steps": ": ".join(filter(None, (defaults.step_precision, defaults.step_why))),
        }
    )
    caches = plain_table("Caches", "what", ">size", "folder")
    for cache in found.caches:
        problem = f" (cannot be written: {cache.problem})" if cache.problem else ""
        caches.add_row(cache.what, size(cache.num_bytes), shorten_home(cache.path) + problem)
    return [
        # The command that adds what is missing follows, where it is not broken into lines.
        _facts("Versions", {name: text.partition(";")[0] for name, text in found.versions.items()}),
        _facts(
            "Machine", dict(found.system) | {"accelerators": "; ".join(found.accelerators) or "none that torch can use"}
        ),
        *([_facts("Defaults", chosen)] if chosen else []),
        caches,
        *_extras(found),
        _precisions(found),
        *_rates(found),
    ]


def _extras(found: Diagnosis) -> list[RenderableType]:
    """The optional parts that are missing, each with what it is for and the command that adds it."""
    from rich.text import Text

    missing = [extra for extra in found.extras if extra.missing]
    if not missing:
        return []
    present = [extra.name for extra in found.extras if not extra.missing]
    lines: list[RenderableType] = [Text("Extras that are not installed", style="bold")]
    for extra in missing:
        # As text of its own, which is never broken into lines: it can be copied.
        lines += [Text.assemble(f"  {extra.name:13}", (extra.purpose, "dim")), Text(f"      {extra.command}")]
    return [*lines, *([Text(f"  installed: {', '.join(present)}", "dim")] if present else []), ""]


def show_short() -> None:
    """Prints the lines of ``--version --verbose``."""
    from resnet_cli.commands.doctor_facts import short_facts

    for line in short_facts():
        output.show_prose(line)


def _facts(title: str, facts: dict[str, str] | object) -> Table:
    from rich.text import Text

    from resnet_cli.cli.tables import plain_table
    from resnet_cli.system.paths import shorten_home

    assert hasattr(facts, "items")
    table = plain_table(title, "", "")
    table.show_header = False
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), Text(shorten_home(value)))
    return table


def _precisions(found: Diagnosis) -> Table:
    """What computes one image and many in each precision, and what each precision brings and costs."""
    from rich.text import Text

    from resnet_cli.cli.tables import plain_table
    from resnet_cli.commands.doctor import MANY, ONE, fastest
    from resnet_cli.engines.choice import engine_name

    rates = fastest(found.measured)
    table = plain_table("Precisions on the CPU", "--precision", "one image", "many images", "brings and costs")
    for lane in found.lanes:
        engines = [engine_name(lane.engines[count][0]) if count in lane.engines else "-" for count in (ONE, MANY)]
        lines = []
        if lane.precision == "fp32":
            lines.append("the default: the same predictions on every machine")
            lines += [f"many images: {lane.engines[MANY][1]}"] if MANY in lane.engines else []
        elif not lane.native:
            lines.append("this processor has no instructions for it: slow")
        elif lane.precision in rates and "fp32" in rates:
            gain = rates[lane.precision][1].per_s / rates["fp32"][1].per_s
            lines.append(f"{gain:.1f} times the images per second")
        lines += filter(
            None,
            (lane.cost, "faster with the extra openvino" if lane.command and lane.precision != "fp32" else ""),
        )
        table.add_row(lane.precision, *engines, Text("\n".join(lines)))
    if found.accelerators:
        table.caption = "without --device cpu, torch computes on the accelerator"
    return table


def _rates(found: Diagnosis) -> list[RenderableType]:
    """The measured rates; without any, how to measure them."""
    from resnet_cli.cli.tables import plain_table
    from resnet_cli.engines.choice import engine_name

    if not found.measured:
        return ["Rates are not measured yet: resnet-cli doctor --measure"]
    table = plain_table(
        "Measured rates", "engine", "--precision", ">side", ">images/s", ">ready after", "measured (UTC)"
    )
    for one in found.measured:
        for name, rate in one.rates.items():
            when = one.when.replace("T", " ")[:16]
            cells = (f"{one.conditions.side} px", f"{rate.per_s:.1f}", f"{rate.start_s:.1f} s")
            table.add_row(engine_name(name), one.conditions.precision, *cells, when)
    return [table]
