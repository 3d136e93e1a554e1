"""Formats that are not read are refused by name, each with a conversion."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.errors import DataError

FILES = {
    "train-00000-of-00001.tfrecord": ("TFRecord", "tfrecord_loader"),
    "ld_train00-1338.tfrec": ("TFRecord", "tfrecord_loader"),
    "mnist-train.tfrecord-00000-of-00010": ("TFRecord", "tfrecord_loader"),
    "train-00000-of-01024": ("TFRecord", "tfrecord_loader"),
    "data.mdb": ("LMDB", "lmdb.open"),
    "shard.00000.mds": ("MDS", "streaming.StreamingDataset"),
    "shard.00000.mds.zstd": ("MDS", "streaming.StreamingDataset"),
    "chunk-0-0.bin": ("LitData", "litdata.StreamingDataset"),
    "train.beton": ("Beton", "data set from which"),
    "train.rec": ("RecordIO", ".lst"),
    "data_batch_1": ("CIFAR", "resnet-cli finetune cifar10"),
    "train_X.bin": ("STL-10", "resnet-cli finetune stl10"),
    "camelyonpatch_level_2_split_train_x.h5.gz": ("gzip", "gunzip"),
    "mnist.pkl.gz": ("pickle", "numpy.savez"),
    "train.pt": ("pickle", "numpy.savez"),
}


def refused(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        open_dataset(str(path))
    assert "\n" not in caught.value.message and caught.value.hint and "\n" not in caught.value.hint
    return caught.value


@pytest.mark.parametrize(("file", "words"), FILES.items())
def test_a_file_and_its_folder_are_refused_by_name_with_the_conversion(
    tmp_path: Path, file: str, words: tuple[str, str]
) -> None:
    (tmp_path / "set" / "1.0.0").mkdir(parents=True)
    (tmp_path / "set" / "1.0.0" / file).write_bytes(bytes(64))
    (tmp_path / "set" / "1.0.0" / "index.json").write_text('{"shards": []}')
    for path in (tmp_path / "set" / "1.0.0" / file, tmp_path / "set"):
        error = refused(path)
        assert words[0] in error.message and file in error.message
        assert re.search(re.escape(words[1]), error.hint or "")


def test_data_comes_before_pickles(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(b"\x80")
    (tmp_path / "b.tfrecord").write_bytes(b"\x80")
    assert "TFRecord" in refused(tmp_path).message


def test_foreign_files_beside_what_is_read_do_no_harm(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).write_bytes(bytes(64))
    image = Image.fromarray(np.zeros((9, 9, 3), np.uint8))
    image.save(tmp_path / "elsewhere.bin", "PNG")
    images = np.full((4, 9, 9), 200, np.uint8)
    np.savez(tmp_path / "set.npz", x_train=images, y_train=[0, 1, 0, 1])
    (tmp_path / "data_batch_1").unlink()
    assert len(open_dataset(str(tmp_path)).items) == 4
    (tmp_path / "set.npz").unlink()
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        image.save(tmp_path / label / "1.png")
    assert open_dataset(str(tmp_path)).classes == ("cat", "dog")
