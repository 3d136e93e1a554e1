"""The images of a run with several labels per image: found by name or content, with the labels that they had."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_cli.config.base import resolve
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.data.dataset import targets_of
from resnet_cli.data.inspection.used_images import USED_IMAGES_FILE
from resnet_cli.data.split_files import split_csv
from resnet_cli.errors import DataError
from resnet_cli.evaluation.seen_images import recognize
from resnet_cli.system.paths import write_text
from resnet_cli.training.prepare import Prepared, prepare_data
from resnet_cli.training.resumed_data import ResumedData, open_again

LABELS = {f"{number}.png": ("cat", "cat;dog", "", "dog")[number % 4] for number in range(16)}


def data(folder: Path, labels: Mapping[str, str]) -> Path:
    """A table and its images; an image is determined by the number in its name."""
    folder.mkdir()
    for name in labels:
        rng = np.random.default_rng(int(Path(name).stem.removeprefix("new-")))
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(folder / name)
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "labels"), *labels.items()])
    return folder / "labels.csv"


def prepare(table: Path, **values: object) -> Prepared:
    return prepare_data(resolve(FinetuneConfig, {"data": str(table), **values}), lambda *_: None)


def find_again(run: Path, table: Path) -> ResumedData:
    return open_again(FinetuneConfig(data=str(table)), run, bit_depth=16, on_work=lambda *_: None)


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, Prepared]:
    prepared = prepare(data(tmp_path / "data", LABELS), val_fraction=0.25)
    folder = tmp_path / "run"
    folder.mkdir()
    write_text(folder / "split.csv", split_csv(prepared.dataset))
    prepared.used_images.save(folder / USED_IMAGES_FILE)
    return folder, prepared


def test_the_images_of_a_run_are_found_by_name_and_by_content(run: tuple[Path, Prepared], tmp_path: Path) -> None:
    folder, prepared = run
    assert prepared.dataset.task == "multi-label" and prepared.dataset.split("val")
    same = find_again(folder, tmp_path / "data" / "labels.csv")
    assert (same.dataset.items, same.num_renamed) == (prepared.dataset.items, 0)
    moved = data(tmp_path / "moved", {f"new-{name}": labels for name, labels in LABELS.items()})
    found = find_again(folder, moved)
    assert found.num_renamed == 16
    facts = [
        ([item.split for item in data.items], targets_of(data.items, data.task, len(data.classes)).tolist())
        for data in (found.dataset, prepared.dataset)
    ]
    assert facts[0] == facts[1]


def test_a_class_that_came_later_takes_no_part(run: tuple[Path, Prepared], tmp_path: Path) -> None:
    more = data(tmp_path / "more", LABELS | {"90.png": "bird;cat", "91.png": "bird"})
    found = find_again(run[0], more)
    assert found.dataset.classes == ("cat", "dog")
    assert [item.labels for item in found.dataset.items] == [item.labels for item in run[1].dataset.items]


@pytest.mark.parametrize("labels", ["cat;dog", ""])
def test_an_image_with_one_label_more_or_less_is_an_error(
    run: tuple[Path, Prepared], tmp_path: Path, labels: str
) -> None:
    changed = data(tmp_path / "changed", LABELS | {"0.png": labels})
    with pytest.raises(DataError, match=r"'0\.png' was cat"):
        find_again(run[0], changed)


def test_images_are_recognized_by_names_and_sets_of_labels_if_their_content_is_not_recorded(
    run: tuple[Path, Prepared], tmp_path: Path
) -> None:
    folder, prepared = run
    (folder / USED_IMAGES_FILE).unlink()
    (folder / "config.yaml").touch()
    used = {item.name: item.split for item in prepared.dataset.items}
    dataset = dataclasses.replace(prepared.dataset, classes=("dog", "cat"))
    for data_set, expected in (
        (prepared.dataset, list(used.values())),
        # Another label, other than by the order of the classes.
        (dataset, [used[item.name] if len(item.labels) != 1 else None for item in dataset.items]),
    ):
        assert list(recognize(folder / "model.safetensors", data_set, []).uses) == expected
