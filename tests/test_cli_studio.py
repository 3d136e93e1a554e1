from __future__ import annotations

import io
import os
import shutil
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.live_server import Server, ask, png
from support.running import spawn

pytest.importorskip("starlette", reason="the server is not installed: pip install '.[serve]'")

from support.live_studio import TOKEN, LiveStudio, running_studio

PHOTO = png(Image.new("RGB", (40, 30), "teal"))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStudio]:
    with running_studio(tmp_path_factory.mktemp("studio")) as started:
        yield started


@pytest.fixture
def project(live: LiveStudio, request: pytest.FixtureRequest) -> str:
    name = str(request.node.name)[:50].replace("[", "-").strip("]")
    assert live.ask("POST", "/api/projects", {"name": name}).status == 201
    for label in ("cat", "dog"):
        assert live.ask("POST", f"/api/projects/{name}/change", {"change": "add-class", "name": label}).status == 200
        pixels = [png(Image.new("RGB", (40, 30), (index, 60, 90))) for index in range(3)]
        files = [(f"{index}.png", data) for index, data in enumerate(pixels)]
        assert live.upload(name, label, *files).json == {
            "added": [f"{label}/{index}.png" for index in range(3)],
            "same": 0,
            "refused": [],
        }
    return name


def test_only_the_page_is_open_and_only_with_the_token_is_anything_done(live: LiveStudio) -> None:
    assert live.ask("GET", "/", Authorization="").status == 200
    for method, path in (
        ("GET", "/api/state"),
        ("POST", "/api/projects"),
        ("GET", "/api/events"),
        ("POST", "/api/cancel"),
    ):
        for token in ("", "Bearer wrong-token-here", f"Basic {TOKEN}"):
            assert (
                live.ask(method, path, {"name": "x"} if method == "POST" else None, Authorization=token).status == 401
            )
    assert live.ask("GET", f"/api/state?token={TOKEN}", Authorization="").status == 401


def test_requests_of_foreign_pages_are_refused_even_with_the_token(live: LiveStudio) -> None:
    assert live.ask("GET", "/api/state", Host="evil.example").status == 421
    assert live.ask("GET", "/", Host="evil.example", Authorization="").status == 421
    for origin in ("http://evil.example", "null", "http://[", "http://127.0.0.1:1"):
        assert live.ask("POST", "/api/cancel", {}, Origin=origin).status == 403
    assert live.ask("POST", "/api/cancel", {}, Origin=live.url).status == 200
    # What a form of another page can send without asking first.
    assert live.ask("POST", "/api/cancel", b"{}", Content_Type="text/plain").status == 415


def test_images_are_shown_with_their_own_key_alone(live: LiveStudio, project: str) -> None:
    key = live.ask("GET", "/api/state").json["view_key"]
    path = f"/view/{project}/images/cat/0.png"
    shown = live.ask("GET", f"{path}?key={key}", Authorization="")
    assert shown.status == 200 and Image.open(io.BytesIO(shown.data)).size == (40, 30)
    assert live.ask("GET", f"{path}?key={key}", If_None_Match=shown.headers["etag"]).status == 304
    for bad in (path, f"{path}?key=wrong", f"{path}?key={TOKEN}"):
        assert live.ask("GET", bad).status == 401
    for name in ("..%2F..%2Fstudio.json", "9.png", "%2e%2e"):
        assert live.ask("GET", f"/view/{project}/images/cat/{name}?key={key}").status in {404, 422}
    # The key opens nothing else.
    assert live.ask("GET", "/api/state", Authorization=f"Bearer {key}").status == 401


def test_whatever_is_in_the_folder_of_a_project_the_page_shows_the_rest(live: LiveStudio, project: str) -> None:
    one, folder = f"/api/projects/{project}", live.studio.root / project
    (folder / "images" / "cat" / os.fsdecode(b"\xff.png")).write_bytes(PHOTO)
    os.mkfifo(folder / "images" / "cat" / "pipe.png")
    (folder / "exports").mkdir()
    (folder / "exports" / "gone").symlink_to(folder / "nowhere")
    (folder / "runs" / "1").mkdir(parents=True)
    for name in ("config.yaml", "split.csv"):
        (folder / "runs" / "1" / name).write_text("damaged")
    for state in ("[" * 10_000, '{"version": 1, "results": {"train": 5, "accepted": {"images": 7}}}'):
        (folder / "studio.json").write_text(state)
        shown = live.ask("GET", one).json
        assert [len(found["images"]) for found in shown["classes"]] == [4, 3] and shown["results"].get("train") is None
        accepted = {"change": "accept-labels", "images": ["cat/0.png"]}
        assert live.ask("POST", f"{one}/change", accepted).status == 200
    assert live.ask("GET", "/api/state").status == 200
    pages = f"/view/{project}"
    key = live.ask("GET", "/api/state").json["view_key"]
    assert live.ask("GET", f"{pages}/images/cat/pipe.png?key={key}").status == 404
    assert live.ask("GET", f"{pages}/pages/labels-{'9' * 5000}?key={key}").status == 422
    # A run that was stopped has no model yet.
    assert "has no model" in live.ask("GET", f"{one}/runs/1/predict").json["error"]["message"]
    half = {"change": "restore", "image": "\ud800/x.png"}
    assert live.ask("POST", f"{one}/change", half).status == 422
    assert live.ask("POST", "/api/projects", {"name": "\ud800"}).status == 409


def test_too_large_and_malformed_requests_are_refused(live: LiveStudio, project: str) -> None:
    one = f"/api/projects/{project}"
    assert live.ask("POST", f"{one}/change", b"x" * 1_000_001, Content_Type="application/json").status == 413
    assert live.ask("POST", f"{one}/change", b"[" * 100_000, Content_Type="application/json").status == 400
    assert live.ask("POST", f"{one}/change", {"change": "format"}).status == 409
    assert (
        live.ask("POST", f"{one}/classes/cat", b"", Content_Length="300000000", Content_Type="image/png").status == 413
    )
    assert live.ask("POST", f"{one}/classes/bird", PHOTO, Content_Type="image/png").status == 422
    assert live.ask("POST", f"{one}/archive?name=a.zip", b"", Content_Length=str(10**12)).status == 413
    assert live.ask("POST", f"{one}/archive?name=a.exe", b"").status == 409


def test_a_file_that_is_no_image_is_refused_and_the_others_are_added(live: LiveStudio, project: str) -> None:
    found = live.upload(project, "cat", ("a.jpg", b"no image"), ("../../b", PHOTO), ("0.png", PHOTO)).json
    assert [one["name"] for one in found["refused"]] == ["a.jpg"]
    assert "cat/b.png" in found["added"] and len(found["added"]) == 2
    assert not list(live.studio.root.glob("b*"))


def _zip(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def test_an_archive_becomes_classes_and_a_damaged_one_nothing(live: LiveStudio, project: str) -> None:
    one, folder = f"/api/projects/{project}", live.studio.root / project
    good = _zip(
        **{
            f"pets/{label}/{index}.png": png(Image.new("RGB", (9, 9), (index, 1, 2)))
            for label in ("dog", "bird")
            for index in range(2)
        }
    )
    before = live.ask("GET", one).json["classes"]
    for bad in (good[:-60], b"no zip", _zip(**{"../evil/1.png": PHOTO}), _zip(**{"readme.txt": b"x"})):
        reply = live.ask("POST", f"{one}/archive?name=pets.zip", bad)
        assert reply.status == 422 and "pets.zip" in reply.json["error"]["message"]
        assert ".incoming" not in str(reply.json)
        assert live.ask("GET", one).json["classes"] == before and not list(folder.glob(".incoming/*"))
    assert live.ask("POST", f"{one}/archive?name=pets.zip", good).json["added"] == 4
    classes = {found["name"]: len(found["images"]) for found in live.ask("GET", one).json["classes"]}
    assert classes == {"bird": 2, "cat": 3, "dog": 5}
    assert live.ask("POST", f"{one}/archive?name=pets.zip", good).json | {"notes": [], "reading": ""} == {
        "added": 0, "same": 4, "refused": [], "notes": [], "reading": ""
    }  # fmt: skip
    assert {path.name for path in live.studio.root.parent.glob("*evil*")} == set()


def test_one_training_at_a_time_and_a_killed_or_cancelled_one_is_survived(live: LiveStudio, project: str) -> None:
    jobs = f"/api/projects/{project}/jobs"
    started = live.ask("POST", jobs, {"kind": "train"})
    assert started.status == 202 and started.json["job"]["call"].startswith("resnet-cli finetune images --mode frozen")
    second = live.ask("POST", jobs, {"kind": "train"})
    assert second.status == 409 and "a training is running" in second.json["error"]["message"]
    assert live.studio.jobs._process is not None
    os.kill(live.studio.jobs._process.pid, signal.SIGKILL)
    ended = live.wait()
    assert ended["state"] == "killed" and "SIGKILL" in ended["message"]
    # After a reload, the page still knows.
    failure = live.ask("GET", f"/api/projects/{project}").json["results"]["failure"]
    assert failure["state"] == "killed" and "finetune" in failure["command"]
    assert live.ask("POST", jobs, {"kind": "train"}).status == 202
    assert live.ask("POST", "/api/cancel", {}).json["job"]["state"] in {"stopping", "stopped"}
    assert live.wait()["state"] == "stopped"
    assert not list((live.studio.root / project / "runs").glob("[0-9]*"))
    # The process for the next command takes seconds to start, in which the project goes.
    assert live.ask("POST", jobs, {"kind": "inspect"}).status == 202
    shutil.rmtree(live.studio.root / project)
    assert live.wait()["state"] == "failed" and "No such file" in live.job()["message"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"kind": "train", "recipe": "magic"}, "recipe"),
        ({"kind": "audit", "run": "../1"}, "no run"),
        ({"kind": "export", "run": "1"}, "no run"),
        ({"kind": "format"}, "no work"),
    ],
)
def test_work_that_cannot_be_done_is_refused(
    live: LiveStudio, project: str, asked: dict[str, Any], message: str
) -> None:
    reply = live.ask("POST", f"/api/projects/{project}/jobs", asked)
    assert reply.status in {409, 422} and message in reply.json["error"]["message"]


def test_missing_weights_are_said_before_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, live: LiveStudio
) -> None:
    assert live.ask("GET", "/api/state").json["weights"] is None
    with running_studio(tmp_path, "auto") as other:
        told = other.ask("GET", "/api/state").json["weights"]
    assert "no ImageNet weights on this machine" in told and "resnet-cli studio --weights FILE" in told


def test_the_command_shows_the_address_with_a_token_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    with spawn(["studio", "--no-open", "--port", "0", "--dir", "here"], tmp_path) as process:
        assert process.stdout and process.stderr
        address, _, token = process.stdout.readline().strip().partition("/#token=")
        assert address.startswith("http://127.0.0.1:") and len(token) >= 32
        # Before it answers, an interrupt would end the start.
        assert ask(Server(process, int(address.rpartition(":")[2])), "GET", "/").status == 200
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "everything is kept in" in errors and "Traceback" not in errors
    assert (tmp_path / "here").is_dir()


def test_weights_that_do_not_exist_are_refused_at_the_start(tmp_path: Path) -> None:
    from support.running import run_cli

    done = run_cli("studio", "--no-open", "--port", 0, "--dir", tmp_path / "x", "--weights", "nope.pth")
    assert done.exit_code == 2 and "nope.pth" in done.stderr
