"""What the README and the examples tell people to type is typed here."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import resnet_cli
from resnet_cli.cli import app
from resnet_cli.model.network import ResNet50
from resnet_cli.model.weights import load_model
from resnet_cli.network import download, registry
from resnet_cli.training import defaults

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line[2:] for block in re.findall(r"```console\n(.*?)```", README, re.S) for line in block.splitlines()]
#: Installers need an index; test_the_package_builds_and_installs does what they do.
INSTALLERS = {"pipx install ."}


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like the ImageNet weights, with random values."""
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.manual_seed(0)
    torch.save(ResNet50(1000).state_dict(), path)
    return path


@pytest.fixture
def tour(tmp_path: Path, make_folder: Callable[..., Path], stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the README's tour starts in."""
    make_folder({"cat": 8, "dog": 8}, "photos")
    make_folder({"cow": 8, "horse": 8}, "farm")
    images = tmp_path / "images"
    images.mkdir()
    from PIL import Image

    Image.new("RGB", (40, 40), "red").save(images / "1.png")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(images / "1.png", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "find_cached", lambda file, folder: stand_in)
    # Training everything on 224 px would take a minute; the choice itself is tested with the plan.
    monkeypatch.setattr(defaults, "AUTO_FULL_CPU_S", 0)
    monkeypatch.setattr(defaults, "default_image_size", lambda *_: (32, "as the tests want it"))
    return tmp_path


def test_every_command_of_the_readme_runs_in_order(tour: Path) -> None:
    ran = 0
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        if program == "resnet-cli":
            result = CliRunner().invoke(app, arguments)
            assert result.exit_code == 0, f"{command}\n{result.output}"
            ran += 1
        elif program == "make":
            assert (
                subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, check=False).returncode == 0
            )
        else:
            assert command in INSTALLERS
    assert ran >= 8


def test_the_python_of_the_readme_runs(tour: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.S)
    exec(compile(block, "README.md", "exec"), {})


def test_the_library_example_runs(
    tour: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["library.py", "photos", "images/1.png", "images/none.png"])
    runpy.run_path("examples/library.py", run_name="__main__")
    printed = capsys.readouterr().out
    assert "validation top-1" in printed and "images/1.png: " in printed and "No such file" in printed


@pytest.mark.slow
def test_the_story_runs_as_a_script(tour: Path, stand_in: Path, make_folder: Callable[..., Path]) -> None:
    make_folder(dict.fromkeys(("cat", "deer", "dog", "horse"), 8), "four")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    story = subprocess.run(
        ["sh", "examples/cats_dogs_to_cows_horses.sh", "four"],
        env=os.environ | {"PATH": path, "WEIGHTS": str(stand_in)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert story.returncode == 0, story.stderr
    assert "all 4 classes, now" in story.stdout
    assert load_model(tour / "runs" / "all_four").classes == ("cat", "dog", "deer", "horse")


def test_the_tree_of_contributing_is_the_tree() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = text.split("## The tree")[1].split("```text")[1].split("```")[0]
    for name in re.findall(r"^  (\w\S+)  ", block, re.M):
        assert (ROOT / "resnet_cli" / name).exists(), name
    for path in (ROOT / "resnet_cli").glob("*.py"):
        assert path.name.startswith("__") or path.name in block, path.name


def test_the_weights_are_those_that_torchvision_names() -> None:
    from torchvision.models import ResNet50_Weights

    assert registry.WEIGHTS["imagenet-v1"].url == ResNet50_Weights.IMAGENET1K_V1.url
    assert registry.WEIGHTS["imagenet-v2"].url == ResNet50_Weights.IMAGENET1K_V2.url


def test_the_package_builds_and_installs(tmp_path: Path) -> None:
    """What pip, pipx and uv do with the folder, without an index: build a wheel, install it, run the command."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("resnet_cli-*.whl")
    target = tmp_path / "installed"
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", target, wheel], check=True)
    assert (target / "resnet_cli" / "py.typed").exists()
    version = subprocess.run(
        [sys.executable, target / "bin" / "resnet-cli", "--version"],
        env=os.environ | {"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert version.stdout == f"resnet-cli {resnet_cli.__version__}\n"
