"""The Python API: a path, a PIL image and an array of one image get one answer."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
import torch
from PIL import Image

import resnet_cli
from resnet_cli.commands.api import LoadedModel, load, predict
from resnet_cli.commands.export import export_model
from resnet_cli.errors import ConfigError, DataError, ImageError, ModelError
from resnet_cli.model.model_file import Exemplars, Model
from resnet_cli.model.network import NUM_FEATURES, ResNet50
from resnet_cli.model.reliability import Reliability
from resnet_cli.preprocess import Preprocess

pytest_plugins = ["support.narrow_network"]

CLASSES = ("ant", "bee", "cat")
CPU: dict[str, Any] = {"device": "cpu", "precision": "fp32"}


@pytest.fixture
def model(narrow: None, tmp_path: Path) -> LoadedModel:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = ResNet50(3).eval()
    with torch.inference_mode():
        scale = network.features(torch.rand(8, 3, 32, 32)).norm(dim=1).mean()
    # Answers that are neither certain nor all alike: a law that holds for constants says nothing.
    torch.nn.init.normal_(network.fc.weight, std=float(3 / scale))  # type: ignore[arg-type]
    exemplars = Exemplars(torch.rand(20, NUM_FEATURES), torch.arange(20) % 3, torch.arange(20) < 5)
    shares = np.linspace(0.3, 0.9, 50, dtype=np.float32)
    made = Model(
        network,
        CLASSES,
        Preprocess(resize_size=36, crop_size=32),
        temperature=1.5,
        exemplars=exemplars,
        reliability=Reliability(shares, np.ones(50, dtype=bool), shares * np.float32(1e-3)),
    )
    made.save(tmp_path / "model.safetensors")
    return load(tmp_path / "model.safetensors")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo that its EXIF turns, of which left and right, above and below differ."""
    ramp = np.add.outer(np.arange(60) * 3, np.arange(90))[..., None] * np.array([1, 0.5, 0.2])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / "photo.jpg", quality=95, exif=exif)
    return tmp_path / "photo.jpg"


def test_a_loaded_model_is_a_model(model: LoadedModel, tmp_path: Path) -> None:
    assert isinstance(model, Model) and model.classes == CLASSES
    model.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()
    assert dataclasses.replace(model, temperature=1.0).predict([]) == []


def test_paths_images_and_arrays_of_one_image_get_one_answer(model: LoadedModel, photo: Path) -> None:
    with Image.open(photo) as opened:
        upright = np.asarray(opened.transpose(Image.Transpose.ROTATE_270))
        answers = model.predict([photo, str(photo), opened, Image.fromarray(upright), upright], **CPU)
    assert len({answer.topk for answer in answers}) == 1
    assert [answer.path for answer in answers] == [*[str(photo)] * 3, "image 3", "image 4"]
    assert model.predict(upright[:, ::-1], **CPU)[0].topk != answers[0].topk


YCBCR = pytest.param(
    "YCbCr",
    marks=pytest.mark.skipif(
        int(PIL.__version__.split(".")[0]) < 13, reason="Pillow 12 cannot read the YCbCr TIFF that it writes"
    ),
)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", YCBCR, "LAB"])
def test_an_image_of_any_mode_gets_the_answer_of_its_file(model: LoadedModel, tmp_path: Path, mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 4), dtype=np.uint8)
    image = Image.fromarray(pixels)
    if mode in {"I;16", "I"}:
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 250).convert(mode)
    elif mode == "LAB":
        image = Image.fromarray(pixels[..., :3]).convert("RGB").convert("L").convert("RGB")
    else:
        image = image.convert("RGB" if mode in {"CMYK", "YCbCr"} else "RGBA").convert(mode)
    extension = "png" if mode in {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"} else "tif"
    image.save(tmp_path / f"a.{extension}")
    of_file, of_image = model.predict([tmp_path / f"a.{extension}", image], **CPU)
    assert of_file.error is None and of_file.topk == of_image.topk


def test_one_image_is_a_list_of_one(model: LoadedModel, photo: Path) -> None:
    array = np.zeros((5, 6, 3), dtype=np.uint8)
    for one in (photo, str(photo), Image.fromarray(array), array):
        assert len(model.predict(one, **CPU)) == 1
    assert len(model.predict(np.stack([array, array]), **CPU)) == 2


def test_predict_is_an_iterator_over_any_number(model: LoadedModel, photo: Path) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield photo

    answers = predict(model, endless(), batch_size=2, **CPU)
    assert next(answers).label in CLASSES and taken <= 8
    answers.close()  # type: ignore[attr-defined]


def test_images_that_cannot_be_read_keep_their_place(model: LoadedModel, photo: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(photo.read_bytes()[:900])
    with Image.open(cut) as opened:
        found = model.predict([cut, "gone.jpg", opened, photo], **CPU)
    assert [prediction.error is None for prediction in found] == [False, False, False, True]
    with pytest.raises(ImageError, match=r"gone\.jpg"):
        found[1].label  # noqa: B018


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((5, 6, 3)), np.zeros((5, 6), np.uint8), np.zeros((3, 5, 6), np.uint8), np.zeros((0, 6, 3), np.uint8)],
    ids=str,
)
def test_an_array_that_is_no_image_is_refused(model: LoadedModel, wrong: np.ndarray[Any, Any]) -> None:
    with pytest.raises(DataError, match=r"image 0: an array of .*, not uint8 \[h x w x 3\]"):
        model.predict([wrong], **CPU)
    with pytest.raises(DataError, match="a NoneType is no path"):
        model.predict([None], **CPU)  # type: ignore[list-item]


def test_unknown_novelty_and_features(model: LoadedModel, photo: Path) -> None:
    (plain,) = model.predict(photo, **CPU)
    assert plain.unknown is None and plain.novelty is not None and plain.features is None
    (found,) = model.predict(photo, abstain=True, with_features=True, **CPU)
    assert (found.label, found.unknown) == ("unknown", "unlike the training images")
    assert found.topk == plain.topk and found.features is not None and found.features.shape == (NUM_FEATURES,)
    (found,) = model.predict(photo, threshold=0.999, topk=1, **CPU)
    assert found.unknown and found.unknown.startswith("only ") and len(found.topk) == 1
    with pytest.raises(ConfigError, match="target_error"):
        model.predict(photo, target_error=2.0, **CPU)
    with pytest.raises(ModelError, match="its own limits"):
        dataclasses.replace(model, reliability=None).predict(photo, abstain=True, **CPU)


def test_probabilities_are_at_the_models_temperature(model: LoadedModel, photo: Path) -> None:
    hot = dict(dataclasses.replace(model, temperature=100.0).predict(photo, **CPU)[0].topk)
    cold = dict(dataclasses.replace(model, temperature=1.0).predict(photo, **CPU)[0].topk)
    assert max(hot.values()) < 0.35 < max(cold.values())


def test_the_names_are_there_and_nothing_is_imported_before_they_are_used() -> None:
    code = (
        "import sys, resnet_cli; assert 'torch' not in sys.modules; resnet_cli.predict; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert resnet_cli.load is load and resnet_cli.predict is predict and resnet_cli.export is export_model
    assert all(getattr(resnet_cli, name) for name in resnet_cli.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        resnet_cli.nonsense  # noqa: B018
