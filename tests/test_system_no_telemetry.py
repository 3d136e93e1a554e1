"""The telemetry of libraries is switched off before they are imported, in any order of imports."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.running import command_environment

import resnet_cli
from resnet_cli.system import no_telemetry

ROOT = Path(resnet_cli.__file__).parent
#: What these libraries take as a sign that nobody is there, and then report nothing in any case.
SIGNS_OF_CI = ("CI", "GITHUB_ACTIONS", "GITLAB_CI", "TF_BUILD", "JENKINS_URL", "CIRCLECI", "BUILDKITE")

#: Libraries that report something by themselves.
SWITCHED_OFF = {"onnxruntime", "openvino", "huggingface_hub", "mlflow", "ray", "wandb"}
#: Libraries that use no network unless they are told to. Their source was searched for it.
SILENT = {
    *("IPython", "PIL", "aiohttp", "backports", "compression", "filelock", "fsspec", "h5py", "jinja2", "markupsafe"),
    *(
        "matplotlib",
        "numpy",
        "onnx",
        "openpyxl",
        "platformdirs",
        "prometheus_client",
        "pyarrow",
        "pydantic",
        "pydantic_core",
    ),
    *(
        "pydicom",
        "python_multipart",
        "rich",
        "safetensors",
        "scipy",
        "sklearn",
        "starlette",
        "torch",
        "torchvision",
        "tqdm",
    ),
    *("MNN", "cv2", "ncnn", "threadpoolctl", "tract", "typer", "uvicorn", "yaml"),
    *("coremltools", "executorch", "torchao"),
    *("ai_edge_litert", "ai_edge_quantizer", "litert_torch"),
}


def plain_environment(home: Path) -> dict[str, str]:
    """The environment of a user who has never heard of telemetry."""
    names = {*SIGNS_OF_CI, *no_telemetry.VARIABLES, "DO_NOT_TRACK", "DISABLE_TELEMETRY", "XDG_CACHE_HOME"}
    return {k: v for k, v in command_environment().items() if k not in names} | {"HOME": str(home)}


def run_python(code: str, home: Path, **more: str) -> str:
    """What a new Python process prints."""
    environment = plain_environment(home) | more
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_switches_precede_every_other_import_of_the_package() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    run_at_import = [
        ast.unparse(node) for node in tree.body if isinstance(node, ast.ImportFrom | ast.Import | ast.Expr)
    ]
    assert run_at_import[1:] == [
        "from __future__ import annotations",
        "from typing import TYPE_CHECKING, Any",
        "from resnet_cli.system import no_telemetry",
        "from resnet_cli.version import __version__",
        "no_telemetry.switch_off()",
    ]
    own = ast.parse((ROOT / "system" / "no_telemetry.py").read_text(encoding="utf-8"))
    before = {alias.name for node in own.body if isinstance(node, ast.Import) for alias in node.names}
    assert before <= sys.stdlib_module_names


@pytest.mark.parametrize("module", ["resnet_cli", "resnet_cli.exported.onnx", "resnet_cli.cli"])
def test_every_process_that_imports_a_part_of_the_package_has_the_switches(module: str, tmp_path: Path) -> None:
    code = f"import os, sys, json, {module}; print(json.dumps([dict(os.environ), 'openvino_telemetry' in sys.modules]))"
    environment, is_blocked = json.loads(run_python(code, tmp_path, ORT_DISABLE_TELEMETRY="0"))
    assert environment.items() >= no_telemetry.VARIABLES.items()
    assert is_blocked


@pytest.mark.parametrize("library", ["onnxruntime", "openvino"])
def test_a_library_that_reports_leaves_no_identifier_of_this_machine(library: str, tmp_path: Path) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed")
    alone, with_us = tmp_path / "alone", tmp_path / "with_us"
    for home in (alone, with_us):
        home.mkdir()
    run_python(f"import {library}", alone)
    run_python(f"import resnet_cli, {library}", with_us)
    assert not files_in(with_us)
    if not files_in(alone):
        pytest.skip(f"this version of {library} writes none by itself")


def test_a_library_that_the_user_imported_is_used(tmp_path: Path) -> None:
    code = "import sys, types; sys.modules['openvino_telemetry'] = types.ModuleType('theirs')\n"
    code += "import resnet_cli; print(sys.modules['openvino_telemetry'].__name__)"
    assert run_python(code, tmp_path) == "theirs"


def third_party(tree: ast.AST) -> set[str]:
    """Packages that a module imports, also by name."""
    found = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":
            found |= {str(word.value) for word in node.args[:1] if isinstance(word, ast.Constant)}
    names = {name.partition(".")[0] for name in found}
    return names - sys.stdlib_module_names - {"resnet_cli"}


def test_every_library_is_known_to_be_silent_or_switched_off() -> None:
    """A new dependency is looked through before it is added here: what does it send, and when?"""
    imported = set[str]().union(*(third_party(ast.parse(path.read_text("utf-8"))) for path in ROOT.rglob("*.py")))
    assert imported - SWITCHED_OFF <= SILENT
    assert imported >= SWITCHED_OFF
