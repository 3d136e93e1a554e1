"""Tables whose columns are pixels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.errors import ConfigError, DataError, ResnetCliError


def gray(n: int, side: int = 28, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, side * side), dtype=np.uint8)


def write(path: Path, header: str | None, rows: list[str]) -> Path:
    path.write_text("\n".join(([header] if header else []) + rows) + "\n")
    return path


def header(values: int, *, first: str = "label", last: str = "") -> str:
    return ",".join([*([first] if first else []), *(f"pixel{n}" for n in range(values)), *([last] if last else [])])


def texts(pixels: NDArray[np.uint8], separator: str = ",") -> list[str]:
    return [separator.join(map(str, row)) for row in pixels]


def counts(dataset: Dataset) -> dict[str, int]:
    return dict(Counter(f"{item.split}/{dataset.classes[item.label]}" for item in dataset.items))


def refused(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        open_dataset(str(path))
    return caught.value


def test_digit_recognizer_has_labels_in_one_table_and_none_in_the_other(tmp_path: Path) -> None:
    pixels = gray(10)
    rows = [f"{n},{row}" for n, row in enumerate(texts(pixels))]
    write(tmp_path / "train.csv", header(784), rows)
    write(tmp_path / "test.csv", header(784, first=""), texts(gray(4)))
    write(tmp_path / "sample_submission.csv", "ImageId,Label", ["1,0", "2,0"])
    dataset = open_dataset(str(tmp_path))
    assert dataset.classes == tuple("0123456789") and not dataset.mirror_safe
    assert dataset.passed_over["unlabelled"] == 4
    found = {item.name: np.asarray(item.open()) for item in dataset.items}
    np.testing.assert_array_equal(found["train/0000003"][..., 1], pixels[3].reshape(28, 28))
    assert len(open_dataset(str(tmp_path / "train.csv")).items) == 10
    assert "labels" in refused(tmp_path / "test.csv").message


def test_one_table_for_each_split_with_or_without_a_header(tmp_path: Path) -> None:
    for split, n in (("train", 6), ("test", 3)):
        rows = [f"{index % 3},{row}" for index, row in enumerate(texts(gray(n)))]
        write(tmp_path / f"mnist_{split}.csv", header(784) if split == "test" else None, rows)
    assert counts(open_dataset(str(tmp_path))) == {f"{s}/{c}": n for s, n in (("train", 2), ("test", 1)) for c in "012"}
    write(tmp_path / "more.csv", None, rows)
    error = refused(tmp_path)
    assert "several tables of pixels" in error.message and error.hint and "DATA" in error.hint


def test_fer2013_has_its_splits_and_named_emotions(tmp_path: Path) -> None:
    usages = ["Training", "Training", "PublicTest", "PrivateTest"]
    rows = [f"{n},{row},{use}" for n, (row, use) in enumerate(zip(texts(gray(4, 48), " "), usages, strict=True))]
    dataset = open_dataset(str(write(tmp_path / "fer2013.csv", "emotion,pixels,Usage", rows)))
    assert counts(dataset) == {"train/angry": 1, "train/disgust": 1, "val/fear": 1, "test/happy": 1}
    assert any("FER2013" in note for note in dataset.notes)
    rows[0] = rows[0].replace("0,", "7,", 1)
    assert "emotion" in refused(write(tmp_path / "fer2013.csv", "emotion,pixels,Usage", rows)).message


def test_colored_pixels_need_a_name_that_says_so(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8 * 8 * 3), dtype=np.uint8)
    rows = [f"{row},{n % 2}" for n, row in enumerate(texts(pixels))]
    dataset = open_dataset(str(write(tmp_path / "hmnist_8_8_RGB.csv", header(192, first="", last="label"), rows)))
    found = {item.name: np.asarray(item.open()) for item in dataset.items}
    np.testing.assert_array_equal(found["train/0000001"], pixels[1].reshape(8, 8, 3))
    assert "4 x 192" in refused(write(tmp_path / "other.csv", header(192, first="", last="label"), rows)).message


def test_the_columns_of_labels_and_splits_can_be_named(tmp_path: Path) -> None:
    rows = [f"{row},{'xy'[n % 2]},{'train' if n else 'test'}" for n, row in enumerate(texts(gray(4, 8)))]
    path = write(tmp_path / "a.csv", header(64, first="", last="kind,part"), rows)
    dataset = open_dataset(str(path), DataConfig(label_column="kind", split_column="part"))
    assert counts(dataset) == {"test/x": 1, "train/x": 1, "train/y": 2}
    with pytest.raises(ConfigError, match="no such column"):
        open_dataset(str(path), DataConfig(label_column="nothing"))


@pytest.mark.parametrize(
    ("row", "reason"),
    [("0,256", "0 to 255"), ("0,x", "0 to 255"), ("0", "fewer"), (",1", "no label"), ('0,"1', "not a table")],
)
def test_a_row_that_is_not_an_image_is_named(tmp_path: Path, row: str, reason: str) -> None:
    row = row if reason == "fewer" else row + ",1" * 63
    path = write(tmp_path / "a.csv", header(64), ["0" + ",200" * 64, row])
    error = refused(path)
    assert reason in error.message and (reason == "not a table" or "line 3" in error.message)


def test_a_table_of_pixels_beside_images_does_no_harm(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        Image.fromarray(gray(1)[0].reshape(28, 28)).save(tmp_path / label / "1.png")
    write(tmp_path / "hmnist_8_8_L.csv", header(64, first="", last="label"), ["0," * 64 + "1"])
    assert open_dataset(str(tmp_path)).classes == ("cat", "dog")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_tables_of_pixels_raise_only_our_errors(tmp_path: Path, data: st.DataObject) -> None:
    path = write(tmp_path / "a.csv", header(64), [f"{n},{row}" for n, row in enumerate(texts(gray(3, 8)))])
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    try:
        open_dataset(str(path))
    except ResnetCliError:
        return
