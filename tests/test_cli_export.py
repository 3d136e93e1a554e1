"""``resnet-cli export``: a file that answers as the model does, or no file; and what runs it elsewhere."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import signal
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.full_disk import small_disk
from support.running import CLASSES, IMPORTED, Trained, command_environment, run_cli
from support.short_parity import shorten

from resnet_cli import export as export_model
from resnet_cli.commands.export import compare_formats, export
from resnet_cli.config.export import ExportConfig
from resnet_cli.errors import DiskError, SetupError
from resnet_cli.exported.metadata import METADATA_FILE
from resnet_cli.exported.onnx import OnnxModel, Prepared
from resnet_cli.exported.pt2 import Pt2Model
from resnet_cli.exporting import benchmark
from resnet_cli.exporting.export import Job
from resnet_cli.installation import install_command
from resnet_cli.model.output import ModelOutput
from resnet_cli.model.reliability import Reliability
from resnet_cli.model.weights import load_model
from resnet_cli.predictor import TorchPredictor
from resnet_cli.system.device import REFERENCE
from resnet_cli.system.paths import sha256_of

pytest_plugins = ["support.small_runs"]
#: Begins as an exported file does.
OLD_FILE = b"\x08\x08\x12\x0aresnet-cli, the old file"

EXAMPLE = Path(__file__).parent.parent / "examples" / "onnx_predict.py"
RESULT_KEYS = {
    "schema_version", "model", "path", "format", "number", "num_bytes", "sha256", "source_sha256", "parity", "seconds",
    "pushed", "snippet",
}  # fmt: skip
#: Of an environment in which the example runs.
NEEDED = ("numpy", "numpy.libs", "PIL", "pillow.libs", "onnxruntime")
#: The command, which stops for a minute when the file is written and about to be checked.
WAITING = """
import sys, time
from resnet_cli.commands import export
check = export.check
def wait(*arguments, **options):
    print("written", file=sys.stderr, flush=True)
    time.sleep(60)
    return check(*arguments, **options)
export.check = wait
from resnet_cli.cli import main
main()
"""


@pytest.fixture(autouse=True)
def in_an_empty_folder(here: Path) -> None:
    pass


@pytest.fixture(autouse=True)
def short_parity_check(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


@pytest.fixture(scope="module")
def exported(full_run: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as an ONNX file."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        export_model(load_model(full_run.run), out=path)
    return path


def test_it_says_what_was_written_and_what_the_parity_check_found(full_run: Trained) -> None:
    result = run_cli("export", full_run.run, "--out", "made/m.onnx", "--json", "--snippet", "js")
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    found = json.loads(line)
    assert set(found) == RESULT_KEYS and found["snippet"].startswith("// Classifies")
    assert (found["schema_version"], found["path"], found["number"]) == (1, str(Path("made/m.onnx")), "fp32")
    assert found["sha256"] == sha256_of(Path("made/m.onnx"))
    assert found["source_sha256"] == sha256_of(full_run.run / "model.safetensors")
    assert found["parity"]["passed"] and found["parity"]["data"] == "all 15 validation images of colours"
    assert all(check["agreement"] == 1 and check["max_difference"] < 1e-3 for check in found["parity"]["checks"])
    assert "File and model compared" in result.stderr
    assert os.listdir("made") == ["m.onnx"]


def test_the_file_lies_beside_the_model_unless_told_otherwise(full_run: Trained) -> None:
    result = run_cli("export", full_run.run, "--quiet")
    path = full_run.run / "model.onnx"
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{path}\n" and result.stderr == ""
    path.unlink()


def test_a_file_that_answers_otherwise_is_not_written(full_run: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    predict = OnnxModel.predict

    def turned(self: OnnxModel, inputs: Sequence[Prepared]) -> ModelOutput:
        output = predict(self, inputs)
        return output._replace(probs=np.roll(output.probs, 1, axis=1))

    monkeypatch.setattr(OnnxModel, "predict", turned)
    Path("m.onnx").write_bytes(OLD_FILE)
    refused = run_cli("export", full_run.run, "--out", "m.onnx")
    assert (
        refused.exit_code == 2 and "--out m.onnx: exists already" in refused.stderr and "--overwrite" in refused.stderr
    )
    result = run_cli("export", full_run.run, "--out", "m.onnx", "--overwrite")
    assert result.exit_code == 10
    assert result.stdout == ""
    assert "the predictions of onnx differ from the model's, and it was not written" in result.stderr
    assert "differs" in result.stderr and "Different predictions" in result.stderr
    assert Path("m.onnx").read_bytes() == OLD_FILE and os.listdir() == ["m.onnx"]


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_computed(full_run: Trained) -> None:
    Path("file").touch()
    config = ExportConfig(out=Path("file", "m.onnx"))
    with pytest.raises(DiskError, match=r"cannot write file.m\.onnx: Not a directory") as error:
        export(full_run.run, config, on_work=lambda *_: pytest.fail("an image was used"))
    assert error.value.hint == "choose another place with --out"


def test_a_disk_without_room_for_the_file_is_refused_before_anything_is_computed(full_run: Trained) -> None:
    with small_disk(Path("disk").absolute(), 1_000_000) as disk:
        config = ExportConfig(out=disk / "m.onnx")
        with pytest.raises(DiskError) as error:
            export(full_run.run, config, on_work=lambda *_: pytest.fail("an image was used"))
        assert re.fullmatch(rf"{disk} has .+ free, but writing {disk}.m\.onnx needs 94 MB", error.value.message)
        assert error.value.hint == "choose another place with --out, or free some space" and os.listdir(disk) == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_an_export_killed_before_the_parity_check_leaves_the_old_file_and_the_next_one_tidies_up(
    full_run: Trained,
) -> None:
    Path("m.onnx").write_bytes(OLD_FILE)
    command = [sys.executable, "-c", WAITING, "export", str(full_run.run), "--out", "m.onnx", "--overwrite"]
    process = subprocess.Popen(command, env=command_environment(), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "written\n" in iter(process.stderr.readline, "")
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert Path("m.onnx").read_bytes() == OLD_FILE
    hidden, visible = sorted(os.listdir())
    assert visible == "m.onnx" and hidden.startswith(".m.onnx.") and hidden.endswith(".tmp")
    assert run_cli("export", full_run.run, "--out", "m.onnx", "--overwrite").exit_code == 0
    assert os.listdir() == ["m.onnx"]


def test_int8_is_small_and_knows_its_own_answers(full_run: Trained) -> None:
    # Of a network of three epochs on 24 images, the answers are close calls.
    result = run_cli("export", full_run.run, "--int8", "--out", "m.onnx", "--json", "--max-drop", "100%")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["number"] == "int8" and found["num_bytes"] < 27e6
    model = OnnxModel.load(Path("m.onnx"))
    assert isinstance(model.reliability, Reliability)
    assert model.reliability.is_right.mean() == pytest.approx(found["parity"]["file_accuracy"]["value"])


def test_images_to_check_with_can_be_named(full_run: Trained) -> None:
    test_split = full_run.photos / "test"
    result = run_cli("export", full_run.run, "--out", "m.onnx", "--verify-with", test_split, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["parity"]["data"] == "all 9 images of test"


def test_without_a_run_images_must_be_named(full_run: Trained) -> None:
    Path("alone.safetensors").write_bytes((full_run.run / "model.safetensors").read_bytes())
    result = run_cli("export", "alone.safetensors", "--out", "m.onnx")
    assert result.exit_code == 2
    assert "no images to check with" in result.stderr and "--verify-with DATA" in result.stderr


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--format", "torchscript"], "torch has deprecated it"),
        (["--format", "tensorrt"], "--format tensorrt"),
        (["--int8", "--fp16"], "choose one"),
        (["--format", "pt2", "--int8"], "--int8 has no effect on --format pt2"),
        (["--format", "openvino", "--input", "tensor"], "--input tensor has no effect on --format openvino"),
        (["--format", "safetensors", "--no-novelty"], "--no-novelty has no effect"),
        (["--out", "m.xml"], "--format openvino writes a folder, in which the .xml file has a fixed name"),
        (["--format", "onnx", "--out", "m.pt2"], "--out m.pt2: --format onnx does not write .pt2 files"),
        (["--format", "openvino", "--out", "m.onnx"], "--out m.onnx: --format openvino does not write .onnx files"),
        (["--out", "x y"], "must end in .onnx try: --out 'x y.onnx'"),
        (["--format", "pt2", "--out", "net.v2"], "must end in .pt2 try: --out net.v2.pt2"),
        (["--out", "."], "must end in .onnx try: --out model.onnx"),
        (["--out", "x y.tflite"], "--format litert --out 'x y'"),
        (["--overwrite"], "--overwrite has no effect without --out"),
        (["--fp16", "--max-shift", "0.1"], "--max-shift 0.1 has no effect without --int8"),
        (["--max-drop", "0.1"], "--max-drop 0.1 has no effect without --int8 or --fp16"),
        (["--int8", "--max-drop", "2"], "--max-drop 2"),
        (["--int8", "--max-drop", "x%"], "must be a share"),
        (["--calibrate-with", "x"], "--calibrate-with x has no effect without --int8"),
        (["--benchmark", "--out", "x"], "--out x has no effect with --benchmark"),
        (["--benchmark", "--no-novelty"], "--no-novelty has no effect with --benchmark"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_refused(flags: list[str], reason: str) -> None:
    result = run_cli("export", *flags)
    assert result.exit_code == 2 and reason in " ".join(result.stderr.split())


@pytest.mark.parametrize(("out", "kind"), [("m.pt2", "pt2"), ("M.ONNX", "onnx"), (None, "onnx")])
def test_the_name_of_the_file_chooses_its_format(out: str | None, kind: str) -> None:
    assert ExportConfig.model_validate({} if out is None else {"out": out}).format == kind


def test_it_is_refused_before_torch_is_loaded() -> None:
    command = [sys.executable, "-c", IMPORTED, "export", "--format", "torchscript"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    code, names = json.loads(done.stderr.rpartition("\n")[2])
    assert code == 2 and not set(names) & {"torch", "onnxruntime", "numpy"}


@pytest.mark.parametrize("kind", [pytest.param("image", marks=pytest.mark.slow), "tensor"])
def test_pt2_answers_as_the_model_does(full_run: Trained, kind: str) -> None:
    result = run_cli("export", full_run.run, "--format", "pt2", "--input", kind, "--out", "m.pt2", "--json")
    assert result.exit_code == 0, result.output
    model = load_model(full_run.run)
    photos = [Image.new("RGB", (50, 40), colour) for colour in ("red", "green", "blue", "white", "black")]
    for found, expected in zip(
        Pt2Model(Path("m.pt2")).predict_images(photos)[:2],
        TorchPredictor(model, REFERENCE).predict_images(photos)[:2],
        strict=True,
    ):
        assert found is not None and expected is not None
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_timm_folder_is_one_that_timm_reads(full_run: Trained) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    result = run_cli("export", full_run.run, "--format", "safetensors", "--out", "made", "--json")
    assert result.exit_code == 0, result.output
    import torch

    network = timm.create_model("local-dir:made", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=network))
    model = load_model(full_run.run)
    paths = sorted((full_run.photos / "test").rglob("*.jpg"))
    photos = [Image.open(path).convert("RGB") for path in paths]
    with torch.inference_mode():
        probs = torch.softmax(network(torch.stack([transform(photo) for photo in photos])), dim=1)
    np.testing.assert_allclose(probs.numpy(), TorchPredictor(model, REFERENCE).predict_images(photos)[0], atol=1e-3)
    assert network.pretrained_cfg["label_names"] == list(CLASSES)


def test_a_timm_folder_has_its_files_and_replaces_only_one_of_an_export(full_run: Trained) -> None:
    first = run_cli("export", full_run.run, "--format", "safetensors", "--out", "made")
    assert first.exit_code == 0, first.output
    assert sorted(os.listdir("made")) == ["config.json", "model.safetensors", METADATA_FILE]
    config = json.loads(Path("made/config.json").read_text())
    assert (config["architecture"], config["num_classes"], config["label_names"]) == ("resnet50", 3, list(CLASSES))
    again = ("export", full_run.run, "--format", "safetensors", "--out", "made")
    refused = run_cli(*again)
    assert refused.exit_code == 2 and "exists already" in refused.stderr and "add --overwrite" in refused.stderr
    Path("made/config.json").write_text("{}")
    assert run_cli("predict", full_run.photos / "test", "--model", "made").exit_code == 3
    assert run_cli(*again, "--overwrite").exit_code == 0
    assert json.loads(Path("made/config.json").read_text()) == config and os.listdir() == ["made"]
    Path("made/notes.txt").touch()
    refused = run_cli(*again, "--overwrite")
    assert refused.exit_code == 2 and "contains notes.txt, which --format safetensors does not write" in refused.stderr
    assert len(os.listdir("made")) == 4


@pytest.mark.parametrize(
    "kind",
    [
        "onnx",
        pytest.param("pt2", marks=pytest.mark.slow),
        pytest.param("safetensors", marks=pytest.mark.slow),
        "openvino",
    ],
)
def test_predict_and_eval_take_every_exported_file(full_run: Trained, photos: Path, kind: str) -> None:
    if kind == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed")
    made = "made" if kind in {"safetensors", "openvino"} else f"made.{kind}"
    assert run_cli("export", full_run.run, "--format", kind, "--out", made).exit_code == 0
    trust = ["--trust"] if kind == "pt2" else []
    flags = ["predict", photos / "test", "--json", "--topk", 3, "--model"]
    found = [json.loads(line) for line in run_cli(*flags, made, *trust).stdout.splitlines()]
    expected = [json.loads(line) for line in run_cli(*flags, full_run.run, "--precision", "fp32").stdout.splitlines()]
    assert [(row["path"], row["label"]) for row in found] == [(row["path"], row["label"]) for row in expected]
    assert [row["prob"] for row in found] == pytest.approx([row["prob"] for row in expected], abs=1e-3)
    flags = ["eval", photos, "--json", "--no-report"]
    found, expected = (
        json.loads(run_cli(*flags, *chosen).stdout)
        for chosen in ([made, *trust], [full_run.run, "--precision", "fp32"])
    )
    assert found["top1"] == expected["top1"] and found["loss"] == pytest.approx(expected["loss"], abs=1e-3)


@pytest.mark.parametrize("command", [("predict", "x.jpg", "--model"), ("eval",), ("serve",)])
def test_a_pt2_file_runs_only_where_it_is_trusted(here: Path, command: tuple[str, ...]) -> None:
    Path("x.pt2").write_bytes(b"PK")
    Path("x.jpg").write_bytes(b"")
    done = run_cli(*command, "x.pt2")
    assert done.exit_code == 9 and "--trust" in done.stderr
    assert run_cli(*command, "x.pt2", "--trust").exit_code == 3
    Path("x.onnx").write_bytes(b"")
    refused = run_cli(*command, "x.onnx", "--trust")
    assert refused.exit_code == 2 and "--trust has no effect" in refused.stderr


def test_an_exported_file_shows_where_it_looked(full_run: Trained, photos: Path) -> None:
    assert run_cli("export", full_run.run, "--out", "m.onnx").exit_code == 0
    photo = next((photos / "test" / "red").glob("*.jpg"))
    for model, folder in (("m.onnx", "one"), (full_run.run, "other")):
        flags = ("--precision", "fp32") if folder == "other" else ()
        assert run_cli("predict", photo, "--model", model, "--explain", folder, *flags).exit_code == 0
    (drawn,), (expected,) = (list(Path(folder).iterdir()) for folder in ("one", "other"))
    with Image.open(drawn) as image, Image.open(expected) as other:
        difference = np.asarray(image, dtype=np.int64) - np.asarray(other)
    assert np.abs(difference).mean() < 2


def test_without_openvino_the_way_to_get_it_is_named(full_run: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    result = run_cli("export", full_run.run, "--format", "openvino", "--out", "made")
    assert result.exit_code == SetupError.exit_code
    assert install_command("openvino") in result.stderr and os.listdir() == []


def test_an_openvino_folder_answers_as_the_model_does(full_run: Trained) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    result = run_cli("export", full_run.run, "--format", "openvino", "--out", "made", "--json")
    assert result.exit_code == 0, result.output
    assert sorted(os.listdir("made")) == ["labels.txt", "model.bin", "model.xml", METADATA_FILE]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with onnxruntime, numpy and Pillow alone: links to the ones that are here."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    home = Path(np.__file__).parent.parent
    (packages,) = [path for path in folder.rglob("site-packages") if not path.is_symlink()]
    for name in NEEDED:
        if (home / name).exists():
            try:
                (packages / name).symlink_to(home / name, target_is_directory=True)
            except OSError:
                pytest.skip("links are not allowed here")
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


def test_the_example_gives_the_same_answers_where_there_is_no_torch(
    full_run: Trained, exported: Path, elsewhere: Path
) -> None:
    assert subprocess.run([elsewhere, "-c", "import torch"], capture_output=True, check=False).returncode == 1
    photos = [str(path) for path in sorted((full_run.photos / "test").rglob("*.jpg"))]
    command = [str(elsewhere), str(EXAMPLE), *photos]
    done = subprocess.run(
        command, cwd=exported.parent, capture_output=True, text=True, check=False, env=command_environment()
    )
    assert done.returncode == 0, done.stderr
    expected = run_cli("predict", *photos, "--model", full_run.run, "--topk", "1", "--precision", "fp32", "--csv")
    rows = list(csv.DictReader(expected.stdout.splitlines()))
    found = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[:2] for line in found] == [[row["path"], row["label"]] for row in rows]
    np.testing.assert_allclose([float(line[2]) for line in found], [float(row["prob"]) for row in rows], atol=1e-3)


def test_python_writes_the_same_file(full_run: Trained, exported: Path) -> None:
    seen: list[Any] = []
    result = export(full_run.run, ExportConfig(out=Path("again.onnx")), on_parity=seen.append)
    assert result.path.read_bytes() == exported.read_bytes()
    assert seen == [result.parity] and result.parity.passed


def test_the_benchmark_has_a_row_for_each_format_and_keeps_nothing(
    full_run: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(
        benchmark, "VARIANTS", {name: benchmark.VARIANTS[name] for name in ("onnx", "safetensors", "openvino")}
    )
    result = run_cli("export", full_run.run, "--benchmark", "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["formats"]
    assert [row["name"] for row in rows] == ["the model, in torch", "onnx", "safetensors", "openvino"]
    assert [row["accuracy"] is not None for row in rows] == [True, True, True, False]
    assert "not installed" in rows[-1]["note"]
    assert os.listdir() == []


def test_a_disk_that_fails_ends_the_benchmark_with_an_error_of_the_disk(
    full_run: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError(errno.EIO, "OpenVINO: basic_ios::clear: iostream error")

    monkeypatch.setattr(Job, "write", fail)
    with pytest.raises(DiskError, match=r"^cannot write temporary files in .+: OpenVINO: ") as error:
        compare_formats(full_run.run, ExportConfig())
    assert "TMPDIR" in str(error.value.hint)


def test_a_program_is_all_that_is_printed_and_a_field_of_the_json(full_run: Trained, exported: Path) -> None:
    out = exported.with_name("snippet.onnx")
    result = run_cli("export", full_run.run, "--out", out, "--snippet", "python")
    assert result.exit_code == 0, result.output
    program = EXAMPLE.read_text(encoding="utf-8").replace("examples/onnx_predict.py", "classify.py")
    assert result.stdout == program.replace('"model.onnx"', f'"{out}"')
    assert "SHA-256" in result.stderr
