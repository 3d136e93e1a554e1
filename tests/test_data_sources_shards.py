"""WebDataset shards: one tar, a folder of tars, or a pattern; labels from .cls, .json or .txt."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.data.sources.shards.reader import shard_files
from resnet_cli.errors import ConfigError, DataError, ResnetCliError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNET_CLI_CACHE", str(tmp_path / "cache"))


def png(seed: int) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)).save(sink, "PNG")
    return sink.getvalue()


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def samples(num: int, *, start: int = 0, field: str = "cls", label: Any = lambda n: str(n % 3)) -> dict[str, bytes]:
    members = {}
    for number in range(start, start + num):
        members[f"{number:06d}.png"] = png(number)
        members[f"{number:06d}.{field}"] = label(number).encode()
    return members


def counts(dataset: Dataset) -> dict[str, int]:
    return dict(Counter(f"{item.split}/{dataset.classes[item.label]}" for item in dataset.items))


def refused(path: Path | str) -> DataError:
    with pytest.raises(DataError) as caught:
        open_dataset(str(path))
    return caught.value


@pytest.mark.parametrize(
    ("field", "label"),
    [
        ("cls", lambda n: str(n % 3)),
        ("cls", lambda n: f" {'abc'[n % 3]}\n"),
        ("txt", lambda n: "abc"[n % 3]),
        ("json", lambda n: json.dumps({"label": n % 3, "filename": "x"})),
        ("json", lambda n: json.dumps({"label": n % 3, "class_name": "abc"[n % 3]})),
    ],
)
def test_one_tar_and_a_folder_of_tars_give_the_same_classes(tmp_path: Path, field: str, label: Any) -> None:
    for shard in range(2):
        members = samples(6, start=6 * shard, field=field, label=label)
        write_tar(tmp_path / "shards" / f"train-{shard:06d}.tar", members)
    write_tar(tmp_path / "shards" / "val-000000.tar", samples(3, start=50, field=field, label=label))
    dataset = open_dataset(str(tmp_path / "shards"))
    names = ("a", "b", "c") if "class_name" in label(0) or not any(c.isdigit() for c in label(0)) else ("0", "1", "2")
    assert dataset.classes == names
    assert counts(dataset) == {f"{split}/{name}": n for split, n in (("train", 4), ("val", 1)) for name in names}
    assert len({item.name for item in dataset.items}) == 15
    alone = open_dataset(str(tmp_path / "shards" / "train-000001.tar"))
    assert counts(alone) == {f"train/{name}": 2 for name in names}


def test_a_pattern_with_braces_is_its_files(tmp_path: Path) -> None:
    for shard in range(3):
        write_tar(tmp_path / f"train-{shard:06d}.tar", samples(3, start=3 * shard))
    dataset = open_dataset(f"{tmp_path}/train-{{000000..000001}}.tar")
    assert counts(dataset) == {f"train/{label}": 2 for label in "012"}
    again = open_dataset(dataset.spec)
    assert [item.name for item in again.items] == [item.name for item in dataset.items]
    with pytest.raises(ConfigError, match="label-column"):
        open_dataset(f"{tmp_path}/train-{{000000..000001}}.tar", DataConfig(label_column="x"))
    error = refused(f"{tmp_path}/train-{{000000..000007}}.tar")
    assert "do not exist: 5 of 8" in error.message and "train-000003.tar" in error.message


def test_braces_denote_numbers_and_words(tmp_path: Path) -> None:
    for name in ("a-08", "a-09", "a-10", "b-08", "b-09", "b-10"):
        (tmp_path / f"{name}.tar").touch()
    found = [path.stem for path in shard_files(f"{tmp_path}/{{a,b}}-{{08..10}}.tar")]
    assert found == ["a-08", "a-09", "a-10", "b-08", "b-09", "b-10"]
    assert shard_files(str(tmp_path / "a.tar")) == []
    assert "more than" in refused(f"{tmp_path}/x-{{0..99999999999999999999}}.tar").message


def test_folders_of_splits_and_names_of_classes_beside_them(tmp_path: Path) -> None:
    for split, n in (("train", 6), ("test", 3)):
        write_tar(tmp_path / split / "0.tar", samples(n, start=len(split)))
        (tmp_path / split / "nshards.txt").write_text("1")
    (tmp_path / "classnames.txt").write_text("cat\ndog\nowl\n")
    dataset = open_dataset(str(tmp_path))
    assert counts(dataset) == {
        f"{s}/{name}": n for s, n in (("train", 2), ("test", 1)) for name in ("cat", "dog", "owl")
    }
    assert any("classnames.txt" in note for note in dataset.notes)
    (tmp_path / "classnames.txt").write_text("cat\ndog\n")
    assert open_dataset(str(tmp_path)).classes == ("0", "1", "2")


def test_the_key_ends_at_the_first_dot(tmp_path: Path) -> None:
    members = {"a.rf.1.png": png(1), "a.cls": b"0", "b.png": png(2), "b.mask.png": png(3), "b.cls": b"1"}
    dataset = open_dataset(str(write_tar(tmp_path / "x.tar", members)))
    assert [item.name for item in dataset.items] == ["a.rf.1.png", "b.png"]


def test_keys_with_dots_are_separated_and_noted(tmp_path: Path) -> None:
    members = {"cat.1.png": png(1), "cat.1.cls": b"0", "cat.2.png": png(2), "cat.2.cls": b"1"}
    dataset = open_dataset(str(write_tar(tmp_path / "x.tar", members)))
    assert len(dataset.items) == 2 and any("dot" in note for note in dataset.notes)
    members = {"a.left.png": png(1), "a.right.png": png(2), "a.cls": b"0"}
    assert "has 2 images" in refused(write_tar(tmp_path / "y.tar", members)).message


def test_images_without_labels_are_counted(tmp_path: Path) -> None:
    dataset = open_dataset(str(write_tar(tmp_path / "x.tar", samples(4) | {"zz.png": png(9)})))
    assert dataset.passed_over["unlabelled"] == 1


def test_captions_are_no_classes(tmp_path: Path) -> None:
    write_tar(tmp_path / "a-0.tar", samples(6, field="txt", label=lambda n: f"a photo number {n}"))
    write_tar(tmp_path / "a-1.tar", samples(6, start=9, field="txt", label=lambda n: f"a photo number {n}"))
    assert "captions" in refused(tmp_path).message


def test_a_shard_whose_name_denotes_no_split_beside_others_is_refused(tmp_path: Path) -> None:
    for name in ("train-0", "other-0"):
        write_tar(tmp_path / f"{name}.tar", samples(3))
    error = refused(tmp_path)
    assert "other-0.tar" in error.message and error.hint and "{000000..000009}" in error.hint


def test_a_tar_of_class_folders_stays_one(tmp_path: Path) -> None:
    members = {f"{label}/{n}.png": png(n) for label in ("cat", "dog") for n in range(2)}
    assert open_dataset(str(write_tar(tmp_path / "x.tar", members))).classes == ("cat", "dog")


def test_captions_beside_images_of_class_folders_do_no_harm(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for label in ("cat", "dog"):
        for n in range(2):
            members |= {f"{label}/{n}.png": png(n), f"{label}/{n}.txt": b"a photo", f"{label}/{n}.json": b"{}"}
    assert open_dataset(str(write_tar(tmp_path / "x.tar", members))).classes == ("cat", "dog")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_shards_raise_only_our_errors(tmp_path: Path, data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(["cls", "json", "txt"]))
    label = data.draw(st.sampled_from(["1", "", "{}", "[[1]]", '{"label": 1e999}', "\x00", "a\nb", "9" * 5000]))
    path = tmp_path / "folder" / "train-0.tar"
    whole = bytearray(write_tar(path, samples(3, field=field, label=lambda _: label)).read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    for given_data in (path, path.parent):
        try:
            open_dataset(str(given_data))
        except ResnetCliError:
            continue


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    webdataset: Any = pytest.importorskip("webdataset")
    for split in ("train", "val"):
        with webdataset.ShardWriter(str(tmp_path / f"{split}-%06d.tar"), maxcount=3, verbose=0) as writer:
            for n in range(6):
                writer.write({"__key__": f"{split}{n:03d}", "png": png(n), "cls": n % 2, "json": {"label": n % 2}})
    assert counts(open_dataset(str(tmp_path))) == {f"{s}/{label}": 3 for s in ("train", "val") for label in "01"}


@pytest.mark.parametrize(
    ("field", "label", "expected"),
    [
        ("json", lambda n: json.dumps({"labels": [["cat", "owl"], ["dog"], []][n % 3]}), ("cat", "dog", "owl")),
        ("json", lambda n: json.dumps([["cat", "owl"], ["dog"], []][n % 3]), ("cat", "dog", "owl")),
        ("cls", lambda n: ["cat\nowl\n", "dog\n", "[]"][n % 3], ("cat", "dog", "owl")),
        ("cls", lambda n: ["0 2", "1", "[]"][n % 3], ("0", "1", "2")),
        ("cls", lambda n: ["0,2", "[1]", "[]"][n % 3], ("0", "1", "2")),
        ("cls", lambda n: ["[1, 0, 1]", "[0, 1, 0]", "[0, 0, 0]"][n % 3], ("0", "1", "2")),
    ],
    ids=["labels", "list", "lines", "numbers", "commas", "marks"],
)
def test_samples_with_several_labels_are_sets(
    tmp_path: Path, field: str, label: Any, expected: tuple[str, ...]
) -> None:
    path = write_tar(tmp_path / "some.tar", samples(6, field=field, label=label))
    dataset = open_dataset(str(path))
    assert dataset.task == "multi-label" and dataset.classes == expected
    assert {item.name[-5:-4]: item.labels for item in dataset.items} == {
        str(n): [(0, 2), (1,), ()][n % 3] for n in range(6)
    }
    assert any("none of the classes: 2 of 6" in note for note in dataset.notes)


def test_marks_of_minus_one_are_unknown(tmp_path: Path) -> None:
    marks = ["[1, 1, -1]", "[0, 1, 0]"]
    dataset = open_dataset(str(write_tar(tmp_path / "some.tar", samples(2, label=lambda n: marks[n]))))
    assert [(item.labels, item.unknown) for item in sorted(dataset.items, key=lambda item: item.name)] == [
        ((0, 1), (2,)),
        ((1,), ()),
    ]


def test_multi_label_makes_sets_of_single_labels(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "some.tar", samples(6))
    assert open_dataset(str(path)).task == "single-label"
    assert open_dataset(str(path), DataConfig(multi_label=True)).task == "multi-label"
