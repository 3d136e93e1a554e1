"""The binary CIFAR archives: bytes in, images and labels out, or an error that names the file."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from resnet_cli.data.sources.arrays import cifar
from resnet_cli.data.sources.arrays.cifar import read_cifar
from resnet_cli.errors import DataError

CIFAR10_NAMES = [f"class{i}" for i in range(10)]
CIFAR100_NAMES = [f"class{i}" for i in range(100)]


def image(seed: int) -> NDArray[np.uint8]:
    """A random image [32 x 32 x 3]."""
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def record(labels: list[int], image: NDArray[np.uint8]) -> bytes:
    """One record, plane by plane and row by row, as the data set's web page describes it."""
    planes = [image[row, column, plane] for plane in range(3) for row in range(32) for column in range(32)]
    return bytes(labels) + bytes(planes)


def cifar10_members() -> dict[str, bytes]:
    members = {
        f"cifar-10-batches-bin/data_batch_{i}.bin": record([i], image(i)) + record([9], image(10 + i))
        for i in range(1, 6)
    }
    members["cifar-10-batches-bin/test_batch.bin"] = record([0], image(100))
    # The published file ends in an empty line.
    members["cifar-10-batches-bin/batches.meta.txt"] = ("\n".join(CIFAR10_NAMES) + "\n\n").encode()
    members["cifar-10-batches-bin/readme.html"] = b"<html>"
    return members


def cifar100_members() -> dict[str, bytes]:
    return {
        "cifar-100-binary/train.bin": b"".join(record([19, 90 + i], image(i)) for i in range(3)),
        "cifar-100-binary/test.bin": record([3, 99], image(100)),
        "cifar-100-binary/fine_label_names.txt": "\n".join(CIFAR100_NAMES).encode(),
        "cifar-100-binary/coarse_label_names.txt": b"ignored",
    }


def write_archive(path: Path, members: dict[str, bytes], *, links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return path


def test_cifar10_gives_images_labels_and_classes_in_the_order_of_the_batches(tmp_path: Path) -> None:
    members = cifar10_members()
    # The order inside the archive must not matter.
    archive = write_archive(tmp_path / "c10.tar.gz", dict(reversed(members.items())))
    arrays = read_cifar(archive, "cifar10")
    assert arrays.classes == tuple(CIFAR10_NAMES)
    assert arrays.train_images.shape == (10, 32, 32, 3) and arrays.train_images.dtype == np.uint8
    assert arrays.train_labels.dtype == np.int64
    assert arrays.train_labels.tolist() == [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]
    for i in range(1, 6):
        np.testing.assert_array_equal(arrays.train_images[2 * (i - 1)], image(i))
        np.testing.assert_array_equal(arrays.train_images[2 * (i - 1) + 1], image(10 + i))
    np.testing.assert_array_equal(arrays.test_images, image(100)[None])
    assert arrays.test_labels.tolist() == [0]


def test_cifar100_uses_the_fine_label(tmp_path: Path) -> None:
    arrays = read_cifar(write_archive(tmp_path / "c100.tar.gz", cifar100_members()), "cifar100")
    assert arrays.classes == tuple(CIFAR100_NAMES)
    assert arrays.train_labels.tolist() == [90, 91, 92]
    assert arrays.test_labels.tolist() == [99]
    np.testing.assert_array_equal(arrays.train_images[2], image(2))


def test_a_leading_dot_in_member_names_does_not_matter(tmp_path: Path) -> None:
    members = {f"./{name}": data for name, data in cifar100_members().items()}
    assert len(read_cifar(write_archive(tmp_path / "c.tar.gz", members), "cifar100").train_labels) == 3


@pytest.mark.parametrize(
    ("member", "data", "reason"),
    [
        ("data_batch_3.bin", record([1], image(0))[:-1], "whole number of 3073-byte records"),
        ("data_batch_3.bin", b"", "whole number"),
        ("data_batch_3.bin", record([10], image(0)), "label 10"),
        ("batches.meta.txt", b"cat\ndog\n", "2 different classes"),
        ("batches.meta.txt", "\n".join([*CIFAR10_NAMES[:9], "class0"]).encode(), "9 different classes"),
        ("batches.meta.txt", b"\xff\xfe", "not text"),
    ],
)
def test_a_damaged_member_is_an_error_that_names_file_and_member(
    tmp_path: Path, member: str, data: bytes, reason: str
) -> None:
    path = f"cifar-10-batches-bin/{member}"
    archive = write_archive(tmp_path / "c.tar.gz", {**cifar10_members(), path: data})
    with pytest.raises(DataError, match=reason) as caught:
        read_cifar(archive, "cifar10")
    assert str(archive) in caught.value.message and path in caught.value.message
    assert caught.value.hint is not None and "delete" in caught.value.hint


@pytest.mark.parametrize("name", [name for name in cifar10_members() if "readme" not in name])
def test_a_missing_member_is_named(tmp_path: Path, name: str) -> None:
    members = cifar10_members()
    del members[name]
    with pytest.raises(DataError, match=name):
        read_cifar(write_archive(tmp_path / "c.tar.gz", members), "cifar10")


def test_a_link_in_place_of_a_member_is_refused(tmp_path: Path) -> None:
    members = cifar10_members()
    del members["cifar-10-batches-bin/test_batch.bin"]
    links = {"cifar-10-batches-bin/test_batch.bin": "data_batch_1.bin"}
    archive = write_archive(tmp_path / "c.tar.gz", members, links=links)
    with pytest.raises(DataError, match="other than a plain file"):
        read_cifar(archive, "cifar10")


def test_a_member_that_comes_twice_is_refused(tmp_path: Path) -> None:
    members = cifar10_members()
    again = "cifar-10-batches-bin/test_batch.bin"
    archive = write_archive(tmp_path / "c.tar.gz", {**members, f"./{again}": members[again]})
    with pytest.raises(DataError, match="twice"):
        read_cifar(archive, "cifar10")


def test_a_member_too_large_for_cifar_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_archive(tmp_path / "c.tar.gz", cifar10_members())
    monkeypatch.setattr(cifar, "_MAX_MEMBER_BYTES", 3000)
    with pytest.raises(DataError, match="too large"):
        read_cifar(archive, "cifar10")


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_archive(tmp_path / "c.tar.gz", cifar10_members())
    monkeypatch.setattr(cifar, "_MAX_NUM_MEMBERS", 3)
    with pytest.raises(DataError, match="too large"):
        read_cifar(archive, "cifar10")


def test_the_other_archive_is_refused(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "c.tar.gz", cifar100_members())
    with pytest.raises(DataError, match="has no member cifar-10-batches-bin"):
        read_cifar(archive, "cifar10")


def test_what_is_not_an_archive_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "c.tar.gz"
    archive.write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(DataError, match="cannot be read"):
        read_cifar(archive, "cifar10")


def test_an_absent_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_cifar(tmp_path / "none.tar.gz", "cifar10")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_an_archive_cut_anywhere_is_an_error_of_ours(tmp_path: Path, kept: float) -> None:
    archive = write_archive(tmp_path / "c.tar.gz", cifar10_members())
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(DataError):
        read_cifar(archive, "cifar10")


def test_a_flipped_byte_is_an_error_of_ours(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "c.tar.gz", cifar10_members())
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(DataError):
        read_cifar(archive, "cifar10")
