"""The command that installs an extra: from fake records of every kind, and from real installations by pip."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from resnet_cli.installation import install_command

ROOT = Path(__file__).parent.parent
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
GIT = {"url": "https://host/o/r.git", "vcs_info": {"vcs": "git", "commit_id": "abc123", "requested_revision": "main"}}
WHEEL = {"url": "https://host/resnet_cli-1-py3-none-any.whl", "archive_info": {}}


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes the record of an installation that is found in front of the real one."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name: os.path.join(os.path.dirname(sys.executable), name))

    def write(value: object) -> None:
        folder = tmp_path / "site" / "resnet_cli-1.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: resnet-cli\nVersion: 1\n")
        if value is not None:
            (folder / "direct_url.json").write_text(value if isinstance(value, str) else json.dumps(value))
        monkeypatch.syspath_prepend(str(folder.parent))

    return write


@pytest.mark.parametrize(
    ("value", "command"),
    [
        (None, "pip install 'resnet-cli[hub]'"),
        ("damaged", "pip install 'resnet-cli[hub]'"),
        (GIT, "pip install 'resnet-cli[hub] @ git+https://host/o/r.git@abc123'"),
        (GIT | {"subdirectory": "a"}, "pip install 'resnet-cli[hub] @ git+https://host/o/r.git@abc123#subdirectory=a'"),
        (WHEEL, "pip install 'resnet-cli[hub] @ https://host/resnet_cli-1-py3-none-any.whl'"),
    ],
    ids=str,
)
def test_what_came_from_afar_comes_from_there_again_on_any_machine(record: Any, value: object, command: str) -> None:
    record(value)
    assert install_command("hub") == install_command("hub", elsewhere=True) == command


@pytest.mark.parametrize(("flags", "is_editable"), [("", False), ("--editable ", True)])
def test_a_folder_is_named_where_it_is(record: Any, tmp_path: Path, flags: str, is_editable: bool) -> None:
    clone = tmp_path / "a clone"
    clone.mkdir()
    record({"url": clone.as_uri(), "dir_info": {"editable": is_editable}})
    assert install_command("hub") == f"pip install {flags}'{clone}[hub]'"
    anywhere = "pip install '.[hub]'  # in a clone of resnet-cli"
    assert install_command("hub", elsewhere=True) == anywhere
    clone.rmdir()
    assert install_command("hub") == anywhere


@pytest.mark.parametrize(
    ("mark", "installer"),
    [("pipx_metadata.json", "pipx install --force"), ("uv-receipt.toml", "uv tool install --force")],
)
def test_a_tool_of_its_own_is_installed_again_as_a_whole(
    record: Any, tmp_path: Path, mark: str, installer: str
) -> None:
    record({"url": tmp_path.as_uri(), "dir_info": {}})
    (tmp_path / mark).write_text("")
    assert install_command("serve") == f"{installer} '{tmp_path}[serve]'"


def test_the_pip_of_another_environment_is_not_named(record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    record(None)
    monkeypatch.setattr(shutil, "which", lambda name: "/elsewhere/pip")
    assert install_command("hub") == f"{sys.executable} -m pip install 'resnet-cli[hub]'"


@pytest.mark.parametrize("kind", [pytest.param("wheel", marks=pytest.mark.slow), "folder", "editable"])
def test_pip_accepts_the_command_for_what_it_has_installed(kind: str, tmp_path: Path) -> None:
    if kind == "editable":
        pytest.importorskip("editables", reason="hatchling makes editable installations with it: pip install editables")
    source: list[str | Path] = ["--editable", ROOT] if kind == "editable" else [ROOT]
    offline = ["--no-deps", "--no-index", "--no-build-isolation"]
    if kind == "wheel":
        subprocess.run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT], check=True)
        source = list(tmp_path.glob("*.whl"))
    subprocess.run([*PIP, "install", *offline, "--target", tmp_path / "site", *source], check=True)
    program = "from resnet_cli.installation import install_command; print(install_command('hub'))"
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    printed = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    place = source[-1] if kind == "wheel" else ROOT
    assert printed.endswith(f"{'--editable ' if kind == 'editable' else ''}'{place}[hub]'\n"), printed
    arguments = shlex.split(printed)
    tried = subprocess.run(
        [*PIP, *arguments[arguments.index("install") :], *offline, "--dry-run", "--target", tmp_path / "other"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 0 and "does not provide" not in tried.stderr, tried.stderr
