from __future__ import annotations

import base64
import contextlib
import importlib.util
import io
import json
import signal
import socket
import struct
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.live_server import BOUNDARY, Reply, Server, ask, form, png, post, serving
from support.running import IGNORING_SIGINT, Trained, run_cli
from support.synthetic_models import CLASSES, images

from resnet_cli.exported.onnx import OnnxModel
from resnet_cli.images import readable_extensions
from resnet_cli.installation import install_command

pytest.importorskip("starlette", reason="the server is not installed: pip install '.[serve]'")
pytest_plugins = ["support.exported_model", "support.small_runs"]

FILES = [png(image) for image in images()]
LIMITS = ("--max-body", "200kB", "--max-pixels", 1_000_000, "--max-files", 8, "--timeout", "1s")


@pytest.fixture(scope="module")
def server(made_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(made_onnx, *LIMITS, cwd=tmp_path_factory.mktemp("here")) as started:
        yield started


@pytest.fixture(scope="module")
def expected(made_onnx: Path) -> np.ndarray:
    return OnnxModel.load(made_onnx, threads=1).predict_images(images())[0]


def probs(answer: dict[str, Any]) -> list[float]:
    """Probabilities in the order of the classes."""
    found = {share["label"]: share["prob"] for share in answer["topk"]}
    return [found[name] for name in CLASSES]


def is_problem(reply: Reply) -> bool:
    """Whether the reply says what is wrong with the request, and reveals nothing about the server."""
    message = reply.json["error"]["message"]
    told = ["Traceback", ".py", "site-packages", str(Path(__file__).parent.parent)]
    # HOME may be /, which every media type contains.
    told += [str(Path.home())] if Path.home().name else []
    return 400 <= reply.status < 500 and bool(message) and not any(text in message for text in told)


def test_an_image_gets_the_answer_that_the_file_gives(server: Server, expected: np.ndarray) -> None:
    for data, row in zip(FILES, expected, strict=True):
        reply = post(server, data)
        assert reply.status == 200 and reply.headers["content-type"] == "application/json"
        (answer,) = reply.json["predictions"]
        assert probs(answer) == pytest.approx(row, abs=1e-4)
        assert answer["prob"] == max(share["prob"] for share in answer["topk"])
        assert answer["label"] == (CLASSES[int(np.argmax(row))] if answer["unknown"] is None else "unknown")


def test_many_images_get_an_answer_each_in_order(server: Server, expected: np.ndarray) -> None:
    reply = post(server, *FILES, query="?topk=3")
    answers = reply.json["predictions"]
    assert [answer["name"] for answer in answers] == [f"{number}.png" for number in range(len(FILES))]
    np.testing.assert_allclose([probs(answer) for answer in answers], expected, atol=1e-4)
    assert reply.json["model"] | {"sha256": ""} == {
        "name": "insects.onnx",
        "sha256": "",
        "image_size": 32,
        "tells_unfamiliar": True,
        "can_abstain": False,
        "can_explain": True,
    }


def test_nobody_gets_the_answer_of_another(server: Server, expected: np.ndarray) -> None:
    order = np.random.default_rng(0).integers(len(FILES), size=120)
    with ThreadPoolExecutor(24) as pool:
        replies = list(pool.map(lambda index: post(server, FILES[index]), order))
    np.testing.assert_allclose([probs(reply.json["predictions"][0]) for reply in replies], expected[order], atol=1e-4)


def test_one_broken_image_spoils_no_other(server: Server) -> None:
    reply = post(server, FILES[0], b"no image", FILES[1])
    assert reply.status == 200
    good, broken, other = reply.json["predictions"]
    assert good["error"] is other["error"] is None and good["topk"] and other["topk"]
    assert broken["error"].startswith("not an image") and broken["label"] is None and broken["topk"] == []


def test_an_image_whose_library_is_missing_is_named_without_the_servers_paths(server: Server) -> None:
    if importlib.util.find_spec("pillow_heif") is not None:
        pytest.skip("pillow-heif is installed")
    (answer, _) = post(server, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), FILES[0]).json["predictions"]
    assert answer["error"] == "HEIC needs pillow-heif, which is not installed on the server"


def test_the_page_offers_the_files_that_the_server_reads(server: Server) -> None:
    page = ask(server, "GET", "/").data.decode()
    assert f'accept="{",".join(readable_extensions())}"' in page


def test_topk_and_explain_are_asked_for(server: Server) -> None:
    (answer,) = post(server, FILES[0], query="?topk=1&explain=true").json["predictions"]
    assert len(answer["topk"]) == 1
    head, _, data = answer["explanation"].partition(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (32, 32)
    plain = post(server, FILES[0]).json["predictions"][0]
    assert plain["explanation"] is None and "all_probs" not in plain
    (answer,) = post(server, FILES[0], query="?topk=1&all_probs=true").json["predictions"]
    assert answer["all_probs"] == {share["label"]: share["prob"] for share in plain["topk"]}
    for query in ("?topk=0", "?topk=-1", "?topk=x", "?explain=maybe", "?all_probs=2", "?top=3"):
        assert post(server, FILES[0], query=query).status == 400, query


def bomb() -> bytes:
    """A PNG of 1.6 billion pixels in 200 bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


HOSTILE: dict[str, tuple[bytes, dict[str, str], int]] = {
    "a bomb": (bomb(), {}, 422),
    "a cut image": (FILES[0][:100], {}, 422),
    "no image": (b"hello", {}, 422),
    "an empty body": (b"", {}, 400),
    "too long": (bytes(300_000), {}, 413),
    "JSON": (b"{}", {"Content-Type": "application/json"}, 415),
    "a type that is none": (FILES[0], {"Content-Type": "\xff;;;"}, 415),
    "too many parts": (form([b"x"] * 1000), {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}, 400),
    "a form without a boundary": (form(FILES), {"Content-Type": "multipart/form-data"}, 400),
    "a form of another boundary": (form(FILES), {"Content-Type": "multipart/form-data; boundary=x"}, 400),
    "a cut form": (form(FILES)[:200], {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}, 400),
    "a form without files": (form([]), {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}, 400),
    "a form of broken files": (form([b"x", b"y"]), {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}, 422),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies_are_refused_and_the_server_lives(server: Server, name: str) -> None:
    body, headers, status = HOSTILE[name]
    reply = ask(server, "POST", "/predict", body, {"Content-Type": "image/png"} | headers)
    assert reply.status == status and is_problem(reply), reply.data
    assert post(server, FILES[0]).status == 200


def raw(server: Server, *parts: bytes, wait: bool = True) -> bytes:
    """Sends bytes on a socket and returns what comes back until the server closes it."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as link:
        found = b""
        try:
            for part in parts:
                link.sendall(part)
            while wait and (data := link.recv(65_536)):
                found += data
        except (BrokenPipeError, ConnectionResetError):
            # The server had replied and closed the connection.
            pass
        return found


def test_a_body_that_says_it_is_huge_is_refused_before_it_is_sent(server: Server) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 100000000\r\n\r\n"
    assert raw(server, head).startswith(b"HTTP/1.1 413 ")


def test_an_endless_body_without_a_length_is_refused(server: Server) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as link:
        link.sendall(head)
        with pytest.raises(OSError):
            for _ in range(2_000):
                link.sendall(chunk)
    assert post(server, FILES[0]).status == 200


def test_a_small_body_without_a_length_is_answered(server: Server) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(FILES[0]), FILES[0])
    assert raw(server, head, body).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_does_not_arrive_is_given_up(server: Server) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf"
    assert raw(server, head).startswith(b"HTTP/1.1 408 ")


def test_a_client_that_leaves_takes_nobody_along(server: Server) -> None:
    for _ in range(20):
        raw(server, b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf", wait=False)
    assert post(server, FILES[0]).status == 200


def test_other_addresses_and_methods_are_told_so(server: Server) -> None:
    assert (ask(server, "GET", "/etc/passwd").status, ask(server, "GET", "/predict").status) == (404, 405)
    assert ask(server, "GET", "/../config.yaml").status == 404


def test_a_name_that_only_leads_here_is_not_this_machine(server: Server) -> None:
    for path in ("/classes", "/", "/metrics"):
        assert ask(server, "GET", path, headers={"Host": "evil.example"}).status == 421
        assert ask(server, "GET", path, headers={"Host": "localhost:1"}).status == 200


def test_classes_health_and_metrics(server: Server) -> None:
    assert ask(server, "GET", "/classes").json["classes"] == list(CLASSES)
    assert ask(server, "GET", "/healthz").json == {"status": "ok"}
    text = ask(server, "GET", "/metrics").data.decode()
    assert 'resnet_cli_requests_total{path="/predict",status="200"}' in text
    assert "resnet_cli_requests_under_way 0.0" in text
    assert "passwd" not in text


def test_every_answer_is_as_the_openapi_description_says(server: Server) -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    schemas = pytest.importorskip("jsonschema")
    described = ask(server, "GET", "/openapi.json").json
    validator.validate(described)
    replies = {
        "Answers": post(server, FILES[0], b"broken", query="?explain=1"),
        "Classes": ask(server, "GET", "/classes"),
        "Health": ask(server, "GET", "/healthz"),
        "Failure": ask(server, "GET", "/nowhere"),
    }
    for name, reply in replies.items():
        schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
        schemas.validate(reply.json, schema)
        assert not set(reply.json) - set(described["components"]["schemas"][name]["properties"])


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="only Linux tells what a process has loaded")
def test_torch_is_not_loaded(server: Server) -> None:
    loaded = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "onnxruntime" in loaded and "libtorch" not in loaded


def test_a_full_server_says_when_to_come_back(made_onnx: Path, tmp_path: Path) -> None:
    with serving(made_onnx, "--max-requests", 1, cwd=tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as link:
            link.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf")
            while b"under_way 1.0" not in ask(server, "GET", "/metrics").data:
                pass
            reply = post(server, FILES[0])
            assert reply.status == 503 and int(reply.headers["retry-after"]) >= 1
            assert ask(server, "GET", "/healthz").status == 200
        while (reply := post(server, FILES[0])).status == 503:
            pass
        assert reply.status == 200


def test_a_token_guards_answers_and_not_the_page(made_onnx: Path, tmp_path: Path) -> None:
    token = "correct-horse"
    with serving(made_onnx, "--host", "0.0.0.0", "--token", token, cwd=tmp_path) as server:
        for path in ("/classes", "/metrics", "/openapi.json"):
            reply = ask(server, "GET", path)
            assert reply.status == 401 and reply.headers["www-authenticate"] == "Bearer"
            assert ask(server, "GET", path, headers={"Authorization": f"Bearer {token}"}).status == 200
        assert [post(server, FILES[0], token=given).status for given in (None, "wrong", "", "é", token)] == [
            401
        ] * 4 + [200]
        assert ask(server, "GET", "/", headers={"Host": "insects.example"}).status == 200
        described = ask(server, "GET", "/openapi.json", headers={"Authorization": f"Bearer {token}"}).json
        assert described["security"] == [{"token": []}]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_what_was_taken_is_answered_before_it_ends(
    made_onnx: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with serving(made_onnx, cwd=tmp_path) as server:
        replies: list[Reply] = []

        def request() -> None:
            # A request that was not accepted yet cannot connect, or is dropped.
            with contextlib.suppress(OSError):
                replies.append(post(server, *FILES * 2))

        asking = [threading.Thread(target=request) for _ in range(4)]
        for thread in asking:
            thread.start()
        while b"under_way 0.0" in ask(server, "GET", "/metrics").data and len(replies) < 4:
            pass
        server.process.send_signal(number)
        for thread in asking:
            thread.join()
        _, stderr = server.process.communicate(timeout=60)
        assert replies and all(reply.status == 200 for reply in replies)
        assert server.process.returncode == code
        assert "every request in flight was finished" in stderr and "Traceback" not in stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ignored_by_the_parent_sigint_stays_ignored_and_sigterm_ends_it(made_onnx: Path, tmp_path: Path) -> None:
    with serving(made_onnx, cwd=tmp_path, within=IGNORING_SIGINT) as server:
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert post(server, FILES[0]).status == 200
        server.process.send_signal(signal.SIGTERM)
        _, stderr = server.process.communicate(timeout=60)
        assert server.process.returncode == 143, stderr
        assert "Traceback" not in stderr


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_a_run_is_served_as_it_predicts(full_run: Trained, here: Path, photos: Path, runtime: str) -> None:
    image = next((photos / "test" / "red").iterdir())
    (expected,) = [json.loads(line) for line in run_cli(
        "predict", image, "--model", full_run.run, "--json", "--precision", "fp32"
    ).stdout.splitlines()]  # fmt: skip
    flags = ("--device", "cpu", "--precision", "fp32") if runtime == "torch" else ()
    with serving(full_run.run, "--runtime", runtime, "--no-abstain", *flags, cwd=here) as server:
        reply = post(server, image.read_bytes(), query="?topk=3&explain=1")
    (answer,) = reply.json["predictions"]
    assert answer["label"] == expected["label"] and answer["explanation"]
    assert answer["prob"] == pytest.approx(expected["prob"], abs=1e-3)
    assert reply.json["model"]["name"] == full_run.run.name and len(reply.json["model"]["sha256"]) == 64
    assert not (full_run.run / "model.onnx").exists()


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["none.onnx"], 2, "no such file"),
        (["--host", "0.0.0.0"], 2, "there is no token"),
        (["--token", "short"], 2, "--token"),
        (["--port", "70000"], 2, "--port"),
        (["--max-body", "much"], 2, "--max-body"),
        (["--precision", "bf16"], 2, "no effect"),
        (["--target-error", "1%", "--no-abstain"], 2, "choose one"),
        (["--host", "203.0.113.1", "--token", "long enough".replace(" ", "-")], 4, "cannot listen"),
    ],
)
def test_what_cannot_be_served_is_told_with_the_way_out(here: Path, flags: list[str], code: int, message: str) -> None:
    done = run_cli("serve", *flags)
    assert done.exit_code == code and message in done.stderr, done.stderr
    assert done.stdout == ""


def test_an_exported_file_is_refused_where_torch_is_asked_for(made_onnx: Path) -> None:
    done = run_cli("serve", made_onnx, "--runtime", "torch", "--precision", "bf16")
    assert done.exit_code == 2 and "--runtime torch has no effect" in done.stderr, done.stderr


def test_an_address_that_is_taken_is_told_with_a_free_one(server: Server, made_onnx: Path) -> None:
    done = run_cli("serve", made_onnx, "--port", server.port)
    assert done.exit_code == 4 and f"--port {server.port + 1}" in done.stderr


def test_without_the_extra_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, made_onnx: Path) -> None:
    monkeypatch.setitem(sys.modules, "python_multipart", None)
    done = run_cli("serve", made_onnx)
    assert done.exit_code == 4 and install_command("serve") in done.stderr
