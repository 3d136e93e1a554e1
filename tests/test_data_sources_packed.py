"""Archives that are not read are named, with the command that unpacks them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from resnet_cli.data.sources.fetching.wanted_members import is_wanted_member
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.errors import DataError


def write(root: Path, *names: str, data: bytes = b"x") -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def packed(*names: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as file:
        for name in names:
            file.writestr(name, b"x")
    return sink.getvalue()


IMAGES = tuple(f"{label}/{index}.jpg" for label in ("cat", "dog") for index in range(2))


@pytest.mark.parametrize(
    ("name", "what", "command"),
    [
        ("x.7z", "7-Zip archive", "7z x "),
        ("x.RAR", "RAR archive", "unrar x "),
        ("x.zip.001", "part of a split archive", "cat "),
        ("x.tar.gz.00", "part of a split archive", "cat "),
        ("x.z01", "part of a split archive", "7z x "),
        ("x.part02.rar", "part of a split archive", "7z x "),
        ("x.tar.lz4", "archive, which is not read", "7z x "),
        ("x y.bin.gz", "compressed file", "gunzip -k '"),
    ],
)
def test_an_archive_that_is_not_read_is_named_with_its_command(
    tmp_path: Path, name: str, what: str, command: str
) -> None:
    with pytest.raises(DataError, match=what) as caught:
        open_dataset(str(write(tmp_path, name) / name))
    assert command in (caught.value.hint or "") and name[:3] in caught.value.message


def test_archives_beside_class_folders_are_named_and_those_that_are_unpacked_are_not(tmp_path: Path) -> None:
    write(tmp_path, *IMAGES, "more/extra.zip", "test.7z", "cat.zip", "notes.txt")
    (note,) = (note for note in open_dataset(str(tmp_path)).notes if "archives" in note)
    assert "were not read: test.7z, more/extra.zip" in note
    assert f"give it as DATA: {tmp_path}/more/extra.zip" in note


def test_a_folder_of_archives_names_the_command_that_reads_one(tmp_path: Path) -> None:
    write(tmp_path, "sample_submission.csv", "test1.zip", data=b"id,label\n1,0\n")
    (tmp_path / "train.zip").write_bytes(packed(*IMAGES))
    with pytest.raises(DataError, match=r"contains no images, but archives: test1\.zip, train\.zip") as caught:
        open_dataset(str(tmp_path))
    assert f"give it as DATA: {tmp_path}/train.zip" in (caught.value.hint or "")
    assert len(open_dataset(f"{tmp_path}/train.zip").items) == len(IMAGES)


def test_an_archive_of_archives_names_the_one_to_give(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
        file.writestr("data/train.zip", packed(*IMAGES))
    with pytest.raises(DataError, match=r"contains no images, but archives: data/train\.zip") as caught:
        open_dataset(str(tmp_path / "all.zip"))
    inner = (caught.value.hint or "").partition("give it as DATA: ")[2].partition(";")[0]
    assert len(open_dataset(inner).items) == len(IMAGES)


@pytest.mark.parametrize(
    "name",
    ["a.jpg", "meta/train.txt", "setid.mat", "batches.meta", "data_batch_1", "labels.json", "x.npz", "in/train.zip"],
)
def test_what_may_label_or_contain_images_is_unpacked(name: str) -> None:
    assert is_wanted_member(name)


@pytest.mark.parametrize("name", ["best.pth", "demo.mp4", "paper.PDF", "bin/tool.exe"])
def test_what_can_neither_label_nor_contain_images_is_not(name: str) -> None:
    assert not is_wanted_member(name)
