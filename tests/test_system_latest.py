"""``runs/latest``: replaced in one step, and followed to the real run, in the form that the user typed."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.running import Trained, run_cli

from resnet_cli.cli import output
from resnet_cli.errors import ConfigError, ModelError
from resnet_cli.model.model_path import resolve_model_path
from resnet_cli.model.weights import load_model
from resnet_cli.system.latest import mark_latest, real_path
from resnet_cli.system.paths import LATEST

pytest_plugins = ["support.small_runs"]


@pytest.fixture
def runs(here: Path) -> Path:
    for name in ("a", "b"):
        (here / "runs" / name).mkdir(parents=True)
        (here / "runs" / name / "model.safetensors").write_bytes(name.encode())
    return here / "runs"


@pytest.fixture(params=["link", "text file"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the latest run is named; a text file is what Windows gets without the right to make links."""
    if request.param == "text file":

        def refuse(*_: object, **__: object) -> None:
            raise OSError(1314, "a required privilege is not held by the client")

        monkeypatch.setattr(Path, "symlink_to", refuse)
    return str(request.param)


def test_latest_becomes_the_run_that_it_names(runs: Path, kind: str) -> None:
    mark_latest(runs / "a")
    assert LATEST.is_symlink() == (kind == "link")
    assert real_path("runs/latest") == real_path("./runs/latest/") == Path("runs/a")
    assert real_path("runs/latest/model.safetensors") == Path("runs/a/model.safetensors")
    assert real_path(runs / "latest") == runs / "a"
    found = real_path(LATEST)
    mark_latest(Path("runs/b"))
    assert (found, real_path(found), real_path(LATEST)) == (Path("runs/a"), Path("runs/a"), Path("runs/b"))
    assert not list(runs.glob(".*"))


@pytest.mark.parametrize("spec", ["runs/a", "runs/../runs/a", "nowhere", "imagenet-v1", "hf:owner/name", "-", ""])
def test_a_path_without_links_stays_as_it_was_typed(runs: Path, spec: str) -> None:
    assert real_path(spec) == Path(spec)
    assert real_path(Path(spec).absolute()) == Path(spec).absolute()


def test_a_run_elsewhere_is_named_in_full_and_one_below_a_linked_folder_of_runs_is_not(
    here: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "disk" / "run"
    elsewhere.mkdir(parents=True)
    mark_latest(elsewhere)
    assert real_path(LATEST) == elsewhere
    LATEST.unlink()
    LATEST.parent.rmdir()
    Path("runs").symlink_to(tmp_path / "disk")
    mark_latest(Path("runs/run"))
    assert real_path(LATEST) == Path("runs/run")


def test_a_link_to_a_file_is_followed_unless_the_real_name_hides_the_format(here: Path) -> None:
    (here / "store").mkdir()
    for name in ("v3.safetensors", "0123abcd"):
        (here / "store" / name).touch()
    (here / "best.safetensors").symlink_to("store/v3.safetensors")
    (here / "hub.safetensors").symlink_to("store/0123abcd")
    (here / "cache").symlink_to("store")
    (here / "store" / "linked.pth").symlink_to("0123abcd")
    assert real_path("best.safetensors") == Path("store/v3.safetensors")
    assert real_path("hub.safetensors") == Path("hub.safetensors")
    assert real_path("cache/linked.pth") == Path("store/linked.pth")


@pytest.mark.parametrize("what", ["a run that was removed", "no text", "a long text", "a loop"])
def test_a_latest_that_names_no_run_is_an_error_that_says_so(runs: Path, what: str) -> None:
    if what == "a run that was removed":
        LATEST.symlink_to("gone")
    elif what == "a loop":
        LATEST.symlink_to("latest")
    else:
        LATEST.write_bytes({"no text": b"\x00\xff" * 9, "a long text": b"x" * 100_000}[what])
    with pytest.raises(ConfigError, match="MODEL runs/latest") as caught:
        resolve_model_path(LATEST, "MODEL")
    assert caught.value.hint and "resnet-cli finetune DATA" in caught.value.hint
    if what == "a run that was removed":
        assert "it points to runs/gone, which has no model" in caught.value.message


@pytest.mark.parametrize(
    "command",
    [
        "eval",
        "eval photos",
        "export",
        pytest.param("serve --port 0", marks=pytest.mark.slow),
        "finetune photos --weights runs/latest",
    ],
)
def test_a_command_keeps_the_run_that_was_the_latest_when_it_started(
    runs: Path, make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    # No model is sound, so an error tells which of them was opened.
    for name in ("a", "b"):
        (runs / name / "config.yaml").touch()
    photos = make_folder({"cat": 10, "dog": 10})
    mark_latest(runs / "a")

    @contextlib.contextmanager
    def train_another_meanwhile(*_: object, **__: object) -> Iterator[None]:
        mark_latest(runs / "b")
        yield

    monkeypatch.setattr(output, "status", train_another_meanwhile)
    result = run_cli(*command.replace("photos", str(photos)).split())
    assert result.exit_code == ModelError.exit_code, result.stderr
    assert str(Path("runs/a/model.safetensors")) in result.stderr
    assert LATEST.resolve() == (runs / "b").resolve()


def test_a_reader_sees_the_old_or_the_new_run_while_latest_is_replaced(runs: Path, kind: str) -> None:
    mark_latest(runs / "a")
    done = threading.Event()

    def switch() -> None:
        while not done.is_set():
            mark_latest(runs / "b")
            mark_latest(runs / "a")

    writers = [threading.Thread(target=switch) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        seen = {resolve_model_path(LATEST, "MODEL").read_bytes() for _ in range(300)}
    finally:
        done.set()
        for writer in writers:
            writer.join()
    assert seen <= {b"a", b"b"}
    assert sorted(os.listdir(runs)) == ["a", "b", "latest"]


def test_a_model_file_that_is_replaced_or_removed_after_it_was_loaded_has_no_hash(
    here: Path, full_run: Trained
) -> None:
    file = here / "model.safetensors"
    file.write_bytes((full_run.run / "model.safetensors").read_bytes())
    model = load_model(file)
    assert len(model.sha256) == 64
    other = here / "other"
    other.write_bytes(file.read_bytes())
    os.replace(other, file)
    with pytest.raises(ModelError, match="was replaced or removed while it was in use"):
        _ = model.sha256
    file.unlink()
    with pytest.raises(ModelError, match="was replaced or removed while it was in use"):
        _ = model.sha256
