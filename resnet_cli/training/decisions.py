"""The decisions of a plan, each recorded where it is made: its value, who made it and why."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, cast

from resnet_cli.config.base import Resolved
from resnet_cli.config.finetune import FinetuneConfig

T = TypeVar("T")

#: The order in which a plan is shown; what is not named here follows in the order of the config's fields.
ORDER = (
    *("data", "task", "split", "check", "limit", "fraction", "weights", "add", "mode", "head", "solver"),
    *(
        "image-size",
        "progressive",
        "fit",
        "bit-depth",
        "device",
        "precision",
        "threads",
        "loss",
        "label-smoothing",
        "balance",
    ),
    *("epochs", "patience", "target", "batch-size", "unfreeze", "optimizer", "lr", "step-precision", "augment"),
    *("mixup", "cutmix", "batchnorm", "head-lr", "weight-decay", "clip-grad", "ema", "average", "seed"),
)
#: What values mean that only the user can set.
NOTES = {
    "limit": "training images, balanced across the classes",
    "fraction": "share of each class's training images",
    "progressive": "pixels in the first epoch",
    "patience": "epochs without improvement before training stops",
    "target": "validation top-1 (multi-label: mAP) at which training stops",
    "clip-grad": "maximum gradient norm",
    "ema": "decay of the weight average that is validated and kept",
    "average": "last epochs whose weights are averaged",
}


@dataclasses.dataclass(frozen=True)
class Choice:
    """One row of the plan.

    Attributes:
        name: The flag's name without the dashes, or the name of a finding such as ``split``.
        value: The value as text.
        origin: ``flag``, ``config`` (the YAML file), ``default`` or ``auto``.
        why: The reason, or what the value means; may be empty.
    """

    name: str
    value: str
    origin: str
    why: str = ""


class Decisions:
    """Makes every decision of a plan: the user's value if there is one, otherwise the default.

    Args:
        resolved: The config and who set each of its values.

    Attributes:
        resolved: The config and who set each of its values.
        config: The user's values.
        values: Field of the config -> decided value. A config with these values makes the same plan again.
    """

    def __init__(self, resolved: Resolved[FinetuneConfig]) -> None:
        self.resolved, self.config = resolved, resolved.config
        self._choices: dict[str, Choice] = {}
        self.values: dict[str, Any] = {}

    def decide(self, name: str, default: T, why: str = "", *, row: bool = True) -> T:
        """Returns the user's value of a flag, or the default if the user left it open, and records it.

        Args:
            name: The flag's name without the leading dashes.
            default: The value for None and ``auto``.
            why: The reason for the default.
            row: Whether the default is worth a row; a value of the user always is.
        """
        asked = getattr(self.config, name.replace("-", "_"))
        is_asked = asked not in {None, "auto"}
        value = cast(T, asked) if is_asked else default
        self.values[name.replace("-", "_")] = value
        if row or is_asked:
            self.record(name, value, "" if is_asked else why)
        return value

    def record(self, name: str, value: object, why: str = "") -> None:
        """Records a row: a finding, or a value that was decided elsewhere."""
        field = name.replace("-", "_")
        origin = self.resolved.origins.get(field, "auto")
        if origin == "default" and getattr(self.config, field, None) in {None, "auto"}:
            origin = "auto"
        text = ", ".join(value) if isinstance(value, tuple) else str(value)
        self._choices[name] = Choice(name, text, origin if origin in {"auto", "default", "flag"} else "config", why)

    def note(self, name: str, why: str) -> None:
        """Says what a recorded value means, unless a reason for it is recorded already."""
        choice = self._choices.get(name)
        if choice is not None and not choice.why:
            self._choices[name] = dataclasses.replace(choice, why=why)

    def add_note(self, name: str, why: str) -> None:
        """Adds to the reason of a recorded value; nothing if the text is empty."""
        choice = self._choices[name]
        self._choices[name] = dataclasses.replace(choice, why="; ".join(filter(None, (choice.why, why))))

    def why(self, name: str) -> str:
        """The recorded reason of a decision; empty if there is none."""
        return self._choices[name].why

    def choices(self) -> tuple[Choice, ...]:
        """All rows in the order in which they are shown, with everything that the user set."""
        names = [field.replace("_", "-") for field in FinetuneConfig.model_fields]
        for name, about in zip(names, FinetuneConfig.model_fields.values(), strict=True):
            value = getattr(self.config, name.replace("-", "_"))
            if name not in self._choices and value != about.default:
                self.record(name, value, NOTES.get(name, ""))
        rank = {name: at for at, name in enumerate(dict.fromkeys([*ORDER, *names]))}
        return tuple(sorted(self._choices.values(), key=lambda choice: rank[choice.name]))
