"""The walls of the house: which module may import, print, load and unpack what."""

from __future__ import annotations

import ast
import functools
import graphlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.running import IMPORTED

import resnet_cli

ROOT = Path(resnet_cli.__file__).parent
#: From the top, one row per room: a module may import its own room and those below.
ROOMS = (
    "__main__",
    "api",
    "cli",
    "studio",
    "commands",
    "loggers",
    "serving",
    "outputs",
    "training",
    "exporting",
    "reporting",
    "studies",
    "evaluation",
    "runs",
    "history",
    "predictor",
    "int8_predictor",
    "engine_predictor",
    "exported",
    "prediction",
    "heads",
    "engines",
    "model",
    "data",
    "network",
    "preprocess",
    "images",
    "task",
    "system",
    "config",
    "text",
    "errors",
    "installation",
    "version",
)
LEVEL = {name: level for level, name in enumerate(ROOMS)}
#: The same inside ``data``; its modules outside the four rooms are below them all.
DATA_ROOMS = ("inputs", "views", "inspection", "sources")
#: The same inside ``data.sources``: from the module that opens DATA to the rows that tables and lists consist of.
SOURCE_ROOMS = (
    "opening",
    "readers",
    "named",
    "shards",
    "lists",
    "annotations",
    "arrays",
    "folders",
    "fetching",
    "tables",
    "rows",
)
#: Imports from a lower room to a higher one: (module, imported module) -> the reason. At most two are tolerated.
ALLOWED_UPWARD: dict[tuple[str, str], str] = {}
HEAVY = {"torch", "torchvision", "numpy", "PIL", "sklearn", "matplotlib", "yaml", "safetensors"}


def modules() -> dict[str, ast.Module]:
    """Dotted name below the package -> its tree."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__") or name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


MODULES = modules()
#: The package itself is a door: it hands out the API lazily, and only its version is asked for from inside.
PACKAGE = MODULES.pop("__init__")
CORE = {name: tree for name, tree in MODULES.items() if name.partition(".")[0] not in {"cli", "__main__"}}


@functools.cache
def imports(tree: ast.Module) -> tuple[str, ...]:
    """Every imported module's full name, also inside functions and under ``TYPE_CHECKING``."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                is_module = full.removeprefix("resnet_cli.") in MODULES
                found.append(full if is_module else node.module)
    return tuple(found)


def own_imports(tree: ast.Module) -> set[str]:
    names = {name for name in imports(tree) if name.split(".")[0] == "resnet_cli"}
    return {name.partition(".")[2] for name in names} - {""}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_every_module_has_its_place() -> None:
    assert {name.partition(".")[0] for name in MODULES} == set(ROOMS)


def is_upward(importer: str, imported: str) -> bool:
    """Whether an import leads from a lower room to a higher one."""
    rooms, other_rooms = importer.split("."), imported.split(".")
    for depth, inner in ((2, SOURCE_ROOMS), (1, DATA_ROOMS)):
        if rooms[:depth] == other_rooms[:depth] == ["data", "sources"][:depth]:
            levels = [
                inner.index(x[depth]) if x[depth:] and x[depth] in inner else len(inner) for x in (rooms, other_rooms)
            ]
            return levels[1] < levels[0]
    return LEVEL[other_rooms[0]] < LEVEL[rooms[0]]


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_one_way(name: str) -> None:
    upward = {other for other in own_imports(MODULES[name]) if is_upward(name, other)}
    upward -= {other for importer, other in ALLOWED_UPWARD if importer == name}
    assert not upward, f"{name} imports {upward}"


def test_at_most_two_imports_lead_back_up_and_each_has_a_reason() -> None:
    assert len(ALLOWED_UPWARD) <= 2 and all(ALLOWED_UPWARD.values())
    assert all(other in own_imports(MODULES[importer]) for importer, other in ALLOWED_UPWARD)


def test_the_core_imports_itself_without_circles() -> None:
    graph = {name: own_imports(tree) - {name} for name, tree in CORE.items()}
    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("name", CORE)
def test_the_core_knows_no_terminal(name: str) -> None:
    tree = CORE[name]
    assert not {other.partition(".")[0] for other in imports(tree)} & {"typer", "rich", "click"}
    assert not {called for called, _ in calls(tree)} & {"sys.exit", "exit", "quit", "os._exit", "input"}


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"cli.output"}))
def test_only_output_prints(name: str) -> None:
    tree = MODULES[name]
    assert not {called for called, _ in calls(tree)} & {"print", "typer.echo", "typer.secho"}
    asked = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in {"isatty"}}
    streams = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {"sys.stdout", "sys.stderr"}
    ]
    # cli.streams prepares the streams that cli.output prints on.
    assert name == "cli.streams" or all(id(node) in asked for node in streams), (
        f"{name} uses a stream for more than isatty()"
    )


@pytest.mark.parametrize("name", MODULES)
def test_nothing_a_stranger_hands_us_is_run(name: str) -> None:
    assert not {other.partition(".")[0] for other in imports(MODULES[name])} & {"dill", "joblib", "shelve", "marshal"}
    for called, node in calls(MODULES[name]):
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        last = called.rpartition(".")[2]
        if called == "torch.load":
            assert keywords.get("weights_only") == "True"
        if called == "yaml.load":
            assert keywords.get("Loader") == "_StrictLoader"
        assert not (called.startswith("yaml.") and last in {"unsafe_load", "full_load", "load_all"}), called
        assert not (called.startswith("pickle.") and last in {"load", "loads", "Unpickler"}), called
        # ncnn's Extractor unpacks nothing: it computes a result by its name.
        computes = (name, called) == ("exported.ncnn", "extractor.extract")
        assert computes or last not in {"extractall", "extract", "unpack_archive"}, called
        assert called not in {"eval", "exec", "os.system"} and keywords.get("shell") != "True", called


def test_the_rules_would_notice() -> None:
    bad = ast.parse(
        "def f():\n    from resnet_cli.cli import output\n    import resnet_cli.training.plan\n    print(1)"
    )
    assert own_imports(bad) == {"cli.output", "training.plan"}
    assert [called for called, _ in calls(bad)] == ["print"]


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["finetune", "--help"], 0),
        (["eval", "--help"], 0),
        (["predict", "--help"], 0),
        (["demo", "--help"], 0),
        (["inspect", "--help"], 0),
        (["inspect"], 2),
        (["download", "--help"], 0),
        (["download"], 2),
        (["nonsense"], 2),
        (["finetune", "--nonsense"], 2),
        (["finetune", "--epochs", "ten"], 2),
        (["predict"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_help_and_usage_errors_import_nothing_heavy(arguments: list[str], exit_code: int) -> None:
    # Typer itself imports pydantic to read a command's parameters.
    heavy = HEAVY | {"pydantic"} if arguments in (["--help"], ["--version"]) else HEAVY
    done = subprocess.run([sys.executable, "-c", IMPORTED, *arguments], capture_output=True, text=True, check=True)
    code, names = json.loads(done.stderr.rpartition("\n")[2])
    assert code == exit_code
    assert not set(names) & heavy
    assert "Traceback" not in done.stderr


def test_a_bad_value_is_refused_before_torch_is_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, "finetune", "--epochs", "0"], capture_output=True, text=True, check=True
    )
    code, names = json.loads(done.stderr.rpartition("\n")[2])
    assert code == 2
    assert not set(names) & {"torch", "numpy", "PIL"}


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, resnet_cli, resnet_cli.errors; print(len([n for n in sys.modules if n in sys.argv]))"
    done = subprocess.run([sys.executable, "-c", code, *HEAVY, "typer"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
