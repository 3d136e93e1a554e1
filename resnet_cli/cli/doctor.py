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
        bool, typer.Option("--measure", metavar="", help="Measure the engines first; takes about half a minute.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show versions, processor, caches and engines, for a bug report.

    They also decide how fast predictions are.
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
    from resnet_cli.text import size

    caches = plain_table("Caches", "what", ">size", "folder")
    for cache in found.caches:
        problem = f" (cannot be written: {cache.problem})" if cache.problem else ""
        caches.add_row(cache.what, size(cache.num_bytes), cache.path + problem)
    return [
        _facts("Versions", found.versions),
        _facts(
            "Machine", dict(found.system) | {"accelerators": "; ".join(found.accelerators) or "none that torch can use"}
        ),
        caches,
        _precisions(found),
        *_rates(found),
    ]


def _facts(title: str, facts: dict[str, str] | object) -> Table:
    from rich.text import Text

    from resnet_cli.cli.tables import plain_table

    assert hasattr(facts, "items")
    table = plain_table(title, "", "")
    table.show_header = False
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), Text(value))
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
            (lane.cost, f"faster with OpenVINO: {lane.command}" if lane.command and lane.precision != "fp32" else ""),
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
