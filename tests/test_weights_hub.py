"""Weights on the Hugging Face Hub, from a real server that implements its protocol."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from support.hub_server import COMMIT, HubServer
from support.other_trainers import transformers

from resnet_cli.errors import ConfigError, DiskError, ModelError, NetworkError, SetupError, UntrustedFileError
from resnet_cli.installation import install_command
from resnet_cli.model.network import ResNet50
from resnet_cli.model.weights import find_weights, imagenet_classes, load_backbone, load_model
from resnet_cli.network import hub
from resnet_cli.network.registry import HUB_WEIGHTS
from resnet_cli.preprocess import Preprocess

pytest.importorskip("huggingface_hub", reason="the extra [hub] is not installed")

# Source: the config.json of these repositories, and timm/models/resnet.py (_cfg, _rcfg, _ttcfg).
STATISTICS = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
A1 = {"input_size": [3, 224, 224], "test_input_size": [3, 288, 288], "crop_pct": 0.95, "test_crop_pct": 1.0,
      "interpolation": "bicubic", "crop_mode": "center", **STATISTICS}  # fmt: skip
A1H = {**A1, "input_size": [3, 176, 176], "test_input_size": [3, 224, 224], "crop_pct": 0.9}
RA = {**A1, "crop_pct": 0.875, "test_crop_pct": 0.95}
SWSL = {"input_size": [3, 224, 224], "crop_pct": 0.875, "interpolation": "bilinear", "crop_mode": "center",
        **STATISTICS}  # fmt: skip


def described(about: object = A1, **changes: Any) -> bytes:
    config = {"architecture": "resnet50", "num_classes": 1000, "num_features": 2048, "pretrained_cfg": about}
    return json.dumps({**config, **changes}).encode()


@pytest.fixture(scope="module")
def network() -> ResNet50:
    torch.manual_seed(0)
    return ResNet50(1000).half()


@pytest.fixture(scope="module")
def tensors(network: ResNet50) -> bytes:
    return save(network.state_dict())


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    from huggingface_hub import constants

    # These are read from the environment when the package is imported; test_cli_download.py does it that way.
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("RESNET_CLI_OFFLINE")
    monkeypatch.setenv("no_proxy", "*")
    with HubServer() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


def fetch(spec: str, **options: Any) -> hub.HubFile:
    return hub.fetch_weights(hub.parse(spec), **options)


def test_a_repository_gives_a_backbone_and_its_preprocessing(
    served: HubServer, network: ResNet50, tensors: bytes, tmp_path: Path
) -> None:
    served.files["someone/resnet"] = {"config.json": described(), "model.safetensors": tensors}
    seen: list[tuple[int, int | None]] = []
    weights = find_weights(
        "hf:someone/resnet", mode="frozen", on_download=lambda done, total: seen.append((done, total))
    )
    assert weights.preprocess == Preprocess(resize_size=288, crop_size=288, interpolation="bicubic")
    assert weights.path is not None and weights.path.is_relative_to(tmp_path / "hub")
    assert seen[-1] == (len(tensors), len(tensors)) and seen == sorted(seen)
    fresh = ResNet50(2)
    load_backbone(fresh, weights)
    name = "layer4.2.conv3.weight"
    assert torch.equal(fresh.state_dict()[name], network.state_dict()[name].float())
    # The name that a run records finds the same bytes, even if the branch changes, and without the network.
    assert weights.spec == f"hf:someone/resnet@{COMMIT}"
    served.requests.clear()
    assert find_weights(weights.spec, mode="frozen", offline=True) == weights
    assert served.requests == []
    with torch.no_grad():
        loaded = load_model("hf:someone/resnet")
        images = torch.rand(1, 3, 64, 64)
        assert torch.equal(loaded.network.eval()(images), network.float().eval()(images))
    assert loaded.classes == imagenet_classes() and loaded.preprocess == weights.preprocess


def test_a_short_name_is_a_repository(served: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = HUB_WEIGHTS["timm-swsl"].repo
    served.files[repo] = {"config.json": described(SWSL), "model.safetensors": b"small"}
    found = fetch("timm-swsl")
    assert found.name == f"hf:{repo}@{COMMIT}" and found.path.read_bytes() == b"small"
    assert hub.find_cached(HUB_WEIGHTS["timm-swsl"]) == found.path
    assert hub.find_cached(HUB_WEIGHTS["timm-ra"]) is None
    # The cache suffices if the environment forbids the network.
    monkeypatch.setenv("RESNET_CLI_OFFLINE", "1")
    served.requests.clear()
    assert fetch("timm-swsl") == found
    assert served.requests == []


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        (A1, Preprocess(resize_size=288, crop_size=288, interpolation="bicubic")),
        (A1H, Preprocess(resize_size=224, crop_size=224, interpolation="bicubic")),
        (RA, Preprocess(resize_size=303, crop_size=288, interpolation="bicubic")),
        (SWSL, Preprocess(resize_size=256, crop_size=224)),
        ({"input_size": [3, 224, 224], "crop_pct": 0.95},
         Preprocess(resize_size=235, crop_size=224, interpolation="bicubic")),
        ({"input_size": [3, 224, 224]}, Preprocess(resize_size=256, crop_size=224, interpolation="bicubic")),
        ({**SWSL, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
         Preprocess(resize_size=256, crop_size=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))),
    ],
)  # fmt: skip
def test_timms_description_becomes_ours(served: HubServer, about: dict[str, Any], expected: Preprocess) -> None:
    served.files["a/b"] = {"config.json": described(about), "model.safetensors": b""}
    assert Preprocess.from_dict(fetch("hf:a/b").preprocess) == expected


@pytest.mark.parametrize(
    "config",
    [
        described(architecture="resnet50d"),
        described(architecture="resnet50_gn"),
        described(architecture=["resnet50"]),
        described(model_args={"act_layer": "gelu"}),
        described(None),
        described([]),
        described({}),
        described({**A1, "test_input_size": [3, 288]}),
        described({**A1, "test_input_size": [3, 288, 224]}),
        described({**A1, "test_input_size": [1, 288, 288]}),
        described({**A1, "test_input_size": [3, "288", "288"]}),
        described({**A1, "test_crop_pct": 1e-320}),
        described({**A1, "crop_mode": "squash"}),
        b'{"architecture": "resnet50", "pretrained_cfg": {"input_size": [3, NaN, NaN]}}',
        b"[" * 100_000,
        b"[]",
        b"\xff",
        b"",
    ],
)
def test_another_network_is_refused_before_its_weights_come(served: HubServer, config: bytes) -> None:
    served.files["a/b"] = {"config.json": config, "model.safetensors": b""}
    with pytest.raises(ModelError):
        fetch("hf:a/b")
    assert not [request for request in served.requests if "safetensors" in request]


@pytest.mark.parametrize(
    "values", [{"test_crop_pct": 2.0}, {"interpolation": "random"}, {"mean": [0.5]}, {"std": [0, 0, 0]}]
)
def test_a_preprocessing_that_cannot_be_is_refused(served: HubServer, values: dict[str, Any]) -> None:
    served.files["a/b"] = {"config.json": described({**A1, **values}), "model.safetensors": b""}
    with pytest.raises(ModelError, match="preprocessing"):
        find_weights("hf:a/b", mode="frozen")


def test_a_repository_of_transformers_gives_a_backbone_its_preprocessing_and_its_classes(
    served: HubServer, network: ResNet50
) -> None:
    """As ``microsoft/resnet-50``; without preprocessor_config.json nothing says how images are prepared."""
    config = {"model_type": "resnet", "id2label": {str(index): f"class {index}" for index in range(1000)}}
    processor = {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.875, "resample": 3,
                 "image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # fmt: skip
    files = {"config.json": json.dumps(config).encode(), "model.safetensors": save(transformers(network.state_dict()))}
    served.files["a/b"] = files
    with pytest.raises(ModelError, match=r"no preprocessor_config\.json"):
        fetch("hf:a/b")
    served.files["a/c"] = {**files, "preprocessor_config.json": json.dumps(processor).encode()}
    weights = find_weights("hf:a/c", mode="frozen")
    assert weights.preprocess is not None and weights.preprocess.mean == (0.5, 0.5, 0.5)
    assert "318 of 318" in weights.reading
    fresh = ResNet50(2)
    load_backbone(fresh, weights)
    name = "layer4.2.conv3.weight"
    assert torch.equal(fresh.state_dict()[name], network.state_dict()[name].float())
    assert load_model("hf:a/c").classes[:2] == ("class 0", "class 1")


def test_a_repository_without_a_description_is_refused(served: HubServer) -> None:
    served.files["a/b"] = {"model.safetensors": b""}
    with pytest.raises(ModelError, match=r"no config\.json"):
        fetch("hf:a/b")


def test_pickles_are_never_taken(served: HubServer) -> None:
    served.files["a/b"] = {"config.json": described(), "pytorch_model.bin": b"pickle", "model.pth": b"pickle"}
    with pytest.raises(UntrustedFileError, match="could run code"):
        fetch("hf:a/b")
    assert not [request for request in served.requests if ".bin" in request or ".pth" in request]


def test_an_unknown_repository_or_revision_is_the_users_mistake(served: HubServer) -> None:
    served.files["a/b"] = {"config.json": described(), "model.safetensors": b""}
    for spec in ("hf:a/c", "hf:a/b@v2"):
        with pytest.raises(ConfigError, match="no such repository or revision"):
            fetch(spec)


@pytest.mark.parametrize(
    "spec",
    [
        *(
            "hf:",
            "hf:a",
            "hf:a/b/c",
            "hf:../b",
            "hf:a/..",
            "hf:a b/c",
            "hf:a/b--c",
            "hf:a/b.git",
            "hf:a/-b",
            "hf:café/b",
        ),
        *("hf:a/b@", "hf:a/b@../x", f"hf:a/{'b' * 97}"),
    ],
)
def test_what_names_no_repository_is_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="not the name"):
        find_weights(spec, mode="frozen")


def test_offline_asks_nobody_and_says_what_to_do(served: HubServer) -> None:
    served.files["a/b"] = {"config.json": described(), "model.safetensors": b""}
    with pytest.raises(NetworkError, match="offline") as caught:
        fetch("hf:a/b", offline=True)
    assert caught.value.hint is not None and "resnet-cli download hf:a/b" in caught.value.hint
    assert served.requests == []


def test_a_hub_that_refuses_is_a_network_error(served: HubServer) -> None:
    served.is_down = True
    with pytest.raises(NetworkError):
        fetch("hf:a/b")


def test_a_damaged_file_in_the_cache_is_found(served: HubServer) -> None:
    served.files["a/b"] = {"config.json": described(), "model.safetensors": b"whole"}
    path = fetch("hf:a/b").path
    path.resolve().write_bytes(b"whol")
    with pytest.raises(NetworkError, match="wrong bytes") as caught:
        fetch("hf:a/b")
    assert caught.value.hint is not None and str(path) in caught.value.hint
    path.resolve().unlink()
    path.unlink()
    assert fetch("hf:a/b").path.read_bytes() == b"whole"


def test_a_pinned_hash_decides(served: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = HUB_WEIGHTS["timm-a1"]
    served.files[weights.repo] = {"config.json": described(), "model.safetensors": b"others"}
    monkeypatch.setattr("support.hub_server.COMMIT", weights.revision)
    with pytest.raises(NetworkError, match="wrong bytes"):
        hub.fetch_weights(weights)


def test_a_cache_that_cannot_be_written_is_a_disk_error(
    served: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    served.files["a/b"] = {"config.json": described(), "model.safetensors": b""}
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file"))
    with pytest.raises(DiskError):
        fetch("hf:a/b")


def test_without_the_extra_the_way_to_install_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(SetupError, match="huggingface_hub") as caught:
        fetch("hf:a/b")
    assert caught.value.hint == install_command("hub")
    assert hub.find_cached(HUB_WEIGHTS["timm-a1"]) is None


@pytest.mark.parametrize("name", HUB_WEIGHTS)
def test_what_the_registry_pins_can_be_asked_for(name: str) -> None:
    weights = HUB_WEIGHTS[name]
    assert hub.parse(weights.spec).repo == weights.repo
    assert weights.licence and weights.description and weights.num_bytes
    assert weights.revision is None or len(weights.revision) == 40
    assert weights.sha256 is None or len(weights.sha256) == 64
