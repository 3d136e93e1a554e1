"""What a click does, as a command: the same words are shown, and carried out in a process of their own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from resnet_cli.config.base import Config, flag_name
from resnet_cli.config.eval import EvalConfig
from resnet_cli.config.export import ExportConfig
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.config.inspect import InspectConfig
from resnet_cli.errors import ConfigError, DiskError
from resnet_cli.studio.project import Project
from resnet_cli.system.paths import make_dir

Command: TypeAlias = Literal["inspect", "finetune", "eval", "export"]
CONFIGS: Mapping[Command, type[Config]] = {
    "inspect": InspectConfig,
    "finetune": FinetuneConfig,
    "eval": EvalConfig,
    "export": ExportConfig,
}
#: What the page offers -> flags of ``finetune``.
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "frozen": {"mode": "frozen"},
    "lp-ft": {"mode": "lp-ft"},
}
#: What the page offers -> flags of ``export``, and how the name of the file ends; a folder's name ends in nothing.
FORMATS: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "onnx": ({"format": "onnx"}, ".onnx"),
    "onnx-int8": ({"format": "onnx", "int8": True}, ".int8.onnx"),
    "pt2": ({"format": "pt2"}, ".pt2"),
    "safetensors": ({"format": "safetensors"}, ""),
    "openvino": ({"format": "openvino"}, ""),
    "web": ({"format": "web", "int8": True}, ""),
}


@dataclasses.dataclass(frozen=True)
class Call:
    """One command, to be run in the folder of a project.

    Attributes:
        command: Its name.
        words: MODEL or DATA, or both.
        flags: Field of the command's config -> value.
        resume: Whether ``finetune`` continues the run that ``words`` name.
    """

    command: Command
    words: tuple[str, ...]
    flags: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    resume: bool = False

    def line(self) -> str:
        """The command as it is typed."""
        config = CONFIGS[self.command]
        options: list[str] = ["--resume"] if self.resume else []
        for name, value in self.flags.items():
            options += [flag_name(config, name)] if value is True else [flag_name(config, name), str(value)]
        return shlex.join(["resnet-cli", self.command, *self.words, *options])

    def to_json(self, folder: Path) -> str:
        """The call, and the folder to run it in, for another process."""
        return json.dumps({"folder": str(folder), **dataclasses.asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> tuple[Call, Path]:
        """The inverse of :meth:`to_json`."""
        values = json.loads(text)
        folder = values.pop("folder")
        return cls(**values | {"words": tuple(values["words"])}), Path(folder)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the command line of ``studio`` says about every call.

    Attributes:
        weights: The value of ``--weights``; a path is absolute.
        offline: Whether nothing may be downloaded.
    """

    weights: str = "auto"
    offline: bool = False

    def flags(self) -> dict[str, Any]:
        """Flags of every command."""
        return {"offline": True} if self.offline else {}


def in_folder(folder: Path, *lines: str) -> str:
    """Commands that can be pasted into any terminal."""
    return "\n".join([shlex.join(["cd", str(folder)]), *lines])


def inspect_call(settings: Settings) -> Call:
    """Checks the images."""
    return Call("inspect", ("images",), {"html": "inspection.html"} | settings.flags())


def train_call(project: Project, settings: Settings, *, recipe: str) -> Call:
    """Trains on the images.

    Raises:
        ConfigError: There is no such recipe.
    """
    if recipe not in RECIPES:
        raise ConfigError(f"there is no recipe {recipe!r}", hint=f"one of {', '.join(RECIPES)}")
    weights = {} if settings.weights == "auto" else {"weights": settings.weights}
    flags = {**RECIPES[recipe], **weights, **settings.flags(), "out": project.new_path("runs")}
    return Call("finetune", ("images",), flags)


def resume_call(project: Project, run: str) -> Call:
    """Continues a training that was stopped."""
    return Call("finetune", (f"runs/{project.run(run).path.name}",), resume=True)


def audit_call(project: Project, settings: Settings, run: str) -> Call:
    """Checks the labels of all images with the features of a run."""
    words = (f"runs/{project.run(run).path.name}", "images")
    # This is also asked only to show the command, which a full disk must not prevent.
    with contextlib.suppress(DiskError):
        make_dir(project.path / "labels")
    out = project.new_path("labels", ".csv")
    return Call("eval", words, {"label_audit": True, "out": out} | settings.flags())


def export_call(project: Project, settings: Settings, run: str, form: str) -> Call:
    """Exports the model of a run.

    Raises:
        ConfigError: There is no such format.
    """
    if form not in FORMATS:
        raise ConfigError(f"there is no format {form!r}", hint=f"one of {', '.join(FORMATS)}")
    flags, suffix = FORMATS[form]
    number = project.run(run).path.name
    # Another export of the same run takes a name of its own.
    folder = project.path / "exports"
    stem = f"{project.name}-{number}" + ("" if suffix else f"-{form}")
    out = next(f"{stem}{more}{suffix}" for more in _MORE if not (folder / f"{stem}{more}{suffix}").exists())
    return Call("export", (f"runs/{number}",), dict(flags) | {"out": f"exports/{out}"} | settings.flags())


_MORE = ["", *(f"-{number}" for number in range(2, 1000))]
