"""Weights of other programs, from the folder or file that a user names to the run that records how they were read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file
from support.other_trainers import TRAINERS, linear, prefixed, transformers
from support.running import run_cli
from torch import nn

from resnet_cli.errors import ModelError
from resnet_cli.model.network import ResNet50
from resnet_cli.model.weights import find_weights, imagenet_classes, load_backbone, load_model
from resnet_cli.network.model_config import read_model_config
from resnet_cli.network.registry import WEIGHTS
from resnet_cli.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess

# Source: config.json and preprocessor_config.json of microsoft/resnet-50.
CONFIG = {
    "architectures": ["ResNetForImageClassification"],
    "depths": [3, 4, 6, 3],
    "downsample_in_first_stage": False,
    "embedding_size": 64,
    "hidden_act": "relu",
    "hidden_sizes": [256, 512, 1024, 2048],
    "layer_type": "bottleneck",
    "model_type": "resnet",
    "num_channels": 3,
}
PROCESSOR = {
    "crop_pct": 0.875,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "ConvNextFeatureExtractor",
    "image_mean": list(IMAGENET_MEAN),
    "image_std": list(IMAGENET_STD),
    "resample": 3,
    "size": 224,
}
LABELS = {str(index): name for index, name in enumerate(["cat", "crane", "crane"])}
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def network() -> ResNet50:
    torch.manual_seed(0)
    network = ResNet50(3).half().eval()
    assert isinstance(network.fc, nn.Linear)
    nn.init.normal_(network.fc.weight)
    return network


@pytest.fixture(scope="module")
def folder(network: ResNet50, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``save_pretrained`` of transformers writes."""
    folder = tmp_path_factory.mktemp("hub") / "my-resnet"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**CONFIG, "id2label": LABELS}))
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    (folder / "model.safetensors").write_bytes(save(transformers(network.state_dict())))
    return folder


def described(tmp_path: Path, config: Any, processor: Any = None) -> Any:
    for name, value in (("config.json", config), ("preprocessor_config.json", processor)):
        (tmp_path / name).write_text(value if isinstance(value, str) else json.dumps(value))
    found = tmp_path / "preprocessor_config.json" if processor is not None else None
    return read_model_config(tmp_path / "config.json", found, "that model")


def test_a_folder_of_transformers_is_a_model_with_its_classes_and_its_preprocessing(
    network: ResNet50, folder: Path
) -> None:
    model = load_model(folder)
    assert model.classes == ("cat", "crane (1)", "crane (2)")
    assert model.preprocess == Preprocess(resize_size=256, crop_size=224, interpolation="bicubic")
    with torch.inference_mode():
        torch.testing.assert_close(model.network.eval()(IMAGES), network.float()(IMAGES), rtol=0, atol=0)
    weights = find_weights(str(folder), mode="frozen")
    assert weights.preprocess == model.preprocess
    assert weights.reading == (
        'without "resnet." in the layout of transformers: 318 of 318 backbone tensors, head of 3 outputs not used; '
        "preprocessing of its preprocessor_config.json"
    )


def test_the_recorded_name_of_linked_weights_finds_their_description_again(folder: Path, tmp_path: Path) -> None:
    """The Hub's cache has links in a folder of the commit, and the bytes under their hashes."""
    snapshot, blobs = tmp_path / "snapshot", tmp_path / "blobs"
    snapshot.mkdir()
    blobs.mkdir()
    for at, file in enumerate(sorted(folder.iterdir())):
        (blobs / str(at)).write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(blobs / str(at))
    weights = find_weights(str(snapshot), mode="frozen")
    again = find_weights(weights.spec, mode="frozen")
    assert again.preprocess == weights.preprocess and again.classes == ("cat", "crane", "crane")
    assert again.spec == weights.spec


def test_a_pickled_or_divided_model_of_transformers_is_the_same(network: ResNet50, tmp_path: Path) -> None:
    state = transformers(network.half().state_dict())
    (tmp_path / "bin").mkdir()
    torch.save(state, tmp_path / "bin" / "pytorch_model.bin")
    parts = tmp_path / "parts"
    parts.mkdir()
    names = list(state)
    for number, part in enumerate((names[:100], names[100:])):
        save_file({name: state[name] for name in part}, parts / f"model-{number}.safetensors")
    weight_map = {name: f"model-{int(at >= 100)}.safetensors" for at, name in enumerate(names)}
    (parts / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    for folder in (tmp_path / "bin", parts):
        fresh = ResNet50(2)
        load_backbone(fresh, find_weights(str(folder), mode="frozen"))
        expected = network.backbone_state()
        assert all(torch.equal(x, expected[name].to(x.dtype)) for name, x in fresh.backbone_state().items())


@pytest.mark.parametrize(
    ("key", "value"),
    [("downsample_in_bottleneck", True), ("downsample_in_first_stage", True), ("hidden_act", "gelu"),
     ("depths", [3, 4, 23, 3]), ("model_type", "vit"), ("layer_type", "basic"), ("num_channels", 1)],
)  # fmt: skip
def test_a_description_of_another_network_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    """The strides of a block and its activation do not show in any tensor."""
    with pytest.raises(ModelError, match=f"not a plain ResNet-50.*{key}"):
        described(tmp_path, {**CONFIG, key: value})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Preprocess(resize_size=256, crop_size=224, interpolation="bicubic")),
        ({"size": {"shortest_edge": 160}, "crop_pct": 0.95, "resample": 2},
         Preprocess(resize_size=168, crop_size=160)),
        ({"size": {"shortest_edge": 384}},
         Preprocess(resize_size=384, crop_size=384, interpolation="bicubic", fit="squash")),
        ({"feature_extractor_type": None, "image_processor_type": "ViTImageProcessor", "resample": 2,
          "size": {"height": 224, "width": 224}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
         Preprocess(resize_size=224, crop_size=224, fit="squash", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))),
        ({"feature_extractor_type": "BitImageProcessor", "size": {"shortest_edge": 256}, "do_center_crop": True,
          "crop_size": {"height": 224, "width": 224}, "rescale_factor": 1 / 255},
         Preprocess(resize_size=256, crop_size=224, interpolation="bicubic")),
    ],
)  # fmt: skip
def test_a_processor_of_transformers_becomes_our_preprocessing(
    tmp_path: Path, changes: dict[str, Any], expected: Preprocess
) -> None:
    found = described(tmp_path, CONFIG, {**PROCESSOR, **changes})
    assert Preprocess.from_dict(found.preprocess) == expected


@pytest.mark.parametrize(
    "processor",
    [{}, [], "[" * 100_000, {**PROCESSOR, "size": None}, {**PROCESSOR, "size": "x"}, {**PROCESSOR, "resample": 0},
     {**PROCESSOR, "crop_pct": 0}, {**PROCESSOR, "do_normalize": False}, {**PROCESSOR, "rescale_factor": 1 / 127.5},
     {**PROCESSOR, "rescale_factor": "x"}, {**PROCESSOR, "size": {"height": 224, "width": 200}},
     {**PROCESSOR, "crop_pct": 1e-300}, {**PROCESSOR, "resample": []}],
)  # fmt: skip
def test_a_processor_that_cannot_be_followed_is_refused(tmp_path: Path, processor: Any) -> None:
    with pytest.raises(ModelError, match=r"preprocess"):
        Preprocess.from_dict(described(tmp_path, CONFIG, processor).preprocess)


def test_a_config_of_another_program_says_nothing(tmp_path: Path) -> None:
    assert described(tmp_path, {"lr": 0.1}) is None and described(tmp_path, []) is None
    found = described(tmp_path, {**CONFIG, "id2label": {"0": "LABEL_0", "1": "LABEL_1"}})
    assert found.classes is None and found.preprocess is None


def test_a_head_of_imagenet_predicts_from_any_trainer_and_no_other(network: ResNet50, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth.tar"
    state = {**prefixed("module.", network.backbone_state()), **linear("module.fc", 1000)}
    torch.save({"epoch": 1, "state_dict": state}, path)
    model = load_model(path)
    assert model.classes == imagenet_classes() and model.path == path
    torch.save(TRAINERS["DINO"][0](network), path)
    with pytest.raises(ModelError, match="weights with no head and no class names") as caught:
        load_model(path)
    assert f"--weights {path}" in str(caught.value.hint)


def test_weights_with_names_are_compared(
    network: ResNet50, make_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of the second model is not known before it is opened."""
    for file in WEIGHTS.values():
        torch.save({**network.backbone_state(), **linear("fc", 1000)}, tmp_path / file.name)
    monkeypatch.setattr("resnet_cli.network.download.fetch", lambda file, *_, **__: tmp_path / file.name)
    data = make_folder({"tench": 2, "goldfish": 2})
    done = run_cli("eval", "imagenet-v1", "imagenet-v2", data, "--device", "cpu", "--json")
    assert done.exit_code == 0, done.output
    models = json.loads(done.stdout)["models"]
    assert [(one["num_images"], one["seen"]["known_by"]) for one in models] == [(4, None), (4, None)]
    assert "weights by name: the model is not in a run folder" in done.stderr


def test_a_run_records_how_its_weights_were_read(
    network: ResNet50, make_folder: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.pth.tar"
    torch.save({"state_dict": prefixed("module.", network.state_dict()), "epoch": 1}, path)
    reading = 'state_dict without "module.": 318 of 318 backbone tensors, head of 3 outputs not used'
    flags = ("--weights", path, "--mode", "frozen", "--image-size", 32, "--device", "cpu")
    data = make_folder({"a": 8, "b": 8})
    planned = run_cli("finetune", data, *flags, "--dry-run", "--json")
    assert planned.exit_code == 0, planned.output
    rows = {row["name"]: row for row in json.loads(planned.stdout)["plan"]}
    assert (rows["weights"]["value"], rows["weights"]["why"]) == (path.name, reading)
    run = tmp_path / "run"
    done = run_cli("finetune", data, *flags, "--out", run, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["weights_reading"] == reading
    assert load_model(run).provenance["weights_reading"] == reading
    # The page of the report escapes the quotation marks.
    assert "318 of 318 backbone tensors" in (run / "report.html").read_text(encoding="utf-8")


def test_it_answers_as_transformers_does(tmp_path: Path) -> None:
    library = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    theirs = library.ResNetForImageClassification(library.ResNetConfig(num_labels=1000)).eval()
    theirs.save_pretrained(tmp_path)
    with torch.inference_mode():
        torch.testing.assert_close(
            load_model(tmp_path).network.eval()(IMAGES), theirs(IMAGES).logits, rtol=0, atol=1e-5
        )


def test_it_answers_as_timm_does(tmp_path: Path) -> None:
    library = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    theirs = library.create_model("resnet50").eval()
    torch.save({"state_dict": theirs.state_dict(), "arch": "resnet50"}, tmp_path / "model_best.pth.tar")
    with torch.inference_mode():
        ours = load_model(tmp_path / "model_best.pth.tar").network.eval()(IMAGES)
        torch.testing.assert_close(ours, theirs(IMAGES), rtol=0, atol=1e-5)
