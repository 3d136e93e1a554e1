"""The plan of a training: six lines that say what will happen, or a table of every decision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from resnet_cli.cli import output
from resnet_cli.cli.tables import plain_table
from resnet_cli.text import counted, display_width, duration, printable

if TYPE_CHECKING:
    from resnet_cli.training.plan import Plan

#: Columns of the names in the short plan.
NAME_WIDTH = 12
#: Widest column of values in the table; a longer value is broken.
MAX_VALUE_WIDTH = 36


def show_plan(plan: Plan, *, whole: bool) -> None:
    """Prints the plan on stderr, and what the user should know before the training starts.

    Args:
        plan: The plan.
        whole: Whether every decision is shown, with its origin and its reason.
    """
    if whole:
        output.note(plan_table(plan))
    else:
        output.note(Text.assemble(("Plan", "bold"), ("  (-v shows every decision)", "dim")))
        for name, text in short_plan(plan):
            output.note_labeled(f"  {name:<{NAME_WIDTH - 2}}", "dim", text)
    output.warn_or_note(plan.warnings, plan.notes)


def plan_table(plan: Plan) -> Table:
    """Every decision of a plan, who made it if it was not this program, and the reason."""
    table = plain_table("Plan", "what", "value", "set by", "why")
    longest = max(display_width(word) for choice in plan.choices for word in choice.value.split() or [""])
    table.columns[1].min_width = min(longest, MAX_VALUE_WIDTH)
    for choice in plan.choices:
        cells = [printable(choice.value), printable(choice.origin), printable(choice.why)]
        if choice.origin in {"auto", "default"}:
            cells[1] = ""
        table.add_row(choice.name, Text(cells[0]), Text(cells[1], style="dim"), Text(cells[2], style="dim"))
    return table


def short_plan(plan: Plan) -> Iterator[tuple[str, str]]:
    """The lines that matter most, six as a rule, each with its name."""
    choices = {choice.name: choice for choice in plan.choices}

    def reason(name: str) -> str:
        return f": {choices[name].why}" if choices[name].why else ""

    sizes = ", ".join(f"{num:,} {_SPLITS[split]}" for split, num in plan.dataset.sizes().items() if num)
    classes = counted(len(plan.dataset.classes), "class").replace("classs", "classes")
    yield "data", f"{plan.dataset.name}: {classes}, {sizes}"
    # Rare, and too important for the whole plan alone.
    for name in ("add", "seeds"):
        if name in choices:
            yield name, f"{choices[name].value}{reason(name)}"
    yield "weights", f"{choices['weights'].value}{reason('weights')}"
    yield "mode", f"{plan.mode}{reason('mode') or _MODES[plan.mode]}"
    size = f"{plan.preprocess.crop_size} px"
    yield "images", f"{size}, {plan.batch_size} per step" if plan.takes_steps else size
    yield "training", _training(plan)
    yield "device", f"{plan.compute.device}, {_precisions(plan)}{_rough_time(plan)}"


_SPLITS = {"train": "for training", "val": "for validation", "test": "for testing"}
_MODES = {
    "frozen": ": only the head trains",
    "lp-ft": ": a linear probe, then every layer",
    "full": ": every layer trains",
    "gradual": ": the stages train one after another, starting at the head",
}


def _training(plan: Plan) -> str:
    if not plan.takes_steps:
        return "a linear head, fitted by L-BFGS"
    rates = plan.rates
    lr = f"lr {rates.head_lr:g}" if rates.lr is None else f"lr {rates.lr:g}, head {rates.head_lr:g}"
    limit = plan.config.max_time
    most = "" if limit is None else f", at most {duration(limit)}"
    return f"{counted(plan.epochs, 'epoch')}{most}, {rates.optimizer}, {lr}"


def _precisions(plan: Plan) -> str:
    """The precision of all metrics, with its reason if it is not float32, and that of the steps if it is another."""
    whole, steps = plan.compute.precision, plan.step_compute.precision
    about = f" ({plan.compute.reason})" if whole != "fp32" and plan.compute.reason else ""
    return f"{whole}{about}" + ("" if plan.is_frozen or steps == whole else f", steps in {steps}")


def _rough_time(plan: Plan) -> str:
    """About how long it will take on a CPU; empty on other devices, whose speed is not known before the first step."""
    from resnet_cli.training.defaults import CPU_TRAIN_S_PER_IMAGE

    if plan.compute.type != "cpu":
        return ""
    sizes = plan.dataset.sizes()
    # A forward pass is a third of a step.
    num = (sum(sizes.values()) + sizes["val"] * plan.epochs) / 3 + sizes["train"] * plan.epochs
    if plan.is_frozen:
        num = sum(sizes.values()) / 3
    seconds = num * CPU_TRAIN_S_PER_IMAGE * (plan.preprocess.crop_size / 224) ** 2
    if plan.config.max_time is not None:
        seconds = min(seconds, plan.config.max_time)
    return f"; roughly {duration(max(seconds, 10))} (--dry-run measures it)"
