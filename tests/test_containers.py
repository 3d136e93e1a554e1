"""Commands as containers run them: no home, no name, nothing writable but the result, no shared memory, no stdin."""

from __future__ import annotations

import functools
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from support.narrow_network import make_narrow
from support.running import ASKED_HERE, NARROW, run_cli

import resnet_cli

ROOT = Path(__file__).parents[1]
#: A program that carries out several commands with narrow networks, and says after each which exit code it had.
PROGRAM = f"""
import json, sys
sys.path.insert(0, {str(ROOT)!r})
{NARROW}
{ASKED_HERE}
from resnet_cli.cli import main

if __name__ == "__main__":
    for words in json.loads(sys.argv.pop()):
        sys.argv[1:] = words
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        print(json.dumps({{"words": words, "code": code}}), file=sys.stderr)
"""
#: A user id without a name. It may read everything, since the folders of the tests and of Python may be private.
UNKNOWN = ("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups")
READING = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
#: In a mount namespace of its own: shared memory that nobody can write, and a root file system that is read-only except
#: for the folder that is the first argument. Then it is the rest of the command, with a closed stdin.
READ_ONLY = """
set -e
mount --make-rprivate /
mount -t tmpfs -o size=4k,mode=555 none /dev/shm
mount --bind "$0" "$0"
mount -o remount,bind,ro /
cd /
exec "$@" <&-
"""
#: No folder and no file, for anybody.
NOWHERE = "/proc/nowhere"
TINY = ("--weights", "none", "--image-size", "32", "--device", "cpu", "--epochs", "1")
CACHE_WARNING = re.compile(r"^warning: .*nothing is kept for later commands; .* set RESNET_CLI_CACHE", re.M)


class Done(NamedTuple):
    """How a process ended."""

    code: int
    out: str
    err: str


@functools.cache
def why_no_other_user() -> str:
    """Why commands cannot be run as an unknown user here; empty if they can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "only root can run commands as an unknown user"
    if shutil.which("setpriv") is None or shutil.which("unshare") is None:
        return "setpriv and unshare (util-linux) are not installed"
    tried = subprocess.run(
        ["unshare", "-m", "sh", "-c", READ_ONLY, "/tmp", *UNKNOWN, *READING, "true"], capture_output=True, text=True
    )
    return f"not allowed here: {tried.stderr.strip()}" if tried.returncode else ""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "commands.py"
    path.write_text(PROGRAM)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes with splits and with names that are not ASCII; nobody may write in these folders."""
    folder, rng = tmp_path_factory.mktemp("data") / "photos", np.random.default_rng(0)
    for split, count in {"train": 6, "val": 4, "test": 4}.items():
        for label, name in enumerate(("Käfer", "蟻")):
            place = folder / split / name
            place.mkdir(parents=True)
            for index in range(count):
                pixels = np.clip(rng.normal(90 + 60 * label, 40, (36, 40, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{index}é.png")
            place.chmod(0o555)
    return folder


def call(
    program: Path,
    *commands: Sequence[object],
    within: Sequence[str] = (),
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Done:
    """Runs commands in one process, with narrow networks."""
    words = json.dumps([[str(word) for word in command] for command in commands])
    return call_program([str(program), words], within=within, cwd=cwd, environment=environment)


def call_program(
    arguments: Sequence[str],
    *,
    within: Sequence[str] = (),
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Done:
    """Runs Python with no more environment than it is given, and with a closed stdin."""
    given = {"PATH": os.environ["PATH"], "LC_ALL": "POSIX", "OMP_NUM_THREADS": "1", "RESNET_CLI_OFFLINE": "1"}
    close = ("sh", "-c", 'exec "$0" "$@" <&-')
    done = subprocess.run(
        [*close, *within, sys.executable, *arguments],
        cwd=cwd,
        env=given | {"PYTHONPATH": str(ROOT)} | dict(environment or {}),
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    return Done(done.returncode, done.stdout, done.stderr)


def codes(done: Done) -> dict[str, int]:
    """Exit code of each command of a process."""
    found = [json.loads(line) for line in done.err.splitlines() if line.startswith('{"words"')]
    return {" ".join(one["words"]): one["code"] for one in found}


def assert_quiet(done: Done, *, warnings: int = 1) -> None:
    """All commands succeeded, and nothing but our own words is on stderr, with so many warnings of the cache."""
    assert done.code == 0 and set(codes(done).values()) <= {0}, done.err
    for foreign in ("Traceback", "UserWarning", "Matplotlib", "matplotlib", "joblib", "onnxruntime", "torch/"):
        assert foreign not in done.err, done.err
    assert len(CACHE_WARNING.findall(done.err)) == warnings, done.err


def assert_inspects(
    photos: Path, environment: Mapping[str, str], within: Sequence[str] = (), *, warnings: int = 1
) -> None:
    """The quickest command that uses a cache works, with so many warnings of it."""
    words = ["-m", "resnet_cli", "inspect", str(photos), "--json"]
    done = call_program(words, environment=environment, within=within)
    assert_quiet(done, warnings=warnings)
    assert json.loads(done.out)["num_images"] == 28


@pytest.mark.parametrize(
    "environment",
    [
        {"HOME": NOWHERE},
        {"HOME": "/tmp", "XDG_CACHE_HOME": NOWHERE},
        {"HOME": NOWHERE, "RESNET_CLI_CACHE": NOWHERE, "MPLCONFIGDIR": NOWHERE, "TMPDIR": NOWHERE},
    ],
    ids=["home", "cache folder", "everything"],
)
def test_a_folder_that_is_none_costs_one_warning(photos: Path, environment: dict[str, str]) -> None:
    assert_inspects(photos, environment)


@pytest.mark.parametrize(
    "home",
    [
        {},
        pytest.param({"HOME": "/"}, marks=pytest.mark.slow),
        pytest.param({"HOME": "/nowhere"}, marks=pytest.mark.slow),
    ],
    ids=["unset", "root", "missing"],
)
def test_an_unknown_user_needs_no_home(photos: Path, home: dict[str, str]) -> None:
    if why_no_other_user():
        pytest.skip(why_no_other_user())
    assert_inspects(photos, home, (*UNKNOWN, *READING))


def test_a_cache_that_can_only_be_read_is_read(photos: Path, tmp_path: Path) -> None:
    if why_no_other_user():
        pytest.skip(why_no_other_user())
    archive = Path(shutil.make_archive(str(tmp_path / "photos"), "zip", photos))
    cache = tmp_path / "cache"
    # Without a folder for temporary files, it could not be unpacked again.
    environment = {"RESNET_CLI_CACHE": str(cache), "TMPDIR": NOWHERE, "HOME": NOWHERE}
    assert_inspects(archive, environment, warnings=0)
    before = sorted((path, path.stat().st_mtime_ns) for path in cache.rglob("*") if path.is_file())
    assert_inspects(archive, environment, ("unshare", "-m", "sh", "-c", READ_ONLY, "/mnt", *UNKNOWN, *READING))
    assert sorted((path, path.stat().st_mtime_ns) for path in cache.rglob("*") if path.is_file()) == before


def test_an_archive_is_unpacked_elsewhere_for_one_command(photos: Path, tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "photos"), "zip", photos))
    (tmp_path / "temporary").mkdir(mode=0o777)
    environment = {"RESNET_CLI_CACHE": NOWHERE, "TMPDIR": str(tmp_path / "temporary"), "HOME": NOWHERE}
    assert_inspects(archive, environment)
    assert list((tmp_path / "temporary").iterdir()) == []


def assert_same_weights(one: Path, other: Path) -> None:
    expected, found = (load_file(run / "model.safetensors") for run in (one, other))
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(tensor, found[name], err_msg=name)


@pytest.fixture(scope="module")
def worst(program: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """The folder of all results, and how every command ended where hardly anything can be written."""
    out = tmp_path_factory.mktemp("worst")
    within: tuple[str, ...] = ()
    environment = {"HOME": NOWHERE, "TMPDIR": NOWHERE, "MPLCONFIGDIR": NOWHERE}
    if not why_no_other_user():
        os.chown(out, 12345, 12345)
        within, environment = ("unshare", "-m", "sh", "-c", READ_ONLY, str(out), *UNKNOWN, *READING), {}
    full, frozen = out / "full", out / "frozen"
    evaluating = ("eval", full, "--device", "cpu")
    done = call(
        program,
        ["finetune", photos, *TINY, "--mode", "full", "--out", full],
        ["finetune", photos, *TINY, "--mode", "frozen", "--out", frozen],
        ["finetune", photos, *TINY, "--mode", "full", "--dry-run"],
        ["inspect", photos],
        [*evaluating, "--out", out / "report"],
        ["eval", full, frozen],
        [*evaluating, "--label-audit", "--out", out / "labels.csv"],
        [*evaluating, "--robustness", "--max-images", 2],
        ["export", full, "--out", out / "model.onnx"],
        ["export", full, "--format", "safetensors", "--out", out / "timm"],
        ["predict", photos / "test", "--model", full, "--json"],
        ["predict", photos / "test", "--model", out / "model.onnx", "--output", out / "labels-onnx.csv"],
        ["download", "--list"],
        ["finetune", "--help"],
        ["--version"],
        within=within,
        environment=environment,
    )
    return out, done


def test_every_command_works_where_only_its_result_can_be_written(worst: tuple[Path, Done]) -> None:
    out, done = worst
    assert len(codes(done)) == 15
    assert_quiet(done)
    assert {path.name for path in out.iterdir()} == {
        *("full", "frozen", "report", "labels.csv", "labels.html", "model.onnx", "timm", "labels-onnx.csv")
    }


def test_the_results_are_the_same_bits_as_elsewhere(
    worst: tuple[Path, Done], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, done = worst
    make_narrow(monkeypatch)
    monkeypatch.chdir(tmp_path)
    flags: dict[str, Any] = {"weights": "none", "image_size": 32, "device": "cpu", "epochs": 1, "mode": "full"}
    resnet_cli.finetune(str(photos), out=tmp_path / "full", **flags)
    assert_same_weights(tmp_path / "full", out / "full")
    # Where nothing can be written, there is no file for an engine that starts faster.
    here = run_cli("predict", photos / "test", "--model", out / "full", "--engine", "torch", "--json")
    predictions = [line for line in done.out.splitlines() if '"path"' in line]
    assert predictions == here.stdout.splitlines() and len(predictions) == 8


def test_serve_needs_no_shared_memory(worst: tuple[Path, Done], program: Path) -> None:
    pytest.importorskip("starlette", reason="the server is not installed: pip install '.[serve]'")
    out, _ = worst
    within: tuple[str, ...] = ()
    if not why_no_other_user():
        within = ("unshare", "-m", "sh", "-c", READ_ONLY, str(out), *UNKNOWN, *READING)
    (out / "tmp").mkdir(mode=0o777)
    (out / "tmp").chmod(0o777)
    given = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "HOME": NOWHERE, "TMPDIR": str(out / "tmp")}
    words = json.dumps([["serve", str(out / "full"), "--port", "0"]])
    with subprocess.Popen(
        [*within, sys.executable, str(program), words],
        env=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline().rpartition(":")[2])
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
            connection.close()
        finally:
            server.send_signal(signal.SIGTERM)
            _, err = server.communicate(timeout=60)
    assert codes(Done(0, "", err)) == {f"serve {out / 'full'} --port 0": 143}, err
    assert "Traceback" not in err
    assert list((out / "tmp").glob("resnet-cli-*")) == []


DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, in order, each with its arguments on one line."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", "")
    return [(name, rest.strip()) for line in joined.splitlines() if line for name, _, rest in [line.partition(" ")]]


def test_the_dockerfile_copies_what_exists_and_the_build_context_has_it() -> None:
    sources = [
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    context = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert sources and all((ROOT / source).exists() for source in sources)
    assert {f"!{source}" for source in sources} == {line for line in context if line.startswith("!")}
    assert "*" in context
    # What the package is built from, besides the package: the metadata name these files.
    for file in ("README.md", "LICENSE"):
        assert file in sources and f'"{file}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_image_runs_the_command_as_a_user_without_rights() -> None:
    last = dict(instructions())
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last["USER"])
    assert json.loads(last["ENTRYPOINT"]) == ["resnet-cli"]
    assert shutil.which(json.loads(last["ENTRYPOINT"])[0], path=str(Path(sys.executable).parent))
    names = [name for name, _ in instructions()]
    assert names.index("USER") > max(place for place, name in enumerate(names) if name in {"RUN", "COPY"})
    environment = dict(part.partition("=")[::2] for part in last["ENV"].split())
    volumes = json.loads(last["VOLUME"])
    for variable in ("RESNET_CLI_CACHE", "TORCH_HOME", "HF_HOME", "MPLCONFIGDIR"):
        assert any(environment[variable].startswith(volume) for volume in volumes)
    assert last["WORKDIR"] in volumes


def test_the_health_check_is_a_program_that_asks_the_server_of_its_container() -> None:
    check = dict(instructions())["HEALTHCHECK"]
    python, flag, program = json.loads(check[check.index("CMD") + len("CMD") :])
    assert (python, flag) == ("python3", "-c")
    compile(program, "Dockerfile", "exec")
    assert "/healthz" in program and str(resnet_cli_port()) in program
    # The first process of this machine is no server.
    if Path("/proc/1/cmdline").exists():
        assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


def resnet_cli_port() -> int:
    from resnet_cli.config.serve import ServeConfig

    port: int = ServeConfig.model_fields["port"].default
    return port
