"""Images that a model has seen are recognized in any data set, and are left out of its evaluation."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resnet_cli.config.base import resolve
from resnet_cli.config.eval import EvalConfig
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.data.dataset import Item
from resnet_cli.data.inspection.scan import scan
from resnet_cli.data.inspection.scanned import ScannedImages
from resnet_cli.data.inspection.used_images import USED_IMAGES_FILE
from resnet_cli.errors import DataError
from resnet_cli.evaluation.evaluation_set import EvaluationSet, choose_evaluation_set, open_data
from resnet_cli.evaluation.seen_images import SeenImages
from resnet_cli.preprocess import Preprocess
from resnet_cli.runs import RunFolder, used_by_run_of
from resnet_cli.task import TaskName
from resnet_cli.training.prepare import prepare_data

CLASSES = ("cat", "dog")
PREPROCESS = Preprocess(resize_size=32, crop_size=32)


@dataclasses.dataclass(frozen=True)
class Untrained:
    """What an evaluation needs to know of a model before it predicts."""

    path: Path | None
    classes: tuple[str, ...] = CLASSES
    preprocess: Preprocess = PREPROCESS
    task: TaskName = "single-label"


def photo(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    grain = rng.integers(-15, 15, (48, 60, 3))
    pixels = np.asarray(small.resize((60, 48), Image.Resampling.BICUBIC)).astype(int) + grain
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def photos(folder: Path, numbers: Sequence[int]) -> Path:
    """A folder with two classes; an image is determined by its number."""
    for number in numbers:
        path = folder / CLASSES[number % 2] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(number).save(path)
    return folder


def run_on(data: Path, folder: Path, start: Path | None = None, **values: Any) -> Untrained:
    """A run folder as a training on these data begins it."""
    resolved = resolve(FinetuneConfig, {"data": str(data), **values})
    prepared = prepare_data(resolved, lambda *_: None)
    used = prepared.used_images
    if start is not None:
        used = used.started_from(used_by_run_of(start, start.parent.name))
    config = resolved.config.model_copy(update={"data": prepared.dataset.spec})
    run = RunFolder.create(folder, data.name)
    run.write_inputs(config, prepared.dataset, (), used)
    return Untrained(run.model_path)


def chosen(model: Untrained, data: Path | None, **options: Any) -> EvaluationSet:
    options = {"split": None} | options
    return choose_evaluation_set(model, None if data is None else str(data), EvalConfig(), **options)


def names(images: EvaluationSet) -> list[str]:
    return sorted(Path(item.name).stem for item in images.items)


def seen(images: EvaluationSet) -> SeenImages:
    (found,) = images.seen.values()
    return found


def split_names(model: Untrained, split: str) -> list[str]:
    assert model.path is not None
    lines = (model.path.parent / "split.csv").read_text().splitlines()
    return sorted(Path(line.split(",")[0]).stem for line in lines if line.endswith(f",{split}"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return photos(tmp_path / "data", range(40))


@pytest.fixture
def model(data: Path, tmp_path: Path) -> Untrained:
    """32 images for training, 4 for validation, 4 for test."""
    return run_on(data, tmp_path / "run")


def test_moved_data_are_evaluated_as_they_were_in_their_place(data: Path, model: Untrained, tmp_path: Path) -> None:
    before = chosen(model, None)
    data.rename(tmp_path / "moved")
    after = chosen(model, tmp_path / "moved")
    assert after.split == before.split == "test" and after.owner == model.path
    assert [item.name for item in after.items] == [item.name for item in before.items]
    found = seen(after)
    assert (found.num_trained, found.num_validation, found.num_left_out, found.known_by) == (32, 4, 36, "content")
    assert found.sentence.startswith("left out 32 images that the model was trained on and 4 that chose its checkpoint")
    assert (
        f"moved is the data set of {tmp_path}/run, moved from {data}: evaluating on its test split" == after.source_note
    )


def test_the_runs_own_data_named_as_data_are_evaluated_on_their_test_split(data: Path, model: Untrained) -> None:
    images = chosen(model, data)
    assert names(images) == split_names(model, "test") and "moved" not in images.source_note


@pytest.mark.parametrize("where", ["upper", "renamed", "flat table", "array", "other format", "without metadata"])
def test_images_are_recognized_wherever_they_are(where: str, data: Path, model: Untrained, tmp_path: Path) -> None:
    other = tmp_path / "other"
    if where == "upper":
        other = other / "wrapped" / "more"
        shutil.copytree(data, other)
        other = other.parent.parent
    elif where == "array":
        files = sorted(data.rglob("*.png"))
        x = np.stack([np.asarray(Image.open(path)) for path in files])
        labels = np.array([path.parent.name for path in files])
        other = tmp_path / "other.npz"
        np.savez(other, images=x, labels=labels)
    else:
        other.mkdir()
        for index, path in enumerate(sorted(data.rglob("*.png"))):
            suffix = ".bmp" if where == "other format" else ".png"
            target = other / ("" if where == "flat table" else path.parent.name) / f"new-{index}{suffix}"
            target.parent.mkdir(exist_ok=True)
            if where == "without metadata":
                Image.open(path).save(target, compress_level=1)
            elif where == "other format":
                Image.open(path).save(target)
            else:
                shutil.copy(path, target)
        if where == "flat table":
            rows = [f"new-{i}.png,{path.parent.name}" for i, path in enumerate(sorted(data.rglob("*.png")))]
            (other / "table.csv").write_text("\n".join(["image,label", *rows]))
            other = other / "table.csv"
    images = chosen(model, other)
    assert (images.split, len(images.items), seen(images).num_left_out) == ("test", 4, 36)


def test_images_that_were_added_and_removed_are_counted(data: Path, model: Untrained, tmp_path: Path) -> None:
    photos(data, range(40, 46))
    test = split_names(model, "test")
    for name in (test[0], split_names(model, "train")[0]):
        next(data.rglob(f"{name}.png")).unlink()
    data.rename(tmp_path / "moved")
    images = chosen(model, tmp_path / "moved")
    assert names(images) == test[1:] and images.split == "test"
    assert "(3 of its 4 images are there)" in images.source_note
    assert "it also has 6 images that the run did not use; --split all scores these too" in images.source_note
    assert (seen(images).num_trained, seen(images).num_validation) == (31, 4)
    everything = chosen(model, tmp_path / "moved", split="all")
    assert names(everything) == sorted([*test[1:], *(f"{number:03d}" for number in range(40, 46))])


def test_other_data_with_some_known_images_are_evaluated_without_them(model: Untrained, tmp_path: Path) -> None:
    train, val, test = (split_names(model, split) for split in ("train", "val", "test"))
    known = [int(name) for name in (*train[:5], *val[:2], *test[:1])]
    images = chosen(model, photos(tmp_path / "others", [*known, *range(100, 110)]))
    assert names(images) == sorted([test[0], *(str(number) for number in range(100, 110))])
    assert (images.split, images.owner, images.source_note) == ("all", None, "")
    assert (seen(images).num_trained, seen(images).num_validation, seen(images).num_left_out) == (5, 2, 7)


def test_copies_within_the_data_are_all_left_out(data: Path, model: Untrained, tmp_path: Path) -> None:
    name = split_names(model, "train")[0]
    others = photos(tmp_path / "others", range(100, 104))
    for copy in ("a", "b", "c"):
        shutil.copy(next(data.rglob(f"{name}.png")), others / "cat" / f"{copy}.png")
    images = chosen(model, others)
    assert len(images.items) == 4 and seen(images).num_trained == 3


def test_splits_of_the_data_themselves_are_kept(data: Path, model: Untrained, tmp_path: Path) -> None:
    train, test = split_names(model, "train"), split_names(model, "test")
    sorted_anew = tmp_path / "anew"
    photos(sorted_anew / "train", [int(name) for name in train[6:]])
    photos(sorted_anew / "test", [int(name) for name in (*train[:6], *test[:2])])
    images = chosen(model, sorted_anew)
    assert names(images) == test[:2] and images.split == "test" and seen(images).num_trained == 6
    # Its test split consists of training images: the test images of the run are in its train split.
    swapped = tmp_path / "swapped"
    photos(swapped / "test", [int(name) for name in train[:8]])
    photos(swapped / "train", [int(name) for name in (*train[8:], *test)])
    images = chosen(model, swapped)
    assert names(images) == test and images.split == "test"


def test_a_part_of_the_data_set_is_recognized(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for split, numbers in (("train", range(20)), ("val", range(20, 26)), ("test", range(26, 32))):
        photos(data / split, numbers)
    model = run_on(data, tmp_path / "run")
    data.rename(tmp_path / "moved")
    images = chosen(model, tmp_path / "moved" / "test")
    assert len(images.items) == 6 and seen(images).num_left_out == 0
    # What chose the checkpoint is better than nothing, and it is said.
    images = chosen(model, tmp_path / "moved" / "val")
    assert (images.split, images.owner, len(images.items)) == ("val", model.path, 6)
    assert "it chose the checkpoint (epoch 3)" in images.trust_note(model, "epoch 3")
    with pytest.raises(
        DataError, match=r"no image is left to evaluate on.*20 images that the model was trained"
    ) as caught:
        chosen(model, tmp_path / "moved" / "train")
    assert caught.value.hint and "--seen include" in caught.value.hint
    assert len(chosen(model, tmp_path / "moved" / "train", seen="include").items) == 20


def test_a_run_without_a_test_split_is_evaluated_on_its_validation_split(tmp_path: Path) -> None:
    data = tmp_path / "data"
    photos(data / "train", range(20))
    photos(data / "val", range(20, 26))
    model = run_on(data, tmp_path / "run")
    data.rename(tmp_path / "moved")
    images = chosen(model, tmp_path / "moved")
    assert (images.split, images.owner, len(images.items)) == ("val", model.path, 6)
    # New test images are better.
    photos(tmp_path / "moved" / "test", range(50, 54))
    assert names(chosen(model, tmp_path / "moved")) == ["050", "051", "052", "053"]
    # Without folders for the splits, it is the same data set.
    flat = photos(tmp_path / "flat", range(26))
    images = chosen(model, flat)
    assert (images.split, images.owner, len(images.items)) == ("val", model.path, 6)
    assert seen(images).num_trained == 20 and seen(images).num_validation == 0


@pytest.mark.parametrize(
    ("split", "number", "note"),
    [("train", 32, "was trained on 32 of them"), ("val", 4, "it chose the checkpoint"), ("test", 4, "did not choose")],
)
def test_a_split_that_is_asked_for_is_that_of_the_run(
    split: str, number: int, note: str, data: Path, model: Untrained, tmp_path: Path
) -> None:
    data.rename(tmp_path / "moved")
    images = chosen(model, tmp_path / "moved", split=split)
    assert (images.split, len(images.items)) == (split, number) and names(images) == split_names(model, split)
    assert note in images.trust_note(model, "epoch 1") and not seen(images).num_left_out


def test_seen_images_are_scored_apart_or_included_on_request(data: Path, model: Untrained) -> None:
    apart = chosen(model, data, seen="separate")
    assert (len(apart.items), len(apart.apart)) == (4, 36)
    assert "scored separately" in seen(apart).sentence and seen(apart).num_left_out == 0
    everything = chosen(model, data, seen="include")
    assert (len(everything.items), everything.split, everything.owner) == (40, "all", None)
    assert "trained on 32 of them" in everything.trust_note(model, "epoch 1") and not seen(everything).sentence
    with pytest.raises(DataError, match="no image is left"):
        chosen(model, data, split="train", seen="skip")


def test_other_content_under_the_same_name_is_new(data: Path, model: Untrained, tmp_path: Path) -> None:
    for number, path in enumerate(sorted(data.rglob("*.png"))):
        photo(1000 + number).save(path)
    data.rename(tmp_path / "moved")
    images = chosen(model, tmp_path / "moved")
    assert len(images.items) == 40 and images.source_note == ""
    assert "40 images have names from the run but different content, and count as new" in seen(images).sentence


def test_a_resized_copy_of_the_data_set_is_recognized_by_names_and_looks(
    data: Path, model: Untrained, tmp_path: Path
) -> None:
    for path in sorted(data.rglob("*.png")):
        small = tmp_path / "small" / path.parent.name / f"{path.stem}.jpg"
        small.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).resize((45, 36)).save(small, quality=80)
    images = chosen(model, tmp_path / "small")
    assert names(images) == split_names(model, "test") and images.split == "test"
    assert "40 images were resized or compressed again, and recognized by name and appearance" in seen(images).sentence


def test_a_run_without_a_record_recognizes_names_and_says_so(data: Path, model: Untrained, tmp_path: Path) -> None:
    assert model.path is not None
    (model.path.parent / USED_IMAGES_FILE).unlink()
    assert len(chosen(model, None).items) == 4
    (tmp_path / "new").mkdir()
    data.rename(tmp_path / "new" / "moved")
    for where in ("new/moved", "new"):
        images = chosen(model, tmp_path / where)
        assert names(images) == split_names(model, "test")
        assert "recognized by their names, because this run did not record their content" in seen(images).sentence
    # The same names in other classes are not the same images.
    (tmp_path / "new/moved/cat").rename(tmp_path / "new/moved/dog2")
    (tmp_path / "new/moved/dog").rename(tmp_path / "new/moved/cat")
    (tmp_path / "new/moved/dog2").rename(tmp_path / "new/moved/dog")
    unknown = seen(chosen(model, tmp_path / "new/moved"))
    assert unknown.num_left_out == 0 and "no image has a name from the run" in unknown.sentence


def test_a_model_outside_of_its_run_does_not_know_what_it_has_seen(data: Path, tmp_path: Path) -> None:
    for path in (None, tmp_path / "alone.safetensors"):
        images = chosen(Untrained(path), data)
        assert len(images.items) == 40 and images.split == "all"
        assert "not in a run folder, so it is unknown which images it was trained on" in seen(images).sentence
        found = seen(images).to_dict()
        assert (found["known_by"], found["num_trained"], found["num_left_out"]) == (None, None, 0)


def test_an_exported_file_in_the_run_folder_knows_it(data: Path, model: Untrained) -> None:
    assert model.path is not None
    images = chosen(Untrained(model.path.parent / "model.onnx"), data)
    assert len(images.items) == 4 and seen(images).num_left_out == 36


def test_an_image_that_any_compared_model_has_seen_is_left_out_for_all(data: Path, tmp_path: Path) -> None:
    first, second = (run_on(data, tmp_path / f"run-{seed}", split_seed=seed) for seed in (0, 1))
    kept = {*split_names(first, "test")} & {*split_names(second, "test")}
    apart = photos(tmp_path / "separate", [*range(40), *range(100, 104)])
    images = chosen(first, apart, split="all", others=[second.path])
    assert {*names(images)} == kept | {"100", "101", "102", "103"}
    assert {path: found.num_trained for path, found in images.seen.items()} == {first.path: 32, second.path: 32}
    assert all("for every model" in found.sentence for found in images.seen.values())
    # The images that the first run held out trained the second.
    assert len(kept) < 4
    with pytest.raises(DataError, match=r"run-1/model.safetensors: \d images that the model was trained on"):
        chosen(first, None, others=[second.path]) if not kept else chosen(
            first, None, split="val", others=[second.path], seen="skip"
        )


def test_a_comparison_says_that_the_only_images_left_chose_a_checkpoint(
    data: Path, model: Untrained, tmp_path: Path
) -> None:
    other = run_on(photos(tmp_path / "other", range(100, 140)), tmp_path / "other-run")
    validation = photos(tmp_path / "validation", [int(name) for name in split_names(other, "val")])
    images = chosen(model, validation, others=[other.path])
    assert len(images.items) == 4
    assert "the only images left chose a checkpoint" in images.source_note


def test_what_the_start_of_a_training_has_seen_counts(data: Path, model: Untrained, tmp_path: Path) -> None:
    assert model.path is not None
    later = run_on(photos(tmp_path / "later", range(100, 140)), tmp_path / "later-run", start=model.path)
    images = chosen(later, photos(tmp_path / "others", [*range(40), *range(200, 203)]))
    assert names(images) == sorted([*split_names(model, "test"), "200", "201", "202"])
    assert (seen(images).num_trained, seen(images).num_validation) == (32, 4)
    (model.path.parent / USED_IMAGES_FILE).unlink()
    unknown = run_on(tmp_path / "later", tmp_path / "unknown-run", start=model.path)
    images = chosen(unknown, photos(tmp_path / "news", range(300, 304)))
    assert "its training started from run, whose own training images are unknown" in seen(images).sentence


def test_the_images_of_a_limited_training_that_it_did_not_use_are_new(data: Path, tmp_path: Path) -> None:
    model = run_on(data, tmp_path / "limited", limit=10)
    images = chosen(model, data, split="all")
    assert seen(images).num_trained == 10 and len(images.items) == 40 - 10 - len(split_names(model, "val"))


def test_a_copy_of_a_training_image_in_the_test_split_is_left_out(tmp_path: Path) -> None:
    data = tmp_path / "data"
    photos(data / "train", range(20))
    photos(data / "test", range(30, 36))
    model = run_on(data, tmp_path / "run")
    trained = split_names(model, "train")[0]
    shutil.copy(next((data / "train").rglob(f"{trained}.png")), data / "test" / "cat" / "copy.png")
    again = run_on(data, tmp_path / "again")
    for where in (None, data):
        images = chosen(again, where)
        assert names(images) == [f"{number:03d}" for number in range(30, 36)] and images.split == "test"
        assert seen(images).num_trained == 1


def test_an_error_about_moved_data_names_the_flags_of_the_run(data: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in data.rglob("*.png"):
        shutil.copy(path, flat / f"{path.stem}x{path.parent.name}7.png")
    model = run_on(flat, tmp_path / "run", label_regex="x([a-z]+)7")
    flat.rename(tmp_path / "moved")
    with pytest.raises(DataError) as caught:
        chosen(model, tmp_path / "moved")
    assert caught.value.hint and "it was trained with: --label-regex 'x([a-z]+)7'" in caught.value.hint
    config = EvalConfig(label_regex="x([a-z]+)7")
    assert len(choose_evaluation_set(model, str(tmp_path / "moved"), config, split=None).items) == 4
    photos(tmp_path / "moved", range(500, 504))
    (tmp_path / "moved" / "dog").rename(tmp_path / "moved" / "bird")
    with pytest.raises(DataError, match="a class that the model does not have") as caught:
        chosen(model, tmp_path / "moved")
    assert caught.value.hint and "--label-regex" in caught.value.hint


def test_unreadable_images_are_named_or_skipped_as_ever(data: Path, model: Untrained) -> None:
    (data / "cat" / "broken.png").write_bytes(b"nothing")
    images = choose_evaluation_set(model, str(data), EvalConfig(on_bad_image="skip"), split="all")
    assert len(images.items) == 4 and [Path(error.path).name for error in images.skipped] == ["broken.png"]


def test_studies_split_moved_data_as_the_run_did(data: Path, model: Untrained, tmp_path: Path) -> None:
    data.rename(tmp_path / "moved")
    dataset = open_data(model, str(tmp_path / "moved"), EvalConfig(), split="all")
    assert Counter(item.split for item in dataset.items) == {"train": 32, "val": 4, "test": 4}
    others = photos(tmp_path / "others", range(100, 110))
    assert {item.split for item in open_data(model, str(others), EvalConfig(), split="all").items} == {"train"}


def test_a_data_set_in_the_place_of_the_old_one_is_not_taken_for_it(
    data: Path, model: Untrained, make_folder: Callable[..., Path]
) -> None:
    shutil.rmtree(data)
    photos(data, range(500, 540))
    assert len(chosen(model, data).items) == 40


def test_each_image_is_checked_once_whatever_is_looked_for(
    model: Untrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The images of the run are looked for, and then all are evaluated.
    other = photos(tmp_path / "other", range(100, 110))
    checked: list[str] = []

    def scan_noted(items: Sequence[Item], **options: Any) -> ScannedImages:
        checked.extend(item.name for item in items)
        return scan(items, **options)

    monkeypatch.setattr("resnet_cli.evaluation.evaluation_set.scan", scan_noted)
    assert len(chosen(model, other).items) == len(checked) == 10
