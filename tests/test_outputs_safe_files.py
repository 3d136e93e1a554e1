"""Sorted, annotated and explained images: nothing is overwritten or lost, and no name leads out of its folder."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.mean_colours import CLASSES, COLOURS, MeanColours, paint, predicted

from resnet_cli.data.dataset import Item
from resnet_cli.errors import DiskError, ImageError
from resnet_cli.model.reliability import UNLIKE
from resnet_cli.outputs.annotated import annotate_into, caption, caption_lines, explain_into
from resnet_cli.outputs.safe_files import folder_names, place, safe_name
from resnet_cli.outputs.sorting import sort_into
from resnet_cli.prediction import PredictedItem, Prediction, predict
from resnet_cli.reporting import annotate as annotate_module
from resnet_cli.reporting.annotate import MIN_HEIGHT_PX, MIN_WIDTH_PX, annotate

links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def at(path: Path, label: str = "red", **fields: object) -> PredictedItem[object]:
    prediction = Prediction(str(path), ((label, 0.9),), **fields)  # type: ignore[arg-type]
    return PredictedItem(Item(str(path), path), prediction)


@given(st.text(max_size=300))
def test_a_safe_name_is_one_plain_name(name: str) -> None:
    safe = safe_name(name)
    assert safe not in {"", ".", ".."} and not {"/", "\\", "\0"} & set(safe)
    assert 1 <= len(os.fsencode(safe)) <= 255 and not safe.startswith(".") and not safe.endswith((".", " "))


@pytest.mark.parametrize(
    ("name", "safe"),
    [("../../etc", "_.._.._etc"), ("a/b", "a_b"), ("..", "_"), ("con.jpg", "_con.jpg"), ("cat ", "cat"), ("Ü", "Ü")],
)
def test_unsafe_names(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_every_class_has_a_folder_of_its_own() -> None:
    found = folder_names(["a/b", "a:b", "Cat", "cat", "unknown", ".."], reserved=["unknown"])
    assert len({folder.casefold() for folder in found.values()} | {"unknown"}) == 7
    assert (found["a/b"], found["Cat"], found["unknown"]) == ("a_b", "Cat", "unknown-2")


def test_images_are_copied_by_class(tmp_path: Path) -> None:
    red, blue = paint(tmp_path / "in" / "1.png", COLOURS["red"]), paint(tmp_path / "in" / "2.png", COLOURS["blue"])
    write = sort_into(tmp_path / "out", CLASSES, abstains=True)
    write(at(red))
    write(at(blue, "blue", unknown="only 40 % sure"))
    write(predicted("gone.jpg", (), error=ImageError("gone.jpg", "empty")))
    write(PredictedItem(Item("-", red.read_bytes()), Prediction("-", (("green", 1.0),))))
    assert tree(tmp_path / "out") == {
        "red/1.png": red.read_bytes(),
        "unknown/2.png": blue.read_bytes(),
        "green/stdin": red.read_bytes(),
    }
    assert (tmp_path / "out" / "red" / "1.png").stat().st_mode == red.stat().st_mode
    assert red.exists() and blue.exists()


def test_images_of_one_name_are_all_kept_and_a_second_time_changes_nothing(tmp_path: Path) -> None:
    sources = [paint(tmp_path / folder / "a.png", (number, 0, 0)) for number, folder in enumerate("xyz")]
    for _ in range(2):
        write = sort_into(tmp_path / "out", CLASSES, abstains=False)
        for source in sources:
            write(at(source))
        found = tree(tmp_path / "out")
        assert len(found) == 3 and set(found.values()) == {source.read_bytes() for source in sources}
        assert "red/a.png" in found and all(name.startswith("red/a") and name.endswith(".png") for name in found)


def test_a_file_of_the_users_is_never_overwritten(tmp_path: Path) -> None:
    mine = tmp_path / "out" / "red" / "a.png"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    sort_into(tmp_path / "out", CLASSES, abstains=False)(at(paint(tmp_path / "a.png", COLOURS["red"])))
    assert mine.read_text() == "mine" and len(tree(tmp_path / "out")) == 2


@links
def test_links_lead_to_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sources = [paint(Path(folder) / "a.png", (number, 0, 0)) for number, folder in enumerate("xy")]
    for _ in range(2):
        write = sort_into(tmp_path / "out", CLASSES, abstains=False, link=True)
        for source in sources:
            write(at(source))
        found = sorted((tmp_path / "out" / "red").iterdir())
        assert len(found) == 2 and all(path.is_symlink() for path in found)
        assert {os.path.realpath(path) for path in found} == {os.path.realpath(source) for source in sources}


@links
def test_what_lies_in_the_cache_is_copied_and_not_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNET_CLI_CACHE", str(tmp_path / "cache"))
    cached = paint(tmp_path / "cache" / "data" / "unpacked" / "a.png", COLOURS["red"])
    sort_into(tmp_path / "out", CLASSES, abstains=False, link=True)(at(cached))
    assert not (tmp_path / "out" / "red" / "a.png").is_symlink()


def test_an_interrupted_copy_leaves_nothing(tmp_path: Path) -> None:
    def stop(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place(tmp_path / "out", "a.png", "a", stop)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_in_the_way_of_a_folder_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / "red").touch()
    with pytest.raises(DiskError, match="cannot write in"):
        sort_into(tmp_path, CLASSES, abstains=False)(at(paint(tmp_path / "a.png", COLOURS["red"])))


# Annotated and explained images


def test_drawn_and_explained_images_are_jpegs_under_the_name_of_their_image(tmp_path: Path) -> None:
    source = paint(tmp_path / "in" / "a.png", COLOURS["red"], size=(300, 200))
    predictor = MeanColours()
    predictor.has_heatmap = True
    (explained,) = predict(predictor, [Item(str(source), source)])
    for _ in range(2):
        annotate_into(tmp_path / "drawn")(at(source))
        explain_into(tmp_path / "explained", predictor)(explained)
        assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["a.jpg"]
        assert [path.name for path in (tmp_path / "explained").iterdir()] == ["a.jpg"]
    with Image.open(tmp_path / "drawn" / "a.jpg") as image:
        assert image.size == (300, 200)
        # The upper half is the image as it was.
        assert np.abs(np.asarray(image)[:100].mean(axis=(0, 1)) - COLOURS["red"]).max() < 3


def test_captions() -> None:
    assert caption(Prediction("a", (("cat", 0.9816),))) == "cat 98.2 %"
    assert caption(Prediction("a", (("cat", 0.4),), unknown="only 40.0 % sure")) == "unknown (only 40.0 % sure)"


def test_an_image_unlike_the_training_images_says_so_in_a_line_of_its_own() -> None:
    unlike = Prediction("a", (("cat", 0.9816),), is_unfamiliar=True)
    assert caption_lines(unlike) == ("cat 98.2 %", UNLIKE)
    assert caption_lines(dataclasses.replace(unlike, unknown=UNLIKE)) == ("unknown", UNLIKE)
    assert caption_lines(dataclasses.replace(unlike, is_unfamiliar=False)) == ("cat 98.2 %",)
    # Whole on the smallest image.
    assert annotate_module._fitted(UNLIKE, 13, MIN_WIDTH_PX - 8)[0] == UNLIKE
    one, two = (
        np.asarray(annotate(Image.new("RGB", (320, 240), "white"), *lines)).mean(axis=(1, 2))
        for lines in (["cat"], ["cat", UNLIKE])
    )
    # The band of two lines is about twice as high.
    assert 1.5 < (two < 250).sum() / (one < 250).sum() < 2.5


NAMES = ["cat 98.2 %", "кошка 1.0 %", "猫 50.0 %", "قطة", "a\u202egnp\n\x1b[31m", "", "x" * 500 + " 12.3 %", "\udce9"]


@pytest.mark.parametrize("text", NAMES, ids=range(len(NAMES)))
@pytest.mark.parametrize("size", [(1, 1), (32, 32), (640, 480), (3000, 7), (7, 3000)], ids=str)
def test_any_name_on_any_size(size: tuple[int, int], text: str) -> None:
    image = annotate(Image.new("RGB", size, "white"), text)
    assert image.mode == "RGB" and image.width >= MIN_WIDTH_PX and image.height >= MIN_HEIGHT_PX
    assert max(image.size) <= 4096


@pytest.mark.parametrize("ground", ["white", "black", "yellow", "grey", "noise"])
def test_letters_stand_out_from_any_ground(ground: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    image = Image.fromarray(noise) if ground == "noise" else Image.new("RGB", (320, 240), ground)
    band = np.asarray(annotate(image, "MMMMMMMM").convert("L"), dtype=float)[-20:]
    # White letters on a dark background: far more than 4.5 : 1.
    assert band.max() > 240 and np.median(band) < 60


def test_a_long_name_keeps_its_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    text, size = annotate_module._fitted("x" * 300 + " 12.3 %", 20, 200)
    assert text.endswith(" 12.3 %") and "…" in text and size == annotate_module.MIN_TEXT_PX
