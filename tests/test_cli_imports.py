"""Each command loads what it uses and nothing more: seconds of its start are imports."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from support.running import IMPORTED, Trained, command_environment, run_cli
from typer.core import TyperGroup

import resnet_cli
from resnet_cli.__main__ import _leave_current_folder
from resnet_cli.cli import COMMANDS, app
from resnet_cli.engines.backbone_writer import keep_backbone

pytest_plugins = ["support.exported_model", "support.small_runs"]

#: What takes long to import, or much memory; sympy stands for torch's compiler, which brings it along.
HEAVY = {
    "torch",
    "torchvision",
    "sympy",
    "numpy",
    "PIL",
    "sklearn",
    "scipy",
    "pandas",
    "matplotlib",
    "safetensors",
    "onnx",
    "onnxruntime",
    "jinja2",
    "huggingface_hub",
    "pyarrow",
    "starlette",
    "uvicorn",
    "ray",
}
IMAGES = {"numpy", "PIL"}
#: scikit-learn looks at the two tables itself where they are installed.
METRICS = {"sklearn", "scipy", "pandas", "pyarrow"}
ALLOWED = {
    "predict IMAGE --model RUN --device cpu": IMAGES | {"onnxruntime", "safetensors"},
    "predict IMAGE --model ONNX": IMAGES | {"onnxruntime"},
    "eval RUN --no-report": IMAGES | {"torch", "safetensors"} | METRICS,
    "eval ONNX PHOTOS --no-report": IMAGES | {"torch", "safetensors", "onnxruntime"} | METRICS,
    "inspect PHOTOS": IMAGES,
    "download --list": IMAGES | {"huggingface_hub"},
    "serve --host 0.0.0.0": set(),
    "export --format torchscript": set(),
    "finetune --epochs 0": set(),
}


@pytest.mark.parametrize("typed", ALLOWED)
def test_a_command_imports_only_what_it_uses(
    typed: str, full_run: Trained, photos: Path, made_onnx: Path, here: Path
) -> None:
    names = {
        "IMAGE": next((photos / "test" / "red").iterdir()),
        "RUN": full_run.run,
        "ONNX": made_onnx,
        "PHOTOS": photos,
    }
    if "RUN --device cpu" in typed:
        # As the training leaves it, or the first prediction; both need torch.
        keep_backbone(full_run.result.model.network, full_run.result.model.preprocess)
    words = [str(names.get(word, word)) for word in typed.split()]
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *words], env=command_environment(), capture_output=True, text=True, check=True
    )
    code, imported = json.loads(done.stderr.rpartition("\n")[2])
    # The made-up model knows other classes than the photos: it is loaded and then refused.
    assert code == {"eval ONNX PHOTOS --no-report": 3}.get(typed, 2 if not ALLOWED[typed] else 0), done.stderr
    assert set(imported) & HEAVY <= ALLOWED[typed]


def test_the_current_folder_offers_no_modules(here: Path) -> None:
    for name in ("typer", "rich", "pydantic", "onnx"):
        Path(name).mkdir()
        Path(name, "__init__.py").write_text("raise SystemExit('imported from the current folder')")
    environment = command_environment() | {"PYTHONPATH": str(Path(resnet_cli.__file__).parents[1])}
    command = [sys.executable, "-m", "resnet_cli", "export", "--format", "torchscript"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "torch has deprecated it" in done.stderr


def test_a_clone_that_is_the_current_folder_is_searched_last(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = str(Path(resnet_cli.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    for others, after in ((["libraries"], ["libraries", clone]), (["libraries", clone], ["libraries", clone])):
        monkeypatch.setattr(sys, "path", [clone, *others])
        _leave_current_folder()
        assert sys.path == after
    # The processes that are started find it too.
    assert os.environ["PYTHONPATH"] == os.pathsep.join(["elsewhere", clone])


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    for name, (module, _) in COMMANDS.items():
        importlib.import_module(f"resnet_cli.cli.{module}")
        # Called once, it is no longer only a line in the list.
        assert run_cli(name, "--help").exit_code == 0
    called = typer.main.get_command(app)
    assert isinstance(called, TyperGroup)
    assert list(called.commands) == list(COMMANDS)
    assert {name: (command.help or "").split("\n")[0] for name, command in called.commands.items()} == {
        name: about for name, (_, about) in COMMANDS.items()
    }
    assert all(command.params or isinstance(command, TyperGroup) for command in called.commands.values())
