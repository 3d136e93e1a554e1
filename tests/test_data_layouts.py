"""The same images in any common layout are the same data set, and other images are a different one."""

from __future__ import annotations

import bz2
import csv
import dataclasses
import functools
import gzip
import http.server
import io
import json
import lzma
import os
import shutil
import sys
import tarfile
import threading
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset, Split
from resnet_cli.data.sources import opening as opening_module
from resnet_cli.data.sources.folders.reader import read_folder
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.errors import ConfigError, DataError

#: Names with a space, with an accent, in mixed case; upper case sorts before lower case everywhere.
CLASSES = ("Gänse", "OWL", "hot dog")
PER_SPLIT: dict[Split, int] = {"train": 3, "val": 2, "test": 1}
#: Extensions as cameras and people write them.
FORMATS = (("png", "PNG"), ("JPG", "JPEG"), ("jpeg", "JPEG"))

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="names or links of POSIX")
accents_kept = pytest.mark.skipif(sys.platform == "darwin", reason="the file system itself knows one form")


class Photo(NamedTuple):
    """One image of the set; ``path`` is its name in the plainest layout."""

    path: str
    data: bytes
    label: str
    split: str

    @property
    def file(self) -> str:
        return self.path.rpartition("/")[2]


def _photo(split: str, label: str, index: int) -> Photo:
    extension, kind = FORMATS[index % len(FORMATS)]
    seed = [len(split), CLASSES.index(label), index]
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, kind)
    return Photo(f"{split}/{label}/photo {index}.{extension}", sink.getvalue(), label, split)


PHOTOS = tuple(
    _photo(split, label, index) for split, count in PER_SPLIT.items() for label in CLASSES for index in range(count)
)
#: The same set without splits: only the train images, in class folders.
UNSPLIT = tuple(photo._replace(path=photo.path.removeprefix("train/")) for photo in PHOTOS if photo.split == "train")


class Layout(NamedTuple):
    """A DATA argument, and how it is read."""

    spec: str | Path
    options: DataConfig = DataConfig()
    keeps_names: bool = True


Build = Callable[[Path], Layout]


def write(folder: Path, photos: Iterable[Photo]) -> Path:
    for photo in photos:
        path = folder / photo.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo.data)
    return folder


def moved(photos: Iterable[Photo], rename: Callable[[Photo], str]) -> tuple[Photo, ...]:
    return tuple(photo._replace(path=rename(photo)) for photo in photos)


def rows(photos: Iterable[Photo]) -> list[dict[str, str]]:
    return [{"image": photo.path, "label": photo.label, "split": photo.split} for photo in photos]


def write_cells(path: Path, records: list[dict[str, str]], *, header: bool = True, **dialect: Any) -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), **dialect)
    if header:
        writer.writeheader()
    writer.writerows(records)
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    return path


def write_json_lines(path: Path, records: Iterable[Mapping[str, object]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def write_parquet(path: Path, records: list[dict[str, Any]]) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(records), path)
    return path


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in files.items():
            info = zipfile.ZipInfo("x")
            # ZipInfo cleans names; Windows' own tools keep backslashes.
            info.filename = name
            file.writestr(info, data)
    return path


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".tgz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd.compress,
}


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    path.write_bytes(COMPRESSORS.get(path.suffix, bytes)(sink.getvalue()))
    return path


def files_of(photos: Iterable[Photo]) -> dict[str, bytes]:
    return {photo.path: photo.data for photo in photos}


def content_hashes(dataset: Dataset) -> list[bytes]:
    return [item.content_hash() for item in dataset.items]


def fingerprint(dataset: Dataset) -> str:
    return dataset.fingerprint(content_hashes(dataset))


def images(dataset: Dataset) -> Counter[tuple[str, str, bytes]]:
    """Split, class and content of each image, in whatever order."""
    return Counter(
        (item.split, dataset.classes[item.label], sha256)
        for item, sha256 in zip(dataset.items, content_hashes(dataset), strict=True)
    )


def assert_same(dataset: Dataset, expected: Dataset, *, keeps_names: bool) -> None:
    assert dataset.classes == expected.classes == CLASSES
    assert images(dataset) == images(expected)
    assert fingerprint(dataset) == fingerprint(expected)
    for item in dataset.items:
        assert "\\" not in item.name
        assert item.open().mode == "RGB"
    if keeps_names:
        shown = [(item.name, item.label, item.split, item.group) for item in dataset.items]
        assert shown == [(item.name, item.label, item.split, item.group) for item in expected.items]


@pytest.fixture(autouse=True)
def no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips flushing all disks of the system, which takes as long as their other work."""
    monkeypatch.setattr(os, "sync", lambda: None, raising=False)


def _plain(folder: Path) -> Layout:
    return Layout(write(folder / "pets", PHOTOS))


def _slash(folder: Path) -> Layout:
    return Layout(f"{write(folder / 'pets', PHOTOS)}{os.sep}")


def _dotted(folder: Path) -> Layout:
    return Layout(f"{write(folder / 'pets', PHOTOS)}/../pets/.")


def _splits_called(train: str, val: str, test: str) -> Build:
    names = {"train": train, "val": val, "test": test}

    def build(folder: Path) -> Layout:
        photos = moved(PHOTOS, lambda photo: f"{names[photo.split]}/{photo.label}/{photo.file}")
        return Layout(write(folder / "pets", photos), keeps_names=False)

    return build


def _wrapped(folder: Path) -> Layout:
    write(folder / "download" / "pets-v2", PHOTOS)
    return Layout(folder / "download", keeps_names=False)


def _wrapped_deep(folder: Path) -> Layout:
    write(folder / "a" / "b" / "c" / "pets", PHOTOS)
    (folder / "a" / "README.md").write_text("x")
    return Layout(folder / "a", keeps_names=False)


def _nested(folder: Path) -> Layout:
    def deeper(photo: Photo) -> str:
        return f"{photo.split}/{photo.label}/2024/may {len(photo.data) % 2}/{photo.file}"

    return Layout(write(folder / "pets", moved(PHOTOS, deeper)), keeps_names=False)


def _cluttered(folder: Path) -> Layout:
    pets = write(folder / "pets", PHOTOS)
    for name in (".DS_Store", "Thumbs.db", "README.txt", "LICENSE", "notes.pdf", "stray.csv"):
        (pets / name).write_text("clutter,no,table\n")
        (pets / "train" / CLASSES[0] / name).write_text("clutter")
    for name in (".git", "__MACOSX", "@eaDir", "__pycache__", ".ipynb_checkpoints"):
        write(pets / name, UNSPLIT)
        write(pets / "train" / name, UNSPLIT[:2])
        write(pets / "train" / CLASSES[1] / name, UNSPLIT[:2])
    (pets / "val" / CLASSES[2] / "._photo 0.png").write_bytes(b"resource fork")
    (pets / "test" / "empty").mkdir()
    return Layout(pets)


def _stray_tables(folder: Path) -> Layout:
    pets = write(folder / "pets", PHOTOS)
    (pets / "metadata.csv").write_text("image,label\ngone/1.jpg,cat\n")
    (pets / "broken.csv").write_text('image,label\n"gone')
    (pets / "empty.csv").write_bytes(b"")
    (pets / "broken.jsonl").write_text("{")
    (pets / "requirements.txt").write_text("train/OWL/photo 0.png OWL\n")
    (pets / "bad.parquet").write_bytes(b"PAR1")
    return Layout(pets)


def _decomposed(folder: Path) -> Layout:
    def decomposed(photo: Photo) -> str:
        return unicodedata.normalize("NFD", photo.path) if photo.split == "val" else photo.path

    return Layout(write(folder / "pets", moved(PHOTOS, decomposed)), keeps_names=False)


def _blank_at_the_end(folder: Path) -> Layout:
    photos = moved(PHOTOS, lambda photo: photo.path.replace("/OWL/", "/OWL /") if photo.split == "test" else photo.path)
    return Layout(write(folder / "pets", photos), keeps_names=False)


def _link_to_the_folder(folder: Path) -> Layout:
    (folder / "link").symlink_to(write(folder / "pets", PHOTOS), target_is_directory=True)
    return Layout(folder / "link")


def _links_within(folder: Path) -> Layout:
    pets = folder / "pets"
    for number, photo in enumerate(PHOTOS):
        pool = pets / ".pool" / str(number)
        path = pets / photo.path
        for place in (pool, path):
            place.parent.mkdir(parents=True, exist_ok=True)
        pool.write_bytes(photo.data)
        path.symlink_to(os.path.relpath(pool, path.parent))
    return Layout(pets)


def _links_out(folder: Path) -> Layout:
    store = write(folder / "store", PHOTOS)
    for photo in PHOTOS:
        path = folder / "pets" / photo.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(store / photo.path)
    return Layout(folder / "pets", DataConfig(follow_links=True))


def _folder_links_out(folder: Path) -> Layout:
    store = write(folder / "store", PHOTOS)
    for split in PER_SPLIT:
        (folder / "pets" / split).mkdir(parents=True)
        for label in CLASSES:
            (folder / "pets" / split / label).symlink_to(store / split / label, target_is_directory=True)
    return Layout(folder / "pets", DataConfig(follow_links=True))


def _split_links_out(folder: Path) -> Layout:
    store = write(folder / "store", PHOTOS)
    (folder / "pets").mkdir()
    for split in PER_SPLIT:
        (folder / "pets" / split).symlink_to(store / split, target_is_directory=True)
    return Layout(folder / "pets", DataConfig(follow_links=True))


def _regex_in_splits(folder: Path) -> Layout:
    def flat(photo: Photo) -> str:
        return f"{photo.split}/{photo.label}.{photo.file}"

    return Layout(write(folder / "pets", moved(PHOTOS, flat)), DataConfig(label_regex=r"^([^.]+)\."), False)


def _regex_in_any_folder(folder: Path) -> Layout:
    def scattered(photo: Photo) -> str:
        return f"{photo.split}/{len(photo.data) % 3}/x/{photo.label}__{photo.file}"

    pets = write(folder / "pets", moved(PHOTOS, scattered))
    (pets / "train" / "README.txt").write_text("x")
    return Layout(pets, DataConfig(label_regex="^(.+)__"), False)


def _table(name: str, writer: Callable[[Path, list[dict[str, str]]], object], *, give_folder: bool = False) -> Build:
    def build(folder: Path) -> Layout:
        pets = write(folder / "pets", PHOTOS)
        writer(pets / name, rows(PHOTOS))
        return Layout(pets if give_folder else pets / name)

    return build


def _reversed_rows(path: Path, records: list[dict[str, str]]) -> None:
    write_cells(path, [{"note": "x", **record} for record in reversed(records)] + [{"note": "twice", **records[0]}])


def _windows_export(path: Path, records: list[dict[str, str]]) -> None:
    changed = [{**record, "image": ".\\" + record["image"].replace("/", "\\")} for record in records]
    write_cells(path, changed, delimiter=";")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def _other_words(path: Path, records: list[dict[str, str]]) -> None:
    words = {"train": "Training", "val": "dev", "test": "TESTING"}
    changed = [
        {"File_Name": record["image"], "SUBSET": f" {words[record['split']]} ", "Category": f"{record['label']} "}
        for record in records
    ]
    write_cells(path, changed)


def _decomposed_labels(path: Path, records: list[dict[str, str]]) -> None:
    odd = [{**record, "label": unicodedata.normalize("NFD", record["label"])} for record in records[::2]]
    write_cells(path, [*odd, *records[1::2]])


def _columns_by_flags(folder: Path) -> Layout:
    pets = write(folder / "pets", PHOTOS)
    records = [
        {"breed": row["label"], "fold": row["split"], "foto": row["image"], "label": "9"} for row in rows(PHOTOS)
    ]
    write_cells(pets / "sheet.tsv", records, delimiter="\t")
    flags = DataConfig(image_column="foto", label_column="Breed", split_column="fold")
    return Layout(pets / "sheet.tsv", flags)


def _columns_by_flags_in_a_folder(folder: Path) -> Layout:
    sheet, options, _ = _columns_by_flags(folder)
    return Layout(Path(sheet).parent, options)


def _absolute_paths(folder: Path) -> Layout:
    pets = write(folder / "pets", PHOTOS)
    records = [{**row, "image": str(pets / row["image"])} for row in rows(PHOTOS)]
    return Layout(write_cells(pets / "labels.csv", records))


def _table_elsewhere(folder: Path) -> Layout:
    write(folder / "pets", PHOTOS)
    (folder / "tables").mkdir()
    records = [{**row, "image": f"../pets/{row['image']}"} for row in rows(PHOTOS)]
    return Layout(write_cells(folder / "tables" / "labels.csv", records), keeps_names=False)


def _flat(photo: Photo) -> str:
    return f"images/{PHOTOS.index(photo):04d}.{photo.path.rpartition('.')[2]}"


def _flat_images(folder: Path) -> Layout:
    photos = moved(PHOTOS, _flat)
    pets = write(folder / "pets", photos)
    write_cells(pets / "labels.csv", rows(photos))
    return Layout(pets, keeps_names=False)


def _flat_images_and_a_wrapper(folder: Path) -> Layout:
    pets = Path(_flat_images(folder).spec)
    pets.rename(folder / "pets-v1")
    (folder / "outer").mkdir()
    (folder / "pets-v1").rename(folder / "outer" / "pets-v1")
    return Layout(folder / "outer", keeps_names=False)


def _table_beside_images(folder: Path) -> Layout:
    photos = moved(PHOTOS, lambda photo: _flat(photo).removeprefix("images/"))
    pets = write(folder / "pets", photos)
    write_json_lines(pets / "labels.jsonl", rows(photos))
    return Layout(pets, keeps_names=False)


def _one_table_a_split(names: Mapping[str, str], suffix: str = ".csv") -> Build:
    def build(folder: Path) -> Layout:
        photos = moved(PHOTOS, _flat)
        pets = write(folder / "pets", photos)
        for split, name in names.items():
            records = [{"image": photo.path, "label": photo.label} for photo in photos if photo.split == split]
            if suffix == ".parquet":
                write_parquet(pets / (name + suffix), records)
            else:
                write_cells(pets / (name + suffix), records)
        return Layout(pets, keeps_names=False)

    return build


def _parquet_with_images(folder: Path) -> Layout:
    records = [
        {"image": {"bytes": photo.data, "path": _flat(photo)}, "label": photo.label, "split": photo.split}
        for photo in PHOTOS
    ]
    return Layout(write_parquet(folder / "pets.parquet", records), keeps_names=False)


def _parquet_with_bytes_in_a_folder(folder: Path) -> Layout:
    (folder / "pets").mkdir()
    for split in PER_SPLIT:
        records = [
            {"img": {"bytes": photo.data, "path": f"{split}{number}.png"}, "class": photo.label}
            for number, photo in enumerate(PHOTOS)
            if photo.split == split
        ]
        write_parquet(folder / "pets" / f"{split}.parquet", records)
    return Layout(folder / "pets", keeps_names=False)


def _archive(suffix: str, change: Callable[[str], str] = str, *, keeps_names: bool = True) -> Build:
    def build(folder: Path) -> Layout:
        files = {change(name): data for name, data in files_of(PHOTOS).items()}
        path = folder / f"pets{suffix}"
        if suffix == ".zip":
            write_zip(path, files)
        else:
            write_tar(path, files)
        return Layout(path, keeps_names=keeps_names)

    return build


def _zip_of_macos(folder: Path) -> Layout:
    clutter = {f"__MACOSX/pets/{photo.path}": b"fork" for photo in PHOTOS} | {"pets/.DS_Store": b"x"}
    files = {f"pets/{name}": data for name, data in files_of(PHOTOS).items()}
    return Layout(write_zip(folder / "pets.zip", clutter | files), keeps_names=False)


def _archive_of_table(suffix: str, top: str = "") -> Build:
    def build(folder: Path) -> Layout:
        photos = moved(PHOTOS, _flat)
        table = write_cells(folder / "labels.csv", rows(photos)).read_bytes()
        files = {f"{top}{name}": data for name, data in {"labels.csv": table, **files_of(photos)}.items()}
        writer = write_zip if suffix == ".zip" else write_tar
        return Layout(writer(folder / f"pets{suffix}", files), keeps_names=False)

    return build


def _archive_of_names(folder: Path) -> Layout:
    photos = moved(PHOTOS, lambda photo: f"{photo.split}/{photo.label}.{photo.file}")
    archive = write_tar(folder / "pets.tgz", files_of(photos))
    return Layout(archive, DataConfig(label_regex=r"^([^.]+)\."), False)


def _tar_that_a_browser_unpacked(folder: Path) -> Layout:
    path = write_tar(folder / "pets.tar", files_of(PHOTOS)).rename(folder / "pets.tar.gz")
    assert not path.read_bytes().startswith(gzip.compress(b"")[:2])
    return Layout(path)


LAYOUTS: dict[str, Build] = {
    "folder": _plain,
    "folder with a slash": _slash,
    "folder with dots in its path": _dotted,
    "train valid test": _splits_called("train", "valid", "test"),
    "Training Validation Testing": _splits_called("Training", "Validation", "Testing"),
    "training_set dev test_set": _splits_called("training_set", "dev", "test_set"),
    "TRAIN validation_set TEST": _splits_called("TRAIN", "validation_set", "TEST"),
    "wrapped": _wrapped,
    "wrapped deep": _wrapped_deep,
    "nested folders in a class": _nested,
    "hidden and other files": _cluttered,
    "stray tables": _stray_tables,
    "regex, flat splits": _regex_in_splits,
    "regex, folders that say nothing": _regex_in_any_folder,
    "csv": _table("labels.csv", write_cells),
    "csv, the folder given": _table("labels.csv", write_cells, give_folder=True),
    "csv without a header": _table("labels.csv", functools.partial(write_cells, header=False)),
    "csv in another order, a row twice": _table("labels.csv", _reversed_rows),
    "csv from Windows": _table("labels.csv", _windows_export, give_folder=True),
    "csv in other words": _table("labels.csv", _other_words),
    "csv, quoted": _table("labels.csv", functools.partial(write_cells, quoting=csv.QUOTE_ALL)),
    "csv, labels in two forms": _table("labels.csv", _decomposed_labels),
    "semicolons": _table("labels.csv", functools.partial(write_cells, delimiter=";")),
    "tsv": _table("labels.TSV", functools.partial(write_cells, delimiter="\t"), give_folder=True),
    "json lines": _table("labels.jsonl", write_json_lines),
    "ndjson, the folder given": _table("labels.ndjson", write_json_lines, give_folder=True),
    "parquet of paths": _table("labels.parquet", write_parquet),
    "parquet of paths, the folder given": _table("labels.parquet", write_parquet, give_folder=True),
    "parquet of images": _parquet_with_images,
    "parquet of images, one a split": _parquet_with_bytes_in_a_folder,
    "columns by flags": _columns_by_flags,
    "columns by flags, the folder given": _columns_by_flags_in_a_folder,
    "absolute paths": _absolute_paths,
    "table in another folder": _table_elsewhere,
    "table and flat images": _flat_images,
    "table and flat images, wrapped": _flat_images_and_a_wrapper,
    "table beside its images": _table_beside_images,
    "one table a split": _one_table_a_split({"train": "train", "val": "val", "test": "test"}),
    "one table a split, other words": _one_table_a_split({"train": "Training", "val": "valid", "test": "TEST"}),
    "one parquet a split": _one_table_a_split({"train": "train", "val": "dev", "test": "test"}, ".parquet"),
    "zip": _archive(".zip"),
    "zip from Windows": _archive(".zip", lambda name: name.replace("/", "\\")),
    "zip from macOS": _zip_of_macos,
    "zip, wrapped": _archive(".zip", "pets-main/{}".format, keeps_names=False),
    "zip of ./": _archive(".zip", "./{}".format),
    "tar": _archive(".tar"),
    "tar.gz": _archive(".tar.gz"),
    "tar.bz2": _archive(".tar.bz2"),
    "tar.xz": _archive(".tar.xz"),
    "tar.zst": _archive(".tar.zst"),
    "tar.gz, wrapped": _archive(".tar.gz", "a/b/pets/{}".format, keeps_names=False),
    "tar.gz that is a tar": _tar_that_a_browser_unpacked,
    "tgz of names": _archive_of_names,
    "zip of a table": _archive_of_table(".zip"),
    "tar.xz of a table, wrapped": _archive_of_table(".tar.xz", "pets/"),
}
LINKED: dict[str, Build] = {
    "link to the folder": _link_to_the_folder,
    "links within": _links_within,
    "links out": _links_out,
    "class folders linked out": _folder_links_out,
    "split folders linked out": _split_links_out,
}
#: Names that not every system can write or distinguish.
ODD_NAMES: dict[str, Build] = {"accents in two forms": _decomposed, "a blank at the end": _blank_at_the_end}


@pytest.fixture
def expected(tmp_path: Path) -> Dataset:
    (tmp_path / "expected").mkdir()
    return read_folder(write(tmp_path / "expected" / "pets", PHOTOS))


def check(build: Build, tmp_path: Path, expected: Dataset) -> None:
    (tmp_path / "given").mkdir()
    layout = build(tmp_path / "given")
    dataset = open_dataset(str(layout.spec), layout.options)
    assert_same(dataset, expected, keeps_names=layout.keeps_names)
    assert dataset.split_note
    # The spec that a run records opens the same images with the same names again.
    again = open_dataset(dataset.spec, layout.options)
    assert_same(again, dataset, keeps_names=True)
    assert (again.name, again.notes) == (dataset.name, dataset.notes)


def test_the_set_has_what_makes_layouts_differ(expected: Dataset) -> None:
    assert expected.classes == tuple(sorted(CLASSES))
    assert expected.counts() == {split: [count] * 3 for split, count in PER_SPLIT.items()}
    assert len(set(content_hashes(expected))) == len(PHOTOS) == 18
    assert len({photo.path.rpartition(".")[2] for photo in PHOTOS}) == 3
    assert len(LAYOUTS) + len(LINKED) + len(ODD_NAMES) > 60


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_the_same_data_set(tmp_path: Path, expected: Dataset, name: str) -> None:
    check(LAYOUTS[name], tmp_path, expected)


@posix_only
@pytest.mark.parametrize("name", LINKED)
def test_every_layout_of_links_is_the_same_data_set(tmp_path: Path, expected: Dataset, name: str) -> None:
    check(LINKED[name], tmp_path, expected)


@posix_only
@accents_kept
@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_that_look_the_same_are_one_class(tmp_path: Path, expected: Dataset, name: str) -> None:
    check(ODD_NAMES[name], tmp_path, expected)


@pytest.mark.parametrize("name", ["folder", "csv", "one table a split", "zip of a table"])
def test_a_path_relative_to_here_is_the_same_data_set(
    tmp_path: Path, expected: Dataset, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "given").mkdir()
    layout = LAYOUTS[name](tmp_path / "given")
    for here in (Path(layout.spec).parent, Path(layout.spec).parent.parent, tmp_path / "expected" / "pets"):
        monkeypatch.chdir(here)
        dataset = open_dataset(os.path.relpath(layout.spec))
        assert_same(dataset, expected, keeps_names=layout.keeps_names)
        assert os.path.isabs(dataset.spec)
        assert [item.name for item in open_dataset(dataset.spec).items] == [item.name for item in dataset.items]


@pytest.mark.parametrize("name", ["table in another folder", "csv"])
def test_a_table_names_its_images_the_same_from_everywhere(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "given").mkdir()
    table = Path(LAYOUTS[name](tmp_path / "given").spec)
    absolute = open_dataset(str(table))
    monkeypatch.chdir(table.parent)
    relative = open_dataset(table.name)
    # A run compares names: the working directory must not matter.
    assert [item.name for item in relative.items] == [item.name for item in absolute.items]
    assert relative.spec == absolute.spec


@posix_only
def test_a_link_to_a_table_reads_paths_beside_the_link(tmp_path: Path, expected: Dataset) -> None:
    pets = write(tmp_path / "pets", PHOTOS)
    (tmp_path / "tables").mkdir()
    table = write_cells(tmp_path / "tables" / "v2.csv", rows(PHOTOS))
    (pets / "labels.csv").symlink_to(table)
    dataset = open_dataset(str(pets / "labels.csv"))
    assert_same(dataset, expected, keeps_names=True)
    assert_same(open_dataset(dataset.spec), expected, keeps_names=True)


@pytest.fixture
def bucket() -> Iterator[Any]:
    pytest.importorskip("fsspec")
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem.store.clear()
    yield MemoryFileSystem()
    MemoryFileSystem.store.clear()


@pytest.mark.parametrize(
    "name", ["folder", "nested folders in a class", "hidden and other files", "csv", "table and flat images", "zip"]
)
def test_a_bucket_is_the_same_data_set(
    tmp_path: Path, expected: Dataset, bucket: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RESNET_CLI_OFFLINE")
    (tmp_path / "given").mkdir()
    layout = LAYOUTS[name](tmp_path / "given")
    for path in (tmp_path / "given").rglob("*"):
        if path.is_file():
            bucket.pipe_file(f"/photos/{path.relative_to(tmp_path / 'given').as_posix()}", path.read_bytes())
    address = f"memory://photos/{Path(layout.spec).relative_to(tmp_path / 'given').as_posix()}"
    dataset = open_dataset(address, layout.options)
    assert_same(dataset, expected, keeps_names=layout.keeps_names)
    assert (dataset.spec, dataset.name) == (address, "pets" if name != "csv" else "labels")
    monkeypatch.setenv("RESNET_CLI_OFFLINE", "1")
    assert open_dataset(address, layout.options) == dataset


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of what is in ``given``."""
    monkeypatch.delenv("RESNET_CLI_OFFLINE")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "*")
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    (tmp_path / "given").mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "given"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["zip", "tar.gz", "tar.zst", "zip, wrapped", "tar.xz of a table, wrapped"])
def test_an_archive_behind_http_is_the_same_data_set(tmp_path: Path, expected: Dataset, web: str, name: str) -> None:
    layout = LAYOUTS[name](tmp_path / "given")
    address = f"{web}/{Path(layout.spec).name}?download=1"
    dataset = open_dataset(address)
    assert_same(dataset, expected, keeps_names=layout.keeps_names)
    assert (dataset.spec, dataset.name) == (address, "pets")
    assert open_dataset(address, DataConfig(offline=True)) == dataset


@pytest.mark.parametrize("name", ["folder", "csv", "one table a split"])
def test_a_web_folder_or_table_is_the_same_data_set(tmp_path: Path, expected: Dataset, web: str, name: str) -> None:
    pytest.importorskip("aiohttp")
    layout = LAYOUTS[name](tmp_path / "given")
    path = Path(layout.spec).relative_to(tmp_path / "given").as_posix()
    assert_same(open_dataset(f"{web}/{path}"), expected, keeps_names=layout.keeps_names)


def _class_folders(folder: Path) -> Layout:
    return Layout(write(folder / "pets", UNSPLIT))


def _class_table(folder: Path) -> Layout:
    pets = write(folder / "pets", UNSPLIT)
    return Layout(write_cells(pets / "a.csv", [{"image": photo.path, "label": photo.label} for photo in UNSPLIT]))


def _class_table_without_splits_said(folder: Path) -> Layout:
    pets = write(folder / "pets", UNSPLIT)
    return Layout(write_cells(pets / "a.csv", [{**row, "split": ""} for row in rows(UNSPLIT)]))


def _class_list(folder: Path) -> Layout:
    pets = write(folder / "pets", UNSPLIT)
    # A label with a space needs a tab before it.
    lines = [f"{photo.path}{chr(9) if ' ' in photo.label else ' '}{photo.label}" for photo in UNSPLIT]
    (pets / "list.txt").write_text("\n".join(["# path label", "", *lines]), encoding="utf-8")
    return Layout(pets / "list.txt")


def _class_names(folder: Path) -> Layout:
    photos = moved(UNSPLIT, lambda photo: f"{photo.label}.{photo.file}")
    return Layout(write(folder / "pets", photos), DataConfig(label_regex=r"^([^.]+)\."), False)


def _class_parquet(folder: Path) -> Layout:
    records = [{"image": photo.data, "label": photo.label} for photo in UNSPLIT]
    return Layout(write_parquet(folder / "pets.parquet", records), keeps_names=False)


def _class_archive(suffix: str) -> Build:
    def build(folder: Path) -> Layout:
        writer = write_zip if suffix == ".zip" else write_tar
        return Layout(writer(folder / f"pets{suffix}", files_of(UNSPLIT)))

    return build


UNSPLIT_LAYOUTS: dict[str, Build] = {
    "folder": _class_folders,
    "table": _class_table,
    "table with an empty column": _class_table_without_splits_said,
    "list": _class_list,
    "names": _class_names,
    "parquet": _class_parquet,
    "zip": _class_archive(".zip"),
    "tar.gz": _class_archive(".tar.gz"),
}


@pytest.mark.parametrize("name", UNSPLIT_LAYOUTS)
def test_without_splits_every_layout_is_the_same_data_set(tmp_path: Path, name: str) -> None:
    for place in ("expected", "given"):
        (tmp_path / place).mkdir()
    expected = read_folder(write(tmp_path / "expected" / "pets", UNSPLIT))
    assert expected.counts() == {"train": [3, 3, 3], "val": [0, 0, 0], "test": [0, 0, 0]}
    layout = UNSPLIT_LAYOUTS[name](tmp_path / "given")
    dataset = open_dataset(str(layout.spec), layout.options)
    assert_same(dataset, expected, keeps_names=layout.keeps_names)
    assert dataset.split_note == ""


def _with(photos: Iterable[Photo], tmp_path: Path, name: str) -> str:
    return fingerprint(read_folder(write(tmp_path / name, photos)))


def test_what_is_another_data_set_has_another_fingerprint(tmp_path: Path, expected: Dataset) -> None:
    first, *rest = PHOTOS
    changed: dict[str, tuple[Photo, ...]] = {
        "other bytes": (first._replace(data=first.data + b"\0"), *rest),
        "other class": (first._replace(path=first.path.replace(CLASSES[0], CLASSES[1])[:-4] + "x.png"), *rest),
        "other split": (first._replace(path=first.path.replace("train", "val")[:-4] + "x.png"), *rest),
        "one less": tuple(rest),
        "a copy more": (*PHOTOS, first._replace(path=first.path[:-4] + "copy.png")),
        "class renamed": moved(PHOTOS, lambda photo: photo.path.replace("OWL", "owl")),
        "two classes swapped": moved(
            PHOTOS, lambda photo: photo.path.replace("OWL", "?").replace("hot dog", "OWL").replace("?", "hot dog")
        ),
    }
    found = {name: _with(photos, tmp_path, name) for name, photos in changed.items()}
    assert len({*found.values(), fingerprint(expected)}) == len(changed) + 1


def test_another_name_of_a_file_is_no_other_data_set(tmp_path: Path, expected: Dataset) -> None:
    first, *rest = PHOTOS
    renamed = (first._replace(path=first.path.replace("photo", "zzz")), *rest)
    assert _with(renamed, tmp_path, "renamed") == fingerprint(expected)


def test_the_order_in_a_table_changes_nothing(tmp_path: Path) -> None:
    pets = write(tmp_path / "pets", PHOTOS)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(5):
        records = [rows(PHOTOS)[index] for index in rng.permutation(len(PHOTOS))]
        found.append(open_dataset(str(write_cells(pets / "labels.csv", records))))
    assert all(dataset == found[0] for dataset in found)


def test_a_class_that_is_left_out_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    for name in ("folder", "csv", "zip", "parquet of images"):
        (tmp_path / name).mkdir()
    options = DataConfig(classes=("hot dog", "Gänse"))
    found = [
        open_dataset(str(LAYOUTS[name](tmp_path / name).spec), options)
        for name in ("folder", "csv", "zip", "parquet of images")
    ]
    assert found[0].classes == ("hot dog", "Gänse")
    assert len({fingerprint(dataset) for dataset in found}) == 1


def test_a_table_wins_over_the_folders_that_it_lies_in(tmp_path: Path) -> None:
    pets = write(tmp_path / "pets", UNSPLIT)
    records = [{"image": photo.path, "label": str(index % 2)} for index, photo in enumerate(UNSPLIT)]
    write_cells(pets / "labels.csv", records)
    assert open_dataset(str(pets)).classes == ("0", "1")
    assert open_dataset(str(pets), DataConfig(label_regex="(.)[.]")).classes == ("0", "1", "2")


def test_a_table_that_disagrees_with_the_folders_is_noted(tmp_path: Path) -> None:
    """The folder may contain a file of ``predict --csv`` by mistake."""
    pets = write(tmp_path / "pets", UNSPLIT)
    agrees = write_cells(pets / "labels.csv", [{"path": photo.path, "label": photo.label} for photo in UNSPLIT])
    assert open_dataset(str(pets)).notes == ()
    wrong = {UNSPLIT[0].path, UNSPLIT[4].path}
    write_cells(
        agrees, [{"path": photo.path, "label": "OWL" if photo.path in wrong else photo.label} for photo in UNSPLIT]
    )
    (note,) = open_dataset(str(pets)).notes
    assert "labels.csv" in note and "1" in note


def test_several_tables_of_the_same_images_are_refused(tmp_path: Path) -> None:
    pets = Path(_flat_images(tmp_path).spec)
    shutil.copyfile(pets / "labels.csv", pets / "labels2.csv")
    with pytest.raises(DataError, match=r"several tables list its images: labels\.csv, labels2\.csv") as caught:
        open_dataset(str(pets))
    assert str(pets / "labels.csv") in (caught.value.hint or "")


def test_an_image_in_two_splits_of_a_table_is_refused(tmp_path: Path) -> None:
    pets = Path(_one_table_a_split({"train": "train", "val": "val", "test": "test"})(tmp_path).spec)
    shutil.copyfile(pets / "train.csv", pets / "val.csv")
    with pytest.raises(DataError, match=r"val\.csv, line 2: images/0000\.png has the split 'val', .*'train'"):
        open_dataset(str(pets))


def test_an_image_with_two_labels_in_a_table_is_refused(tmp_path: Path) -> None:
    pets = write(tmp_path / "pets", UNSPLIT)
    records = [*rows(UNSPLIT), {**rows(UNSPLIT)[0], "image": f"./{UNSPLIT[0].path}", "label": "OWL"}]
    with pytest.raises(DataError, match=r"line 11: .* has the label 'OWL', an earlier row says 'Gänse'"):
        open_dataset(str(write_cells(pets / "labels.csv", records)))


def test_a_test_table_without_labels_is_passed_over(tmp_path: Path, expected: Dataset) -> None:
    pets = Path(_flat_images(tmp_path).spec)
    (pets / "labels.csv").rename(pets / "train.csv")
    (pets / "test.csv").write_text("id,image\n1,images/0000.png\n")
    (pets / "sample_submission.csv").write_text("image,label\nimages/9999.png,OWL\n")
    assert_same(open_dataset(str(pets)), expected, keeps_names=False)


FLAGS: dict[str, DataConfig] = {
    "--image-column": DataConfig(image_column="image"),
    "--label-column": DataConfig(label_column="label"),
    "--split-column": DataConfig(split_column="split"),
    "--label-regex": DataConfig(label_regex="^([a-z]+)"),
    "--follow-links": DataConfig(follow_links=True),
}


@pytest.mark.parametrize(
    ("layout", "flags"),
    [
        ("folder", ("--image-column", "--label-column", "--split-column")),
        ("zip", ("--image-column", "--label-column", "--split-column", "--follow-links")),
        ("zip of a table", ("--follow-links",)),
        ("csv", ("--label-regex", "--follow-links")),
        ("parquet of images", ("--label-regex", "--follow-links")),
        ("csv, the folder given", ("--follow-links",)),
        ("digits", tuple(FLAGS)),
    ],
)
def test_a_flag_without_effect_is_an_error(tmp_path: Path, layout: str, flags: tuple[str, ...]) -> None:
    spec = layout if layout == "digits" else str(LAYOUTS[layout](tmp_path).spec)
    for flag in flags:
        with pytest.raises(ConfigError, match=f"^{flag} has no effect") as caught:
            open_dataset(spec, FLAGS[flag])
        assert caught.value.hint and flag in caught.value.hint and caught.value.exit_code == 2


def test_a_column_that_no_table_of_the_folder_has_is_named(tmp_path: Path) -> None:
    pets = Path(_flat_images(tmp_path).spec)
    with pytest.raises(ConfigError, match=r"--label-column bred: .*labels\.csv has no such column") as caught:
        open_dataset(str(pets), DataConfig(label_column="bred"))
    assert "its columns: image, label, split" in (caught.value.hint or "")


def test_why_a_table_was_not_taken_is_noted_where_nothing_else_is_there(tmp_path: Path) -> None:
    photos = moved(UNSPLIT, lambda photo: f"{photo.label}{photo.file}")
    pets = write(tmp_path / "pets", photos)
    write_cells(pets / "labels.csv", [{"id": photo.path} for photo in photos])
    with pytest.raises(DataError, match="9 images but no class folders") as caught:
        open_dataset(str(pets))
    assert "no column is called 'label'" in (caught.value.hint or "") and "labels.csv" in (caught.value.hint or "")
    write_cells(pets / "labels.csv", [{"image": f"x/gone-{photo.path}", "label": photo.label} for photo in photos])
    with pytest.raises(DataError, match="9 images but no class folders") as caught:
        open_dataset(str(pets))
    assert "labels.csv" in (caught.value.hint or "") and f"x/gone-{photos[0].path}" in (caught.value.hint or "")


@pytest.mark.parametrize("files", [{}, {"a.zip": b"PK"}, {"README.md": b"x"}, {"cat/readme.txt": b"x"}], ids=str)
def test_an_archive_without_images_is_named_as_it_was_given(tmp_path: Path, files: dict[str, bytes]) -> None:
    archive = write_zip(tmp_path / "pets.zip", files)
    with pytest.raises(DataError, match="contains no images") as caught:
        open_dataset(str(archive))
    assert caught.value.message.startswith(str(archive)) and caught.value.hint


def test_a_table_of_images_that_are_not_there_says_where_they_were_looked_for(tmp_path: Path) -> None:
    table = write_cells(tmp_path / "labels.csv", rows(PHOTOS))
    with pytest.raises(DataError, match=r"labels\.csv: no image that it lists exists \(18 images\)") as caught:
        open_dataset(str(table))
    assert str(tmp_path / "train") in caught.value.message
    assert "relative" in (caught.value.hint or "")


def test_an_image_of_a_table_that_is_not_there_is_left_to_the_check(tmp_path: Path) -> None:
    pets = write(tmp_path / "pets", PHOTOS)
    (pets / PHOTOS[0].path).unlink()
    dataset = open_dataset(str(write_cells(pets / "labels.csv", rows(PHOTOS))))
    assert len(dataset.items) == len(PHOTOS)
    with pytest.raises(DataError, match="No such file"):
        content_hashes(dataset)


@pytest.mark.parametrize("spec", ["", " "])
def test_nothing_is_no_data(spec: str) -> None:
    with pytest.raises(DataError, match="DATA is empty") as caught:
        open_dataset(spec)
    assert caught.value.hint


@posix_only
def test_a_pipe_with_the_name_of_a_table_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(DataError, match="not a folder, a table or an archive"):
        open_dataset(str(tmp_path / "labels.csv"))


ODD_CLASSES = (
    "CON",
    "ratio 3:4",
    "dot.",
    "NUL.jpg",
    "🐝 bee",
    "-rf",
    "~",
    "$HOME",
    "line\nbreak",
    "tab\tbed",
    "100%",
    "'\"",
)


@posix_only
def test_odd_class_names_come_through_every_layout(tmp_path: Path) -> None:
    photos = tuple(
        photo._replace(path=f"{label}/{photo.file}", label=label, data=photo.data + bytes([number]))
        for number, label in enumerate(ODD_CLASSES)
        for photo in UNSPLIT[:2]
    )
    pets = write(tmp_path / "CON: a|b?", photos)
    folder = open_dataset(str(pets))
    assert folder.classes == tuple(sorted(ODD_CLASSES))
    table = [{"image": photo.path, "label": photo.label} for photo in photos]
    found = [
        open_dataset(str(write_cells(pets / "labels.csv", table))),
        open_dataset(str(write_json_lines(pets / "labels2.jsonl", table))),
        open_dataset(str(write_tar(tmp_path / "pets.tar", files_of(photos)))),
    ]
    for dataset in found:
        assert [(item.name, item.label) for item in dataset.items] == [(item.name, item.label) for item in folder.items]
        assert fingerprint(dataset) == fingerprint(folder)


def test_names_of_items_are_the_same_on_every_system(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    for name in ("folder", "csv from Windows", "zip from Windows"):
        place = tmp_path / "given" / name
        place.mkdir()
        layout = LAYOUTS[name](place)
        assert [item.name for item in open_dataset(str(layout.spec)).items] == sorted(
            (photo.path for photo in PHOTOS),
            key=lambda path: (path.split("/")[1], path.split("/")[0], path),
        )


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("https://host/a/pets.tar.gz?download=1#x", "pets"),
        ("https://host/pets/", "pets"),
        ("https://host/pets.v2/", "pets.v2"),
        ("hf:owner/pets@main", "pets"),
        ("memory://a/b:c?", "b_c"),
        ("memory://a/x|y. ", "x_y"),
        ("https://host/..", "data"),
        ("pets.tar.zst", "pets"),
    ],
)
def test_a_data_sets_short_name_is_a_folder_name_on_every_system(spec: str, name: str) -> None:
    assert opening_module._short_name(spec) == name


@pytest.mark.parametrize("name", ["folder", "csv, the folder given"])
def test_the_folder_of_a_table_is_called_as_the_folder(tmp_path: Path, name: str) -> None:
    folder = Path(LAYOUTS[name](tmp_path).spec).rename(tmp_path / "pets.v2")
    assert open_dataset(str(folder)).name == "pets.v2"


def test_a_table_is_read_from_where_it_lies_not_from_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pets = write(tmp_path / "pets", PHOTOS)
    table = write_cells(pets / "labels.csv", rows(PHOTOS))
    write(tmp_path / "here", [photo._replace(data=b"another image") for photo in PHOTOS])
    monkeypatch.chdir(tmp_path / "here")
    assert all(item.open() for item in open_dataset(str(table)).items)


def test_groups_of_a_table_come_with_its_images(tmp_path: Path) -> None:
    pets = write(tmp_path / "pets", UNSPLIT)
    table = write_cells(pets / "a.csv", [{**row, "group": row["image"][:3]} for row in rows(UNSPLIT)])
    dataset = open_dataset(str(table))
    assert {item.group for item in dataset.items} == {"Gän", "OWL", "hot"}
    ungrouped = dataclasses.replace(dataset, items=tuple(dataclasses.replace(item, group="") for item in dataset.items))
    assert fingerprint(ungrouped) == fingerprint(dataset)
