"""The Python API: the calls of the commands, and one answer for a path, a PIL image and an array of one image."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
import torch
from PIL import Image
from support.running import Trained

import resnet_cli
from resnet_cli.api.calls import export
from resnet_cli.api.models import LoadedModel, load, predict
from resnet_cli.errors import ConfigError, DataError, ImageError, ModelError, VerificationError
from resnet_cli.model.model_file import Exemplars, Model
from resnet_cli.model.network import NUM_FEATURES, ResNet50
from resnet_cli.model.reliability import Reliability
from resnet_cli.preprocess import Preprocess

pytest_plugins = ["support.narrow_network", "support.small_runs"]

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
    with pytest.raises(DataError, match="a NoneType is not a path"):
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
    with pytest.raises(ModelError, match="cannot abstain"):
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
    assert resnet_cli.load is load and resnet_cli.predict is predict and resnet_cli.export is export
    assert all(getattr(resnet_cli, name) for name in resnet_cli.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        resnet_cli.nonsense  # noqa: B018


def test_only_what_the_package_offers_is_listed() -> None:
    assert dir(resnet_cli) == sorted(resnet_cli.__all__)


def test_a_model_may_be_given_in_any_form(full_run: Trained, here: Path) -> None:
    photo = next((full_run.photos / "test").rglob("*.png"))
    forms: list[Any] = [full_run.run, str(full_run.run), full_run.result, full_run.result.run, load(full_run.run)]
    first, *others = [next(predict(form, [photo], **CPU)).topk for form in forms]
    for other in others:
        assert [name for name, _ in other] == [name for name, _ in first]
        # Torch computes a model in memory, and an engine that starts faster one in a file.
        assert dict(other) == pytest.approx(dict(first), abs=1e-5)
    scores = {resnet_cli.evaluate(form, split="val", **CPU).loss for form in forms}
    assert len(scores) == 1
    exported = resnet_cli.export(full_run.result, out=here / "model.onnx")
    by_file = next(predict(exported, [photo]))
    assert dict(by_file.topk) == pytest.approx(dict(first), abs=1e-4)


def test_evaluate_says_what_the_command_says(full_run: Trained, here: Path) -> None:
    scores = resnet_cli.evaluate(full_run.run, full_run.photos, split="test", out=here / "report", **CPU)
    assert full_run.result.test is not None and scores.top1 == full_run.result.test.top1
    assert (here / "report" / "report.html").is_file()
    with pytest.raises(VerificationError):
        resnet_cli.evaluate(full_run.run, fail_under=1.0, split="val", **CPU)
    with pytest.raises(ConfigError, match="is a study"):
        resnet_cli.evaluate(full_run.run, robustness=True)


def test_models_are_compared_and_studied(full_run: Trained, frozen_run: Trained) -> None:
    compared = resnet_cli.compare([full_run.run, load(frozen_run.run)], full_run.photos, split="val", **CPU)
    assert len(compared.comparisons) == 1 and "against" in repr(compared)
    with pytest.raises(ConfigError, match="at least two"):
        resnet_cli.compare([full_run.run])
    studied = resnet_cli.study("robustness", load(full_run.run), full_run.photos, max_images=2, **CPU)
    assert "corrupted" in repr(studied)
    with pytest.raises(ConfigError, match="unknown study 'age'"):
        resnet_cli.study("age", full_run.run)


def test_finetune_takes_results_as_weights_and_tells_its_listener(
    narrow: None, no_plots: None, model: LoadedModel, here: Path, make_folder: Any
) -> None:
    photos = make_folder({"cat": 6, "dog": 6}, "pets")
    kinds = set()
    result = resnet_cli.finetune(
        photos, weights=model, mode="frozen", out=here / "run", on_event=lambda event: kinds.add(type(event)), **CPU
    )
    assert {kind.__name__ for kind in kinds} >= {"PlanMade", "WorkDone"}
    assert set(resnet_cli.load(result).classes) == {"cat", "dog"}
    with pytest.raises(ConfigError, match="only on the command line"):
        resnet_cli.finetune(photos, seeds=2)
    with pytest.raises(ConfigError, match="not stored in a file"):
        resnet_cli.finetune(photos, weights=dataclasses.replace(model, path=None))


def test_an_export_tells_its_listeners(full_run: Trained, tmp_path: Path) -> None:
    work: list[str] = []
    checks: list[bool] = []
    model = resnet_cli.load(path=full_run.run)
    resnet_cli.export(
        model,
        out=tmp_path / "model.onnx",
        verify_with=str(full_run.result.plan.config.data),
        on_work=lambda task, done, total: work.append(task),
        on_parity=lambda parity: checks.append(parity.passed),
    )
    assert set(work) <= {"evaluate", "compare", "check"} and work and checks == [True]


def test_data_is_inspected_and_downloaded(here: Path, make_folder: Any) -> None:
    found = resnet_cli.inspect(make_folder({"cat": 2, "dog": 2}, "pets"), html=here / "page.html")
    assert "images: 4" in repr(found) and (here / "page.html").is_file()
    (digits,) = resnet_cli.download("digits")
    assert digits.already_here
    with pytest.raises(ConfigError, match="unknown name"):
        resnet_cli.download("nonsense")


def test_results_are_short_in_a_session_and_tables_in_a_notebook(full_run: Trained) -> None:
    loaded = load(full_run.run)
    for result in (full_run.result, full_run.result.val, full_run.result.model, loaded):
        assert len(repr(result)) < 400
        assert result._repr_html_().startswith("<table><tr><th>")
    assert "top-1: " in repr(full_run.result.val)
    assert full_run.result._repr_html_().count('<img src="data:image/png;base64,') == 3
    hostile = dataclasses.replace(loaded, classes=("<script>", "a", "b"))
    assert "<script>" not in hostile._repr_html_()


def test_progress_is_shown_when_it_is_asked_for(
    model: LoadedModel, photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model.predict([photo], **CPU)
    assert capsys.readouterr() == ("", "")
    model.predict([photo], progress=True, **CPU)
    assert capsys.readouterr().out == ""


def test_a_notebook_gets_bars(model: LoadedModel, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    handle = types.SimpleNamespace(update=shown.append)

    def display(table: str, display_id: bool) -> Any:
        shown.append(table)
        return handle

    fake = types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace(kernel="a kernel"))
    monkeypatch.setitem(sys.modules, "IPython", fake)
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(HTML=str, display=display))
    model.predict([photo], progress=False, **CPU)
    assert not shown
    # In a notebook bars are the default.
    model.predict([photo] * 3, **CPU)
    assert "<progress" in shown[0] and 'value="3" max="3"' in shown[-1] and "3/3" in shown[-1]
