"""Arrays as DATA: what is obvious is read as it was saved, and everything else is refused by name."""

from __future__ import annotations

import gzip
import struct
import tarfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.sources import packed_sizes
from resnet_cli.data.sources.arrays import files
from resnet_cli.data.sources.arrays.files import open_arrays, read_mat_variables
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.errors import ConfigError, DataError, ResnetCliError, SetupError

SIDE_PX = 9
LABELS = np.array([0, 1, 2, 0, 1, 2, 0])
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def colors(n: int = len(LABELS), seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, SIDE_PX, SIDE_PX + 1, 3), dtype=np.uint8)


def pixels(dataset: Dataset) -> dict[str, NDArray[np.uint8]]:
    return {item.name: np.asarray(item.open()) for item in dataset.items}


def counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for item in dataset.items:
        found.setdefault(item.split, Counter())[dataset.classes[item.label]] += 1
    return {split: dict(counter) for split, counter in found.items()}


def refused(path: Path, **options: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        open_dataset(str(path), DataConfig(**options))
    return caught.value


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def save_hdf5(path: Path, arrays: Mapping[str, Any], **options: Any) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file.create_dataset(key, data=array, **options)
    return path


def test_keras_arrays_have_the_splits_that_their_names_denote(tmp_path: Path) -> None:
    images = colors()
    path = saved(
        tmp_path / "set.npz", x_train=images, y_train=LABELS, x_test=images[:2, ..., 0], y_test=LABELS[:2].astype("u1")
    )
    dataset = open_dataset(str(path))
    assert dataset.classes == ("0", "1", "2")
    assert counts(dataset) == {"train": {"0": 3, "1": 2, "2": 2}, "test": {"0": 1, "1": 1}}
    found = pixels(dataset)
    for index in range(len(LABELS)):
        np.testing.assert_array_equal(found[f"train/{index:07d}"], images[index])
    np.testing.assert_array_equal(found["test/0000001"], np.repeat(images[1, ..., :1], 3, axis=-1))
    assert "x_train" in dataset.reading and "set.npz" in dataset.reading
    assert len({item.content_hash() for item in dataset.items}) == len(dataset.items)


def test_medmnist_columns_of_labels_are_labels(tmp_path: Path) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    for split, n in (("train", 6), ("val", 3), ("test", 4)):
        arrays |= {f"{split}_images": colors(n), f"{split}_labels": LABELS[:n, None]}
    assert {
        split: sum(c.values()) for split, c in counts(open_dataset(str(saved(tmp_path / "m.npz", **arrays)))).items()
    } == {
        "train": 6,
        "val": 3,
        "test": 4,
    }


def test_multi_label_arrays_are_refused_as_such_and_one_hot_rows_are_read(tmp_path: Path) -> None:
    one_hot = np.eye(3, dtype=np.int64)[LABELS]
    assert counts(open_dataset(str(saved(tmp_path / "one.npz", images=colors(), labels=one_hot))))["train"]["0"] == 3
    both = one_hot.copy()
    both[0] = 1
    assert "multi-label" in refused(saved(tmp_path / "both.npz", images=colors(), labels=both)).message
    both[0] = 0
    assert "multi-label" in refused(saved(tmp_path / "none.npz", images=colors(), labels=both)).message


@pytest.mark.parametrize(
    "array",
    [
        lambda x: x.transpose(0, 3, 1, 2),
        lambda x: x.transpose(1, 2, 3, 0),
        lambda x: np.asfortranarray(x),
        lambda x: x.astype(np.int64),
        lambda x: x.astype(np.float32),
        lambda x: x / 255.0,
        lambda x: (x / 255).astype(np.float32),
        lambda x: x.astype(">u2"),
    ],
)
@pytest.mark.parametrize("suffix", [".npz", ".npy", ".h5"])
def test_every_obvious_form_of_an_array_gives_the_same_images(tmp_path: Path, array: Any, suffix: str) -> None:
    given_images, images = array(colors()), colors()
    if suffix == ".npy":
        np.save(tmp_path / "X.npy", given_images)
        np.save(tmp_path / "y.npy", LABELS)
        path = tmp_path
    elif suffix == ".h5":
        path = save_hdf5(tmp_path / "a.h5", {"images": given_images, "ans": LABELS})
    else:
        path = saved(tmp_path / "a.npz", X=given_images, y=LABELS)
    found = pixels(open_dataset(str(path)))
    np.testing.assert_array_equal(np.stack([found[name] for name in sorted(found)]), images)


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (colors().astype(np.float32) / 127.5 - 1, "values from -1 to 1"),
        (colors().astype(np.int16) * 16, "may mean any brightness"),
        (np.where(colors() > 9, np.nan, 0.5), "not finite"),
        (np.concatenate([colors(), colors()[..., :1]], axis=-1), "not that of images"),
        (colors()[..., :2], "not that of images"),
        (np.zeros((7, 100, 7), np.uint8), "not that of images"),
        (np.zeros((7, 99), np.uint8), "not that of images"),
        (np.zeros((7, 3, 9, 3), np.uint8), "not that of images"),
        (colors() > 99, "not brightness values"),
        ((colors() > 99).astype(np.uint8), "only 0 and 1"),
        (colors()[:5], "5 images and"),
        (np.array([None] * 7), "no pair of images"),
    ],
)
def test_what_is_not_obvious_is_refused_by_name(tmp_path: Path, images: Any, reason: str) -> None:
    path = saved(tmp_path / "set.npz", x_train=images, y_train=LABELS)
    error = refused(path)
    assert reason in error.message and "set.npz" in error.message and error.hint


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (LABELS + 0.5, "whole numbers"),
        (LABELS - 1, "negative"),
        (np.zeros((7, 2, 2)), "not that of labels"),
        (np.array(["cat", "", "dog", "cat", "dog", "cat", "dog"]), "not the name of a class"),
        (LABELS[:5], "5 labels"),
    ],
)
def test_labels_that_are_not_classes_are_refused(tmp_path: Path, labels: Any, reason: str) -> None:
    assert reason in refused(saved(tmp_path / "set.npz", images=colors(), labels=labels)).message


def test_names_in_the_file_name_the_classes(tmp_path: Path) -> None:
    names = np.array(["cat", "dog", "owl"])
    dataset = open_dataset(str(saved(tmp_path / "a.npz", images=colors(), labels=LABELS, class_names=names)))
    assert dataset.classes == ("cat", "dog", "owl")
    assert any("class_names" in note for note in dataset.notes)
    few = saved(tmp_path / "b.npz", images=colors(), labels=LABELS, class_names=names[:2])
    assert "label 2" in refused(few).message


def test_images_without_labels_and_other_arrays_are_noted(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", x_train=colors(), y_train=LABELS, x_test=colors(4), redshift=np.zeros(7))
    dataset = open_dataset(str(path))
    assert dataset.passed_over["unlabelled"] == 4
    assert any("redshift" in note for note in dataset.notes)


def test_several_arrays_of_one_role_need_a_flag(tmp_path: Path) -> None:
    arrays = {"images": colors(), "fine_labels": LABELS, "coarse_labels": LABELS % 2}
    path = saved(tmp_path / "a.npz", **arrays)
    error = refused(path)
    assert "several arrays" in error.message and error.hint and "--label-column" in error.hint
    assert open_dataset(str(path), DataConfig(label_column="coarse_labels")).classes == ("0", "1")
    with pytest.raises(ConfigError, match="no array"):
        open_dataset(str(path), DataConfig(label_column="nothing"))


def test_splits_whose_brightness_is_stored_differently_are_refused(tmp_path: Path) -> None:
    arrays = {"x_train": colors(), "y_train": LABELS, "x_test": colors() / 255, "y_test": LABELS}
    assert "differently" in refused(saved(tmp_path / "a.npz", **arrays)).message


def test_two_sets_in_a_folder_are_refused_and_each_is_read(tmp_path: Path) -> None:
    for name in ("one", "two"):
        saved(tmp_path / f"{name}.npz", x_train=colors(), y_train=LABELS)
    error = refused(tmp_path)
    assert error.hint and str(tmp_path / "one.npz") in error.hint
    assert len(open_dataset(str(tmp_path / "two.npz")).items) == len(LABELS)


def test_one_file_of_two_is_read_with_the_other(tmp_path: Path) -> None:
    for split in ("train", "test"):
        np.save(tmp_path / f"X_{split}.npy", colors())
        np.save(tmp_path / f"y_{split}.npy", LABELS)
    assert set(counts(open_dataset(str(tmp_path)))) == {"train", "test"}
    assert set(counts(open_dataset(str(tmp_path / "X_test.npy")))) == {"test"}
    (tmp_path / "y_test.npy").unlink()
    assert "no pair" in refused(tmp_path / "X_test.npy").message


def test_one_npy_file_for_each_image_is_refused_with_the_conversion(tmp_path: Path) -> None:
    for index in range(50):
        np.save(tmp_path / f"{index}.npy", colors(1)[0])
    error = refused(tmp_path)
    assert "one array file per image" in error.message and error.hint and "fromarray" in error.hint


def test_arrays_beside_images_of_class_folders_do_no_harm(tmp_path: Path) -> None:
    from PIL import Image

    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        Image.fromarray(colors()[0]).save(tmp_path / label / "1.png")
    saved(tmp_path / "features.npz", x=colors(), y=LABELS)
    (tmp_path / "model.h5").write_bytes(b"\x89HDF")
    assert open_dataset(str(tmp_path)).classes == ("cat", "dog")


def test_arrays_in_an_archive_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNET_CLI_CACHE", str(tmp_path / "cache"))
    path = saved(tmp_path / "a.npz", x_train=colors(), y_train=LABELS)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        file.write(path, "data/a.npz")
    assert len(open_dataset(str(tmp_path / "set.zip")).items) == len(LABELS)


def test_an_array_that_is_far_larger_than_its_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x_train=np.zeros((2000, 200, 200), np.uint8), y_train=np.zeros(2000, np.uint8))
    assert "bomb" in refused(path).message


def test_a_pickled_array_is_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "y.npy", np.array([0, 1]))
    assert "X.npy" in refused(tmp_path).message


@FUZZ
@given(data=st.data())
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".mat"])
def test_damaged_files_of_arrays_raise_only_our_errors(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    path = tmp_path / f"set{suffix}"
    if suffix == ".h5":
        save_hdf5(path, {"x_train": colors(), "y_train": LABELS}, chunks=True, compression="gzip")
    elif suffix == ".mat":
        pytest.importorskip("scipy.io").savemat(
            path, {"X": colors(), "y": LABELS}, do_compression=data.draw(st.booleans())
        )
    elif suffix == ".npz":
        np.savez_compressed(path, x_train=colors(), y_train=LABELS)
    else:
        np.save(path, colors())
        np.save(tmp_path / "y.npy", LABELS)
    whole = path.read_bytes()
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 4))):
        broken[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(broken[: data.draw(st.integers(0, len(whole)))]))
    try:
        open_dataset(str(path))
    except ResnetCliError:
        return


def test_hdf5_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    save_hdf5(tmp_path / "secret.h5", {"images": colors(), "labels": LABELS})
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for key in ("images", "labels"):
            file[key] = h5py.ExternalLink("secret.h5", key)
    assert "no pair" in refused(tmp_path / "a.hdf5").message


def test_one_long_name_among_labels_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("h5py")
    monkeypatch.setattr(packed_sizes, "RATIO_FROM_BYTES", 100_000)
    names = ["cat", "dog"] * 500
    save_hdf5(tmp_path / "a.h5", {"images": colors(len(names)), "labels": names})
    assert open_dataset(str(tmp_path / "a.h5")).classes == ("cat", "dog")
    save_hdf5(tmp_path / "a.h5", {"images": colors(len(names)), "labels": [*names[:-1], "a" * 200_000]})
    assert "decompression bomb" in refused(tmp_path / "a.h5").message


def test_the_two_files_of_each_split_of_pcam_are_pairs(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        save_hdf5(tmp_path / f"camelyonpatch_level_2_split_{split}_x.h5", {"x": colors()}, chunks=True)
        save_hdf5(tmp_path / f"camelyonpatch_level_2_split_{split}_y.h5", {"y": LABELS.reshape(-1, 1, 1, 1)})
        save_hdf5(tmp_path / f"camelyonpatch_level_2_split_{split}_mask.h5", {"mask": colors()[..., :1]})
    assert set(counts(open_dataset(str(tmp_path)))) == {"train", "val", "test"}
    one = open_dataset(str(tmp_path / "camelyonpatch_level_2_split_valid_x.h5"))
    assert counts(one) == {"val": {"0": 3, "1": 2, "2": 2}}


def test_a_keras_model_is_no_data_set(tmp_path: Path) -> None:
    path = save_hdf5(tmp_path / "model.h5", {"model_weights/dense/x": colors(), "model_weights/dense/y": LABELS})
    assert "Keras model" in refused(path).message


def test_hdf5_without_h5py_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(SetupError, match="h5py") as caught:
        open_dataset(str(tmp_path / "a.h5"))
    assert caught.value.hint and "arrays" in caught.value.hint


@pytest.mark.parametrize("is_compressed", [True, False])
def test_svhn_has_its_axes_in_matlabs_order_and_ten_means_zero(tmp_path: Path, is_compressed: bool) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    labels = np.array([[10], [1], [2], [10], [1], [2], [9]], np.uint8)
    for split in ("train", "test", "extra"):
        arrays = {"X": colors().transpose(1, 2, 3, 0), "y": labels}
        savemat(tmp_path / f"{split}_32x32.mat", arrays, do_compression=is_compressed)
    dataset = open_dataset(str(tmp_path))
    assert counts(dataset)["train"] == counts(dataset)["test"] == {"0": 2, "1": 2, "2": 2, "9": 1}
    np.testing.assert_array_equal(pixels(dataset)["train/0000002"], colors()[2])
    assert not dataset.mirror_safe
    assert any("not used" in note for note in dataset.notes)


@pytest.mark.parametrize("is_compressed", [True, False])
@pytest.mark.parametrize("dtype", ["u1", "i2", "i8", "f4", "f8"])
def test_numbers_of_every_type_are_those_that_were_saved(tmp_path: Path, dtype: str, is_compressed: bool) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    values = {"a": np.arange(24).reshape(2, 3, 4).astype(dtype), "one": np.array([[7]], dtype), "longer_name": LABELS}
    other = {"cells": np.array(["x", "y"], dtype=object), "record": {"a": 1}, "z": np.array([1j]), "text": "abc"}
    savemat(tmp_path / "a.mat", values | other, do_compression=is_compressed)
    found = {array.key: array for array in open_arrays(tmp_path / "a.mat")}
    assert set(found) == set(values | other)
    for key, array in values.items():
        loaded = found[key].load()
        assert loaded.dtype == array.dtype and found[key].dtype == array.dtype
        np.testing.assert_array_equal(loaded, np.atleast_2d(array))
    assert all(found[key].dtype.kind == "O" for key in other)


def test_a_mat_array_with_fewer_values_than_its_shape_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    pytest.importorskip("scipy.io").savemat(path, {"X": colors(), "y": LABELS.astype(np.int64)})
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<2i", 1, 7), struct.pack("<2i", 1, 255)))
    assert "labels" in refused(path).message
    path.write_bytes(data.replace(struct.pack("<4i", *colors().shape), struct.pack("<4i", 7, SIDE_PX, 99, 3)))
    assert "not have as many values" in refused(path).message


def test_a_mat_file_of_version_7_3_has_the_reverse_order(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "train_32x32.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        # MATLAB's X [h x w x c x n] and y [n x 1].
        file["X"] = colors().transpose(1, 2, 3, 0).T
        file["y"] = LABELS[:, None].T
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    np.testing.assert_array_equal(pixels(open_dataset(str(path)))["train/0000003"], colors()[3])


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder: Path, prefix: str = "", suffix: str = "", digits: int = 10) -> NDArray[np.uint8]:
    labels = np.arange(12, dtype=np.uint8) % digits
    images = colors(12)[..., 0]
    for split, n in (("train", 12), ("t10k" if not prefix else "test", 5)):
        for role, array in (("images-idx3", images[:n]), ("labels-idx1", labels[:n])):
            data = idx_bytes(array)
            path = folder / f"{prefix}{split}-{role}-ubyte{suffix}"
            path.write_bytes(gzip.compress(data) if suffix else data)
    return images


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_files_are_paired_and_not_mirrored(tmp_path: Path, suffix: str) -> None:
    images = write_idx(tmp_path, suffix=suffix)
    dataset = open_dataset(str(tmp_path))
    assert dataset.classes == tuple("0123456789") and not dataset.mirror_safe
    assert {split: sum(c.values()) for split, c in counts(dataset).items()} == {"train": 12, "test": 5}
    np.testing.assert_array_equal(pixels(dataset)["train/0000007"][..., 2], images[7])
    alone = open_dataset(str(tmp_path / f"t10k-images-idx3-ubyte{suffix}"))
    assert set(counts(alone)) == {"test"}


def test_mnist_in_an_archive_and_under_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNET_CLI_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "fashion" / "raw"
    folder.mkdir(parents=True)
    write_idx(folder, suffix=".gz")
    with tarfile.open(tmp_path / "fashion.tar", "w") as tar:
        tar.add(folder, "FashionMNIST/raw")
    dataset = open_dataset(str(tmp_path / "fashion.tar"))
    assert len(dataset.items) == 17 and dataset.mirror_safe


def test_emnist_is_turned_upright_and_named_by_its_mapping(tmp_path: Path) -> None:
    images = write_idx(tmp_path, prefix="emnist-letters-", digits=3)
    (tmp_path / "emnist-letters-mapping.txt").write_text("0 65 97\n1 66 98\n2 67 99\n")
    dataset = open_dataset(str(tmp_path))
    assert dataset.classes == ("Aa", "Bb", "Cc") and not dataset.mirror_safe
    np.testing.assert_array_equal(pixels(dataset)["train/0000001"][..., 0], images[1].T)
    assert any("transposed" in note for note in dataset.notes)
    write_idx(tmp_path, prefix="emnist-digits-")
    assert "2 sets" in refused(tmp_path).message


@FUZZ
@given(data=st.data())
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_damaged_idx_files_raise_only_our_errors(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    write_idx(tmp_path, suffix=suffix)
    path = tmp_path / data.draw(
        st.sampled_from([f"train-images-idx3-ubyte{suffix}", f"t10k-labels-idx1-ubyte{suffix}"])
    )
    whole = path.read_bytes()
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 3))):
        broken[data.draw(st.integers(0, min(20, len(whole) - 1)))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(broken[: data.draw(st.integers(0, len(whole)))]))
    try:
        open_dataset(str(tmp_path))
    except DataError:
        return


def test_numbers_are_named_by_a_file_beside_the_arrays_and_stay_what_they_are(tmp_path: Path) -> None:
    write_idx(tmp_path)
    (tmp_path / "classes.txt").write_text("".join(f"digit_{n}\n" for n in range(10)))
    dataset = open_dataset(str(tmp_path))
    assert dataset.classes[3] == "digit_3" and not dataset.mirror_safe
    assert any("classes.txt" in note for note in dataset.notes)


def test_flags_of_tables_have_no_effect_on_arrays(tmp_path: Path) -> None:
    write_idx(tmp_path)
    saved(tmp_path / "b.npz", images=colors(), labels=LABELS)
    for path, flag in ((tmp_path / "train-images-idx3-ubyte", "label_column"), (tmp_path / "b.npz", "split_column")):
        with pytest.raises(ConfigError, match="no effect"):
            open_dataset(str(path), DataConfig.model_validate({flag: "x"}))


def test_a_missing_idx_file_is_named(tmp_path: Path) -> None:
    write_idx(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    error = refused(tmp_path)
    assert "t10k-images-idx3-ubyte" in error.message and error.hint and "t10k-labels-idx3-ubyte" in error.hint


def write_cifar(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        record = bytes([number]) + bytes(3072)
        (folder / f"{name}.bin").write_bytes(record * 2)
    (folder / "batches.meta.txt").write_text("\n".join(f"class{i}" for i in range(10)))


def test_the_binary_cifar_is_read_from_its_folder_and_its_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESNET_CLI_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data" / "cifar-10-batches-bin"
    write_cifar(folder)
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as tar:
        tar.add(folder, folder.name)
    for path in (folder, folder.parent, tmp_path / "cifar-10-binary.tar.gz"):
        assert counts(open_dataset(str(path))) == {
            "train": {f"class{i}": 2 for i in range(5)},
            "test": {"class5": 2},
        }
    (folder / "data_batch_3.bin").unlink()
    assert "data_batch_3.bin" in refused(folder).message


def test_the_pickled_cifar_is_refused_with_the_alternative(tmp_path: Path) -> None:
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        (tmp_path / name).write_bytes(b"\x80\x02}q\x01.")
    error = refused(tmp_path)
    assert "pickles" in error.message and error.hint and "resnet-cli finetune cifar10" in error.hint


def test_texts_cells_and_structures_of_a_mat_file_are_those_that_were_saved(tmp_path: Path) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    cells = np.array(["a", "bé", "c"], dtype=object)
    record = {"name": "x.jpg", "number": 3, "inner": {"list": [1, 2]}}
    records = np.array([(1, "x.jpg"), (2, "y.jpg")], dtype=[("class", "O"), ("fname", "O")])
    rows = np.array(["one", "two"])
    savemat(tmp_path / "a.mat", {"cells": cells, "record": record, "records": records, "rows": rows, "z": np.zeros(0)})
    found = read_mat_variables(tmp_path / "a.mat")
    assert found["cells"] == ["a", "bé", "c"] and found["rows"] == ["one", "two"] and not len(found["z"])
    assert found["record"]["name"] == "x.jpg" and found["record"]["number"] == 3
    assert found["record"]["inner"]["list"].tolist() == [1, 2]
    assert found["records"] == [{"class": 1, "fname": "x.jpg"}, {"class": 2, "fname": "y.jpg"}]


@FUZZ
@given(data=st.data())
def test_damaged_variables_of_a_mat_file_raise_only_our_errors(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "a.mat"
    savemat = pytest.importorskip("scipy.io").savemat
    savemat(path, {"cells": np.array(["a", "b"], dtype=object), "record": {"a": 1, "b": {"c": "text"}}, "z": [1j]})
    broken = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        broken[data.draw(st.integers(128, len(broken) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(broken[: data.draw(st.integers(128, len(broken)))]))
    try:
        read_mat_variables(path)
    except DataError:
        return


def test_a_container_with_less_memory_than_its_machine_refuses_larger_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "images.npz", x_train=colors(), y_train=LABELS)
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(files, "_CONTAINER_LIMITS", (limit,))
    limit.write_text("max\n")
    assert len(open_dataset(str(path)).items) == len(LABELS)
    limit.write_text("1000\n")
    assert "more than the limit of 500 B" in refused(path).message
