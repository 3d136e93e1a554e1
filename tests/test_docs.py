"""The commands and the code of README, docs/ and examples/ are run here; those that cannot be are parsed."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from support.narrow_network import make_narrow
from typer.core import TyperGroup
from typer.testing import CliRunner

import resnet_cli
from resnet_cli.cli import COMMANDS, app
from resnet_cli.model.network import ResNet50
from resnet_cli.model.weights import load_model
from resnet_cli.network import download, registry
from resnet_cli.training import defaults

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
#: Installers need an index; test_the_package_builds_and_installs does what they do.
INSTALLERS = {"pipx install ."}
MAX_README_LINES = 150
MAX_IMAGE_BYTES = 300_000


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.S)
    return found


def with_blocks(language: str) -> list[str]:
    return [page for page in PAGES if blocks(page, language)]


def words(text: str) -> list[str]:
    """The words of a command without its comment, variables and everything in front of ``resnet-cli``."""
    found = shlex.split(text, comments=True)
    starts = [place for place, word in enumerate(found) if word in {"resnet-cli", "resnet_cli"}]
    return found[starts[0] + 1 :] if starts else []


def calls(page: str) -> Iterator[list[str]]:
    """The arguments of each ``resnet-cli`` call in a page's ``sh`` blocks and inline code."""
    lines = [line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"```.*?```", "", PAGES[page], flags=re.S)
    # A name alone, as in `resnet-cli inspect`, is no call.
    yield from (found for found in map(words, lines + re.findall(r"`(resnet-cli [^`]+)`", prose)) if found[1:])


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like the ImageNet weights, with random values."""
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.manual_seed(0)
    torch.save(ResNet50(1000).state_dict(), path)
    return path


@pytest.fixture
def tour(tmp_path: Path, make_folder: Callable[..., Path], stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the README and the pages start in."""
    make_folder({"cat": 8, "dog": 8}, "photos")
    make_folder({"cow": 8, "horse": 8}, "farm")
    write_leaves(tmp_path / "leaves")
    images = tmp_path / "images"
    images.mkdir()
    Image.new("RGB", (40, 40), "red").save(images / "1.png")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(images / "1.png", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "find_cached", lambda file, folder: stand_in)
    # Training everything on 224 px would take a minute; the choice itself is tested with the plan.
    monkeypatch.setattr(defaults, "AUTO_FULL_CPU_S", 0)
    monkeypatch.setattr(defaults, "default_image_size", lambda *_: (32, "as the tests want it"))
    return tmp_path


def write_leaves(folder: Path) -> None:
    """Images with two labels, one, or none, and their table."""
    folder.mkdir()
    rng, rows = np.random.default_rng(0), ["image,labels"]
    for number in range(24):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
        rows.append(f"{number}.jpg,{('scab;rust', 'rust', '', 'scab')[number % 4]}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture
def narrow_tour(tour: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with a network of few weights."""
    make_narrow(monkeypatch)
    torch.manual_seed(0)
    torch.save(ResNet50(1000).state_dict(), tour / "narrow.pth")
    monkeypatch.setattr(download, "find_cached", lambda file, folder: tour / "narrow.pth")
    return tour


def run_commands(page: str) -> int:
    """Runs what the ``console`` blocks of a page say, in order, and counts the calls of ``resnet-cli``."""
    ran = 0
    for command in [line[2:] for block in blocks(page, "console") for line in block.splitlines()]:
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
    return ran


def test_every_command_of_the_readme_runs_in_order(tour: Path) -> None:
    assert run_commands("README.md") >= 8


@pytest.mark.parametrize("page", [page for page in with_blocks("console") if page != "README.md"])
def test_every_command_of_a_page_runs_in_order(page: str, narrow_tour: Path) -> None:
    assert run_commands(page) or "install" in page


def parse(command: Any, name: str | None, arguments: list[str], parent: Any) -> None:
    """Parses the arguments of a command, and those of the command inside it that they name."""
    context = command.make_context(name, arguments, parent=parent)
    if isinstance(command, TyperGroup):
        inner_name, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        parse(inner, inner_name, rest, context)


@pytest.mark.parametrize("page", PAGES)
def test_every_call_that_is_not_run_can_be_parsed(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for arguments in calls(page):
        with typer.Context(group, info_name="resnet-cli") as context:
            name, command, rest = group.resolve_command(context, list(arguments))
            assert command is not None
            parse(command, name, rest, context)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in {"docs/benchmarks.md", "docs/many-machines.md"}]
)
def test_every_flag_of_a_page_exists(page: str) -> None:
    contract = json.loads((ROOT / "tests" / "cli_contract.json").read_text(encoding="utf-8"))["parameters"]
    known = {flag for parameters in contract.values() for parameter in parameters for flag in parameter["flags"]}
    named = set(re.findall(r"`(--[a-z][a-z0-9-]*)", PAGES[page])) - {"--help", "--help-all"}
    assert named <= known, named - known


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)#\s]*)(#[^)\s]*)?\)", PAGES[page]):
        path, anchor = link
        if path.startswith("https://"):
            continue
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page}: {path}"
        if target.suffix == ".png":
            assert target.stat().st_size <= MAX_IMAGE_BYTES
        if anchor:
            titles = re.findall(r"^#+ (.*)", target.read_text(encoding="utf-8"), re.M)
            assert anchor[1:] in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles], link


def test_every_help_ends_with_examples_that_can_be_typed_and_a_page() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for name in COMMANDS:
        with typer.Context(group, info_name="resnet-cli") as context:
            _, command, _ = group.resolve_command(context, [name])
        assert command is not None
        *examples, more = (command.epilog or "").splitlines()
        assert more.removeprefix("More: ") in PAGES, name
        for example in [line for line in examples if line.startswith("  ")]:
            with typer.Context(group, info_name="resnet-cli") as context:
                _, called, rest = group.resolve_command(context, words(example))
                assert called is not None and called.name == name
                parse(called, name, rest, context)


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    assert len(PAGES["README.md"].splitlines()) <= MAX_README_LINES
    assert all(page in PAGES["README.md"] for page in PAGES if page != "README.md")


@pytest.mark.parametrize("page", with_blocks("python"))
def test_the_python_of_a_page_runs(page: str, narrow_tour: Path) -> None:
    exec(compile("\n".join(blocks(page, "python")), page, "exec"), {})


def test_the_library_example_runs(
    tour: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["library.py", "photos", "images/1.png", "images/none.png"])
    runpy.run_path("examples/library.py", run_name="__main__")
    printed = capsys.readouterr().out
    assert "validation top-1" in printed and "images/1.png: " in printed and "No such file" in printed


def test_the_example_of_two_digits_predicts_the_same_with_and_without_resnet_cli(
    narrow_tour: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["two_digits.py", "pairs"])
    # Plots are most of the time of so small a run.
    monkeypatch.setattr("resnet_cli.training.report.write_report_files", lambda *_, **__: None)
    runpy.run_path("examples/two_digits.py", run_name="__main__")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("pairs/new")]
    found = [sorted(re.findall(r"'(\d)'", line)) for line in lines]
    assert len(found) == 10 and found[:5] == found[5:]


@pytest.mark.slow
def test_the_example_of_two_digits_learns_with_real_weights(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (weights,) = (assets / "weights").glob("*.safetensors")
    monkeypatch.setattr(sys, "argv", ["two_digits.py", str(tmp_path / "pairs"), str(weights)])
    runpy.run_path(str(ROOT / "examples" / "two_digits.py"), run_name="__main__")
    found = re.search(r"mAP: ([\d.]+) %", capsys.readouterr().out)
    assert found and float(found[1]) > 75


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
    for path in (ROOT / "resnet_cli").glob("*/__init__.py"):
        assert f"{path.parent.name}/" in block


def test_the_walks_of_contributing_name_files_and_calls_and_keep_to_their_limits() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Walks")[1]
    walks = re.findall(r"^### [^\n]*: at most (\d+) files\n(.*?)(?=^###|\Z)", text, re.M | re.S)
    assert len(walks) == 6
    for most, walk in walks:
        steps = re.findall(r"^\d+\. `([\w/]+\.py)`: ((?:.|\n(?!\d))*)", walk, re.M)
        assert 5 < len(steps) <= int(most)
        for file, what in steps:
            source = (ROOT / "resnet_cli" / file).read_text(encoding="utf-8")
            for name in re.findall(r"`(\w+)`", what):
                assert re.search(rf"\b{name}\b", source), f"{file}: {name}"
            for other in re.findall(r"`([\w/]+\.py)`", what):
                folder = ROOT / "resnet_cli"
                assert (folder / other).exists() or ((folder / file).parent / other).exists(), other


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
