"""``resnet-cli export --push``: to a real server that speaks the Hub's protocol, in one commit, or not at all."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from support.hub_server import COMMIT
from support.hub_uploads import TOKEN, UploadServer
from support.running import COMMAND, command_environment, run_cli
from support.short_parity import shorten
from typer.testing import Result

from resnet_cli.errors import Interrupted
from resnet_cli.exported.onnx import OnnxModel
from resnet_cli.exporting.hub.push import Push
from resnet_cli.installation import install_command
from resnet_cli.model.model_file import Model
from resnet_cli.model.network import ResNet50
from resnet_cli.model.output import ModelOutput
from resnet_cli.network import hub
from resnet_cli.preprocess import Preprocess

pytest.importorskip("huggingface_hub", reason="the extra [hub] is not installed")

pytest_plugins = ["support.narrow_network"]

PREPROCESS = Preprocess(resize_size=36, crop_size=32)
SPEC = "hf:someone/insects"
REPO = "someone/insects"
#: As a run has it, with what its owner has filled in.
CARD = """\
---
license: cc-by-4.0
library_name: resnet-cli
pipeline_tag: image-classification
tags:
- insects
- resnet-50
model-index:
- name: insects
  results:
  - task: {type: image-classification}
    dataset: {name: insects, type: insects, split: test}
    metrics:
    - {type: accuracy, value: 0.9, name: Top-1 accuracy}
---

# insects

Told by people: for museums.

## How to use

resnet-cli predict photo.jpg --model model.safetensors

## Licences

Ours.
"""


@pytest.fixture(autouse=True)
def short_parity_check(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


@pytest.fixture
def run(narrow: None, tmp_path: Path, make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with a card beside it, and images to check it with."""
    from support.narrow_network import narrow_model

    make_folder({"ant": 3, "bee": 3})
    folder = tmp_path / "run"
    folder.mkdir()
    model = narrow_model(("ant", "bee"), PREPROCESS)
    # So that no answer is a tie.
    torch.nn.init.constant_(model.network.fc.bias[0], 1.0)  # type: ignore[index]
    model.save(folder / "model.safetensors")
    (folder / "model_card.md").write_text(CARD)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[UploadServer]:
    from huggingface_hub import constants

    monkeypatch.delenv("RESNET_CLI_OFFLINE")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    # The other protocol speaks to other servers.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with UploadServer() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield server


def export(*flags: object) -> Result:
    return run_cli("export", "run", "--verify-with", "photos", "--push", SPEC, *flags)


def front_matter(readme: bytes) -> dict[str, Any]:
    values = yaml.safe_load(readme.decode().split("---\n")[1])
    assert isinstance(values, dict)
    return values


def test_the_file_its_card_and_its_description_come_in_one_commit(run: Path, served: UploadServer) -> None:
    result = export("--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["pushed"] == {"url": f"{served.url}/{REPO}", "commit": COMMIT, "is_card_complete": True}
    (commit,) = served.commits
    assert set(commit) == {"README.md", "config.json", "model.onnx"}
    assert commit["model.onnx"] == (run / "model.onnx").read_bytes()
    config = json.loads(commit["config.json"])
    assert config["classes"] == ["ant", "bee"] and config["preprocess"]["crop_size"] == 32
    assert (config["temperature"], config["format"], config["input"]) == (1.0, "onnx", "picture")
    assert (config["sha256"], config["source_sha256"]) == (found["sha256"], found["source_sha256"])
    assert served.private == {REPO: False} and "warning" not in result.stderr
    assert f"pushing to {SPEC}" in result.stderr and TOKEN not in result.output


def test_the_card_is_the_runs_own_with_what_is_true_of_the_file(run: Path, served: UploadServer) -> None:
    assert export().exit_code == 0
    readme = served.commits[0]["README.md"]
    front, text = front_matter(readme), readme.decode()
    assert (front["license"], front["library_name"]) == ("cc-by-4.0", "resnet-cli")
    assert front["pipeline_tag"] == "image-classification"
    assert {"insects", "image-classification", "resnet", "resnet-50", "onnx"} == set(front["tags"])
    assert front["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.9
    assert "for museums" in text and text.index("## This file") < text.index("## How to use") < text.index(
        "## Licences"
    )
    assert "model.safetensors" not in text and f"hf download {REPO} model.onnx" in text
    assert "all 6 images of photos" in text
    hub_library = pytest.importorskip("huggingface_hub")
    card = hub_library.ModelCard(text, ignore_metadata_errors=False)
    assert card.data.eval_results[0].metric_value == 0.9


def test_the_cards_own_code_answers_as_the_file_does(run: Path, served: UploadServer) -> None:
    assert export().exit_code == 0
    shutil.copy(next(Path("photos").rglob("*.jpg")), "photo.jpg")
    (code,) = served.commits[0]["README.md"].decode().split("```python\n")[1:]
    values: dict[str, Any] = {}
    exec(code.partition("```")[0], values)
    with Image.open("photo.jpg") as image:
        expected, *_ = OnnxModel.load(run / "model.onnx").predict_images([image.convert("RGB")])
    np.testing.assert_allclose(values["probs"], expected[0], atol=1e-5)


def test_an_int8_file_is_not_credited_with_the_models_figures(run: Path, served: UploadServer) -> None:
    result = export("--int8", "--calibrate-with", "photos", "--max-drop", "100%", "--licence", "MIT", "--json")
    assert result.exit_code == 0, result.output
    (commit,) = served.commits
    front = front_matter(commit["README.md"])
    (metric,) = front["model-index"][0]["results"][0]["metrics"]
    assert metric["value"] == round(json.loads(result.stdout)["parity"]["file_accuracy"]["value"], 4)
    assert front["license"] == "mit" and "model.int8.onnx" in commit
    assert b"in float32" in commit["README.md"]


def test_a_timm_folder_is_one_that_weights_are_fetched_from(run: Path, served: UploadServer) -> None:
    (run / "model_card.md").unlink()
    result = export("--format", "safetensors", "--out", "made", "--private")
    assert result.exit_code == 0, result.output
    (commit,) = served.commits
    assert set(commit) == {"README.md", *os.listdir("made")} >= {"config.json", "model.safetensors"}
    assert commit["config.json"] == Path("made/config.json").read_bytes()
    assert served.private == {REPO: True}
    front = front_matter(commit["README.md"])
    assert front["library_name"] == "timm" and front["license"] == "other" and front["metrics"] == ["accuracy"]
    assert "has places to fill in" in result.stderr
    fetched = hub.fetch_weights(hub.parse(SPEC))
    assert fetched.path.read_bytes() == Path("made/model.safetensors").read_bytes()
    assert Preprocess.from_dict(fetched.preprocess) == PREPROCESS


def test_timm_loads_what_was_pushed(
    make_folder: Callable[..., Path], served: UploadServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    make_folder({"ant": 1, "bee": 1})
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = Model(ResNet50(2).eval(), ("ant", "bee"), PREPROCESS, temperature=2.0)
    torch.nn.init.normal_(model.network.fc.weight)  # type: ignore[arg-type]
    Path("run").mkdir()
    model.save(Path("run/model.safetensors"))
    result = run_cli("export", "run", "--verify-with", "photos", "--push", SPEC, "--format", "safetensors")
    assert result.exit_code == 0, result.output
    network = timm.create_model(f"hf-hub:{REPO}", pretrained=True).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(network(images), model.network(images) / 2, rtol=1e-4, atol=1e-4)
    shutil.copy(next(Path("photos").rglob("*.jpg")), "photo.jpg")
    (code,) = served.commits[0]["README.md"].decode().split("```python\n")[1:]
    values: dict[str, Any] = {}
    exec(code.partition("```")[0], values)
    assert values["logits"].shape == (1, 2)


def test_a_second_push_is_a_second_commit(run: Path, served: UploadServer) -> None:
    for _ in range(2):
        assert export().exit_code == 0
    assert len(served.commits) == 2 and served.private == {REPO: False}


def test_what_is_to_be_private_never_goes_where_all_can_see_it(run: Path, served: UploadServer) -> None:
    served.private[REPO] = False
    result = export("--private")
    assert result.exit_code == 2
    assert "is public; nothing was pushed; run/model.onnx is kept" in result.stderr
    assert served.commits == [] and served.blobs == {}
    served.private[REPO] = True
    assert export("--private").exit_code == 0


def test_nothing_is_uploaded_when_the_parity_check_rejects_the_file(
    run: Path, served: UploadServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = OnnxModel.predict
    monkeypatch.setattr(OnnxModel, "predict", lambda self, inputs: ModelOutput(1 - predict(self, inputs).probs))
    result = export()
    assert result.exit_code == 10 and "pushing" not in result.stderr
    assert served.requests == [] and not (run / "model.onnx").exists()


@pytest.mark.parametrize(
    ("where", "code", "said"),
    [
        ("POST /api/repos/create", 500, "HTTP 500, out of order"),
        ("POST /api/models/", 401, "the token in HF_TOKEN has no write access"),
        ("POST /api/models/someone/insects/commit", 500, "HTTP 500, out of order"),
        ("POST /api/models/someone/insects/commit", 403, "the token in HF_TOKEN has no write access"),
        ("PUT /blobs", 400, "HTTP 400"),
        ("POST /api/validate-yaml", 502, "HTTP 502"),
    ],
)
def test_a_push_that_fails_keeps_the_file_and_says_how_to_go_on(
    run: Path, served: UploadServer, where: str, code: int, said: str
) -> None:
    served.failing[where] = code, f"out of order {TOKEN}"
    result = export("--out", "made/a b.onnx")
    text = " ".join(result.stderr.split())
    assert result.exit_code == 5 and result.stdout == ""
    assert said in text and "made/a b.onnx is kept" in text and TOKEN not in result.output
    assert f"resnet-cli export run/model.safetensors --out 'made/a b.onnx' --verify-with photos --push {SPEC}" in text
    assert served.commits == [] and os.listdir("made") == ["a b.onnx"]


def test_a_server_that_fails_for_a_moment_is_asked_again(
    run: Path, served: UploadServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mend(seconds: float) -> None:
        served.failing.clear()

    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", mend)
    served.failing["PUT /blobs"] = 500, ""
    result = export()
    assert result.exit_code == 0, result.output
    assert sum(line.startswith("PUT") for line in served.requests) == 2 and "Retrying" not in result.output


def test_a_wrong_token_is_refused_and_never_shown(
    run: Path, served: UploadServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    result = export("--format", "safetensors", "--out", "made")
    text = " ".join(result.stderr.split())
    assert result.exit_code == 5 and "hf_wrong" not in result.output
    assert "the token in HF_TOKEN has no write access (HTTP 401" in text
    # The folder is there now.
    assert "--out made " in text and f"--push {SPEC} --overwrite" in text and Path("made/config.json").exists()


def test_a_hub_that_is_not_there(run: Path, served: UploadServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        result = export("--json")
    assert result.exit_code == 5
    error = json.loads(result.stderr.splitlines()[-1])["error"]
    assert "refused" in error["message"] and "is kept" in error["message"] and error["hint"].startswith("push again: ")
    assert (run / "model.onnx").exists()


def test_a_card_that_the_hub_does_not_take_is_the_users_to_mend(run: Path, served: UploadServer) -> None:
    (run / "model_card.md").write_text(CARD + "\nlicense: twice\n")
    result = export()
    assert result.exit_code == 2 and '"license" is required' in result.stderr and served.commits == []


@pytest.mark.parametrize(
    "front", ["---\n- a list\n---\n", "---\nx: [\n---\n", "---\nx: !!python/name:os.system\n---\n"]
)
def test_a_damaged_card_is_named_before_the_parity_check(run: Path, served: UploadServer, front: str) -> None:
    (run / "model_card.md").write_text(front + "text")
    result = export()
    assert result.exit_code == 2 and "model_card.md: not a model card" in " ".join(result.stderr.split())
    assert served.requests == [] and not (run / "model.onnx").exists()


def test_ctrl_c_keeps_the_file_and_says_so(run: Path, served: UploadServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> str:
        raise Interrupted("", signal=15)

    monkeypatch.setattr(Push, "_commit", stopped)
    result = export()
    assert result.exit_code == 143
    assert "is kept, not pushed; push again: resnet-cli export" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("environment", "flags", "code", "said"),
    [
        ({}, ["--push", "someone/insects"], 2, "not the name of a repository"),
        ({}, ["--push", "hf:insects"], 2, "not the name of a repository"),
        ({}, ["--push", "hf:a/b@main"], 2, "not the name of a repository"),
        ({}, ["--push", "timm-a1"], 2, "not the name of a repository"),
        ({}, ["--push", "hf:a/b", "--offline"], 2, "--push hf:a/b and --offline: choose one"),
        ({}, ["--push", "hf:a/b", "--benchmark"], 2, "--push hf:a/b has no effect with --benchmark"),
        ({}, ["--private"], 2, "--private has no effect without --push"),
        ({"RESNET_CLI_OFFLINE": "1"}, ["--push", "hf:a/b"], 5, "RESNET_CLI_OFFLINE is set"),
        ({"HF_TOKEN": ""}, ["--push", "hf:a/b"], 4, "HF_TOKEN is not set"),
        ({"HF_TOKEN": "hf_two\nlines"}, ["--push", "hf:a/b"], 4, "HF_TOKEN contains characters that no token has"),
    ],
    ids=str,
)
def test_what_cannot_be_pushed_is_refused_at_once(
    environment: dict[str, str], flags: list[str], code: int, said: str, served: UploadServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    result = run_cli("export", "no-such-run", *flags)
    assert result.exit_code == code and said in " ".join(result.stderr.split()), result.output
    assert "hf_two" not in result.output and served.requests == []


def test_a_token_is_never_sent_unencrypted(served: UploadServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://user:word@hub.example")
    result = run_cli("export", "no-such-run", "--push", SPEC)
    assert result.exit_code == 2 and "HF_ENDPOINT http://hub.example" in result.stderr and "word" not in result.output


def test_without_the_extra_the_way_to_get_it_is_named(served: UploadServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    result = run_cli("export", "no-such-run", "--push", SPEC)
    assert result.exit_code == 4 and install_command("hub") in result.stderr


def test_a_stored_login_is_not_used_and_the_endpoint_is_the_environments(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    environment = command_environment() | {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://hub.example"}
    for name in ("HF_TOKEN", "RESNET_CLI_OFFLINE"):
        environment.pop(name, None)
    command = [str(COMMAND), "export", "--push", SPEC]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "HF_ENDPOINT http://hub.example" in done.stderr
    environment["HF_ENDPOINT"] = "http://127.0.0.1:9"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4 and "HF_TOKEN is not set" in done.stderr and done.stdout == ""
