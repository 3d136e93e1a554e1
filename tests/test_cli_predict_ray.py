"""``resnet-cli predict --engine ray``: on a real cluster of two workers, with one of them killed."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.narrow_network import narrow_model, stage
from support.running import COMMAND, command_environment, run_cli, spawn

from resnet_cli.config.export import ExportConfig
from resnet_cli.errors import SetupError
from resnet_cli.exporting.export import Job
from resnet_cli.installation import install_command
from resnet_cli.model import network as models
from resnet_cli.outputs import shards
from resnet_cli.prediction import PredictedItem
from resnet_cli.preprocess import Preprocess

# Ray warns about its own settings.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
pytest_plugins = ["support.exported_model"]
CLASSES = ("ant", "bee", "cow")
PREPROCESS = Preprocess(resize_size=36, crop_size=32)


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_stage", stage)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow model and its export: ``model.safetensors`` and ``model.onnx`` in a folder."""
    folder = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "_stage", stage)
        model = narrow_model(CLASSES, PREPROCESS)

    model.save(folder / "model.safetensors")
    Job(model, ExportConfig()).write(folder / "model.onnx")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _token() -> Iterator[None]:
    """A secret for the clusters of these tests, so that the home folder is neither read nor written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        yield


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[bytes]]:
    """A cluster with two cores; ``args[-1]`` is its address."""
    needs_ray()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    port = address.rpartition(":")[2]
    flags = ["--num-cpus=2", "--num-gpus=0", "--include-dashboard=false", "--disable-usage-stats", "--block"]
    log = tmp_path_factory.mktemp("ray") / "log"
    command = [
        str(COMMAND.with_name("ray")),
        "start",
        "--head",
        "--node-ip-address=127.0.0.1",
        f"--port={port}",
        *flags,
    ]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=command_environment())
    process.args = [*command, address]
    try:
        deadline = time.monotonic() + 60
        while b"--block" not in log.read_bytes():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield process
    finally:
        # A regular stop takes half a minute.
        for pid in [*children(process.pid), process.pid]:
            os.kill(pid, signal.SIGKILL)
        process.wait(60)


@pytest.fixture
def address(head: subprocess.Popen[bytes]) -> str:
    assert isinstance(head.args, list)
    return str(head.args[-1])


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve images in a subfolder of the current folder; blocks have five images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shards, "BLOCK_SIZE", 5)
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(12):
        write_image(folder / f"{index:02d}.jpg", index, 50)
    return folder


def needs_ray() -> None:
    # Not by importing it: the command sets its environment first.
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'ray[data]'")


def write_image(path: Path, seed: int, side: int) -> None:
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(colours).resize((side, side)).save(path, quality=90)


def predict(*arguments: object, exit_code: int = 0) -> str:
    """What the command prints on stderr."""
    result = run_cli("predict", *arguments)
    assert result.exit_code == exit_code, result.output
    assert result.stdout == ""
    return result.stderr


def on_ray(address: str, *arguments: object, exit_code: int = 0) -> str:
    return predict(*arguments, "--engine", "ray", "--ray-address", address, "--output", "out", exit_code=exit_code)


def alone(*arguments: object, exit_code: int = 0, name: str = "alone") -> list[dict[str, Any]]:
    """The rows that one process writes."""
    predict(*arguments, "--output", f"{name}.jsonl", exit_code=exit_code)
    return json_rows(Path(f"{name}.jsonl"))


def json_rows(*paths: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def part_rows(folder: Path = Path("out")) -> list[dict[str, Any]]:
    """The rows of all parts in the order of their names."""
    from pyarrow import parquet

    return [row for path in sorted(folder.glob("part-*.parquet")) for row in parquet.read_table(path).to_pylist()]


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Checks for the same rows in the same order; in other batches and threads the last digits differ."""
    assert [row["path"] for row in found] == [row["path"] for row in expected]
    for one, other in zip(found, expected, strict=True):
        for row in (one, other):
            row["topk"] = {top["label"]: pytest.approx(top["prob"], abs=1e-5) for top in row["topk"]}
            row["prob"] = pytest.approx(row["prob"], abs=1e-5)
        assert {**one, "topk": list(one["topk"]), "prob": 0} == {**other, "topk": list(other["topk"]), "prob": 0}
        assert one["prob"].expected == other["prob"]


def test_a_worker_that_is_killed_costs_nothing(
    head: subprocess.Popen[bytes], address: str, exported: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "BLOCK_SIZE", 10)
    for index in range(12):
        write_image(images / "large.jpg", index, 300)
        for copy in range(20):
            os.link(images / "large.jpg", images / f"large-{copy:02d}-{index:02d}.jpg")
        (images / "large.jpg").unlink()
    killed: list[int] = []
    killer = threading.Thread(target=kill_a_worker, args=(head.pid, Path("out"), killed), daemon=True)
    killer.start()
    text = on_ray(address, "images", "--model", exported / "model.onnx")
    killer.join(1)
    # It was killed in the middle: at least one part existed, and many did not.
    assert killed and 1 <= killed[0] <= 20
    assert "  out  252 predictions" in text
    found = part_rows()
    assert len({row["path"] for row in found}) == len(found) == 252
    assert_same(found, alone("images", "--model", exported / "model.onnx"))
    assert not list(Path("out").glob(".*"))


def kill_a_worker(head: int, folder: Path, killed: list[int]) -> None:
    """Kills a worker as soon as a part exists; records how many parts there were."""
    while not (num_parts := len(list(folder.glob("part-*")))):
        time.sleep(0.002)
    os.kill(workers_of(head)[0], signal.SIGKILL)
    killed.append(num_parts)


def workers_of(head: int) -> list[int]:
    (raylet,) = (pid for pid in children(head) if title(pid).split("\0")[0].endswith("/raylet"))
    return [pid for pid in children(raylet) if title(pid).startswith("ray::MapWorker")]


def children(parent: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(folder.name))
    return found


def title(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def test_a_second_run_does_only_what_is_left(address: str, exported: Path, images: Path) -> None:
    (images / "03.jpg").write_text("no image")
    arguments = ("images", "gone.jpg", "--model", exported / "model.onnx", "--json", "--topk", 2)
    text = on_ray(address, *arguments, exit_code=3)
    assert "  out  11 predictions" in text and "2 of 13 images could not be read: out/failed" in text
    written = sorted(Path("out").glob("part-*.jsonl"))
    failed = sorted(Path("out/failed").iterdir())
    assert [len(json_rows(path)) for path in written] == [4, 5, 2]
    expected = alone(*arguments, exit_code=3)
    assert_same(json_rows(*written), [row for row in expected if row["error"] is None])
    assert json_rows(*failed) == [row for row in expected if row["error"] is not None]

    times = [path.stat().st_mtime_ns for path in written]
    written[1].unlink()
    text = on_ray(address, *arguments, exit_code=3)
    assert "  out  11 predictions, 6 of them from before" in text and "2 of 13 images could not be read" in text
    again = [path.stat().st_mtime_ns for path in written]
    assert [one == other for one, other in zip(times, again, strict=True)] == [True, False, True]

    for other, why in (
        (("--topk", 1), "with another model or other settings: made_by"),
        (("--max-pixels", 10**6), "other settings: max_pixels 50000000, now 1000000"),
        (("--parquet",), "choose one"),
    ):
        assert why in on_ray(address, *arguments, *other, exit_code=2)
    (images / "00a.jpg").write_bytes((images / "00.jpg").read_bytes())
    assert "out was started with other images" in on_ray(address, *arguments, exit_code=2)


def test_a_model_in_torch_answers_and_gives_features(address: str, exported: Path, images: Path) -> None:
    from pyarrow import parquet

    model = ("--model", exported / "model.safetensors", "--precision", "fp32", "--device", "cpu")
    probs = sorted(row["prob"] for row in alone("images", *model, name="all"))
    rule = ("--threshold", (probs[5] + probs[6]) / 2)
    text = on_ray(address, "images", *model, *rule, "--embeddings", "features")
    assert "  out       12 predictions, 6 of them unknown" in text
    expected = alone("images", *model, *rule, "--embeddings", "alone.parquet")
    assert sum(row["label"] == "unknown" for row in expected) == 6
    assert_same(part_rows(), expected)
    found = [row for path in sorted(Path("features").glob("part-*")) for row in parquet.read_table(path).to_pylist()]
    others = parquet.read_table("alone.parquet").to_pylist()
    assert [row["path"] for row in found] == [row["path"] for row in others]
    np.testing.assert_allclose(
        [row["features"] for row in found], [row["features"] for row in others], rtol=1e-4, atol=1e-5
    )


def test_labels_and_all_probabilities_are_those_of_one_process(address: str, labels_onnx: Path, images: Path) -> None:
    flags = ("images", "--model", labels_onnx, "--all-probs")
    text = on_ray(address, *flags)
    expected = alone(*flags)
    found = part_rows()
    assert [(row["path"], row["labels"]) for row in found] == [(row["path"], row["labels"]) for row in expected]
    num_none = sum(not row["labels"] for row in expected)
    assert f"{num_none} of them without a label" in text if num_none else "without a label" not in text
    for one, other in zip(found, expected, strict=True):
        assert one["all_probs"] == pytest.approx(list(other["all_probs"].values()), abs=1e-5)
    assert "started with another model or other settings" in on_ray(address, *flags[:3], exit_code=2)


def test_images_in_tables_and_archives_are_answered(address: str, exported: Path, images: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    shutil.make_archive("packed", "zip", "images")
    data = [{"bytes": path.read_bytes(), "path": path.name} for path in sorted(images.iterdir())]
    parquet.write_table(pa.table({"image": data[:3]}), "held.parquet")
    Path("named.csv").write_text("image\nimages/05.jpg\nhttps://127.0.0.1:1/away.jpg\n")
    arguments = ("held.parquet", "packed.zip", "named.csv", "--model", exported / "model.onnx")
    on_ray(address, *arguments, exit_code=3)
    expected = alone(*arguments, exit_code=3)
    assert_same(part_rows(), [row for row in expected if row["error"] is None])
    (failed,) = json_rows(*Path("out/failed").iterdir())
    assert failed == expected[-1] and failed["path"] == "https://127.0.0.1:1/away.jpg"


def test_a_run_by_itself_says_nothing(exported: Path, images: Path) -> None:
    needs_ray()
    arguments = ["predict", "images", "--model", exported / "model.onnx", "--engine", "ray", "--output", "out", "-q"]
    done = subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, env=command_environment())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(part_rows()) == 12


def test_a_run_that_is_stopped_says_how_to_go_on(
    head: subprocess.Popen[bytes], address: str, exported: Path, images: Path
) -> None:
    for index in range(3000):
        os.link(images / "00.jpg", images / f"link-{index}.jpg")
    flags = ["--model", exported / "model.onnx", "--engine", "ray", "--ray-address", address, "--output", "out"]
    process = spawn(["predict", "images", *flags], Path.cwd())
    while not workers_of(head.pid):
        assert process.poll() is None
        time.sleep(0.01)
    # Ray installs a handler of its own for this signal.
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (143, "")
    assert "interrupted; the finished parts are in out; the same command continues with them" in stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "name one: --out DIR"),
        (("--output", "answers.jsonl"), "it is a folder of parts"),
        (("--output", "out", "--csv"), "Parquet, or JSON lines"),
        (("--output", "out", "--annotate", "drawn"), "--annotate drawn is not available with --engine ray"),
        (("--output", "out", "--watch", "."), "--watch . is not available with --engine ray"),
        (
            ("--output", "out", "--similar", "a.jpg", "--among", "b"),
            "--similar a.jpg is not available with --engine ray",
        ),
        (("--output", "out", "--resume"), "--resume is not available"),
        (("--output", "out", "-"), "on stdin has no name"),
        (("--output", "out", "--ray-address", "ray://there:10001"), "host:port"),
        (("--output", "out", "--device", "mps"), "use auto, cpu or cuda"),
        (("--output", "out", "--precision", "int8"), "--precision int8 is not available with --engine ray"),
        (("--output", "images"), "holds files that are not parts"),
        (("--output", "out", "--embeddings", "out"), "--embeddings out is also --out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_is_refused(arguments: tuple[str, ...], why: str, exported: Path, images: Path) -> None:
    if arguments == ("--output", "images"):
        needs_ray()
    model = ("--model", exported / "model.safetensors")
    assert why in predict("images", *model, "--engine", "ray", *arguments, exit_code=2)


def test_a_block_that_kills_its_workers_ends_the_run(tmp_path: Path) -> None:
    writer = shards.PartWriter(tmp_path, "json", "test")
    for _ in range(shards.MAX_ATTEMPTS):
        with pytest.raises(KeyboardInterrupt):
            writer.write("part-000000-0123456789ab", killed())
    with pytest.raises(SetupError, match="6 workers died while computing the images of part-000000-0123456789ab"):
        writer.write("part-000000-0123456789ab", iter([]))
    assert not writer.is_finished("part-000000-0123456789ab")
    # The next run may have more memory.
    writer.tidy()
    assert not list(tmp_path.iterdir())
    writer.write("part-000000-0123456789ab", iter([]))
    assert writer.is_finished("part-000000-0123456789ab")


def killed() -> Iterator[PredictedItem[Any]]:
    raise KeyboardInterrupt
    yield


def test_flags_of_another_engine_are_refused(images: Path) -> None:
    assert "--ray-address auto has no effect" in predict("images", "--ray-address", "auto", exit_code=2)
    assert "--engine spark: must be one of auto, torch, onnxruntime, openvino, ray" in predict(
        "images", "--engine", "spark", exit_code=2
    )


def test_of_exported_models_only_onnx_is_taken(images: Path) -> None:
    arguments = ("--model", "model.pt2", "--engine", "ray", "--output", "out")
    assert "--engine ray takes are .onnx files" in predict("images", *arguments, exit_code=2)


def test_without_ray_the_way_to_it_is_shown(images: Path, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    model = ("--model", exported / "model.onnx")
    text = predict("images", *model, "--engine", "ray", "--output", "out", exit_code=4)
    assert "--engine ray needs Ray" in text and install_command("ray") in text
    assert not Path("out").exists()


def test_a_cluster_that_is_not_there_is_an_error(images: Path, exported: Path) -> None:
    needs_ray()
    arguments = ("images", "--model", exported / "model.onnx", "--engine", "ray", "--output", "out")
    assert "no cluster there" in predict(*arguments, "--ray-address", "127.0.0.1:1", exit_code=4)
