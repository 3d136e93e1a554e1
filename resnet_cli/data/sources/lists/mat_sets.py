"""Data sets whose labels are in MATLAB files: ImageNet's development kit, Oxford Flowers 102 and Stanford Cars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.lists.images import ImageNames
from resnet_cli.data.sources.lists.labels import LocatedList, OfficialSet, locate_list, with_class_folders
from resnet_cli.data.sources.lists.lines import Entry
from resnet_cli.data.sources.lists.mat_lists import integers, read_mat, texts
from resnet_cli.data.sources.lists.split_lists import list_folders
from resnet_cli.data.sources.survey import Survey
from resnet_cli.data.sources.tables.formats import lines_of
from resnet_cli.errors import DataError

#: Variable of Flowers' ``setid.mat`` -> split. Source: torchvision/datasets/flowers102.py.
_FLOWERS_SPLITS = {"trnid": "train", "valid": "val", "tstid": "test"}


def _files(survey: Survey) -> dict[str, Path]:
    """The MATLAB files of DATA by name; of files with the same name, the first."""
    found: dict[str, Path] = {}
    for folder, names in list_folders(survey):
        for name in names:
            if name.lower().endswith(".mat"):
                found.setdefault(name.lower(), folder / name)
    return found


def read_imagenet_devkit(survey: Survey, images: ImageNames, options: DataConfig) -> OfficialSet | None:
    """Reads ImageNet's validation labels: ``ILSVRC2012_validation_ground_truth.txt`` and ``meta.mat``.

    Line n of the first is the class of the n-th validation image as an ID that the second explains.

    Source: torchvision/datasets/imagenet.py.

    Raises:
        DataError: A file is damaged.
    """
    name = "ILSVRC2012_validation_ground_truth.txt"
    folder = next((path for path, names in list_folders(survey) if name in names and "meta.mat" in names), None)
    if folder is None:
        return None
    synsets: Any = read_mat(folder / "meta.mat").get("synsets", [])
    records = [synsets] if isinstance(synsets, dict) else list(synsets) if hasattr(synsets, "__iter__") else []
    records = [record for record in records if isinstance(record, dict)]
    wnid = {str(record.get("ILSVRC2012_ID")): str(record.get("WNID")) for record in records}
    entries = [
        Entry(f"ILSVRC2012_val_{number:08d}.JPEG", wnid.get(line.strip(), ""), number)
        for number, line in lines_of(folder / name)
    ]
    if unknown := next((entry for entry in entries if not entry.label), None):
        raise DataError(
            f"{folder / name}, line {unknown.line}: not an ID of a class in meta.mat", hint="download it again"
        )
    held_out = locate_list(folder / name, "val", entries, images)
    return with_class_folders(held_out, ("train",), survey) if held_out.entries else None


def read_flowers(survey: Survey, images: ImageNames, options: DataConfig) -> OfficialSet | None:
    """Reads Oxford Flowers 102: ``imagelabels.mat``, ``setid.mat`` and ``image_00001.jpg`` to ``image_08189.jpg``.

    Raises:
        DataError: A file is damaged.
    """
    path = _files(survey).get("imagelabels.mat")
    if path is None:
        return None
    labels = integers(read_mat(path).get("labels"))
    if not labels:
        raise DataError(f"{path}: has no array 'labels' of numbers", hint="it is damaged; download it again")
    entries = [Entry(f"image_{line:05d}.jpg", str(label), line) for line, label in enumerate(labels, 1)]
    split_path = path.parent / "setid.mat"
    sets = read_mat(split_path) if split_path.is_file() else {}
    ids = {split: integers(sets.get(name)) for name, split in _FLOWERS_SPLITS.items()}
    notes = ["classes are the numbers of imagelabels.mat"]
    if not all(ids.values()):
        notes.append("setid.mat does not give all three splits and is not used")
        ids = {"": list(range(1, len(labels) + 1))}
    lists = []
    for split, numbers in ids.items():
        if not all(0 < number <= len(labels) for number in numbers):
            raise DataError(f"{split_path}: has numbers outside 1 to {len(labels):,}", hint="download it again")
        listed = locate_list(split_path if split else path, split, [entries[number - 1] for number in numbers], images)
        lists += [listed] if listed.entries else []
    return OfficialSet(tuple(lists), tuple(notes)) if lists else None


def read_stanford_cars(survey: Survey, images: ImageNames, options: DataConfig) -> OfficialSet | None:
    """Reads Stanford Cars: ``cars_train_annos.mat``, ``cars_test_annos_withlabels.mat`` and ``cars_meta.mat``.

    Source: torchvision/datasets/stanford_cars.py.

    Raises:
        DataError: A file is damaged.
    """
    files = _files(survey)
    found = {"train": files.get("cars_train_annos.mat"), "test": files.get("cars_test_annos_withlabels.mat")}
    names = texts(read_mat(files["cars_meta.mat"]).get("class_names")) if "cars_meta.mat" in files else []
    lists: list[LocatedList] = []
    notes = [] if names else ["classes are numbers: there is no cars_meta.mat with their names"]
    for split, path in found.items():
        if path is None:
            continue
        entries = [
            Entry(f"cars_{split}/{record['fname']}", _class_name(path, record, names), line)
            for line, record in enumerate(_records(path), 1)
        ]
        listed = locate_list(path, split, entries, images)
        lists += [listed] if listed.entries else []
    if lists and found["test"] is None:
        notes.append("the test images have no labels without cars_test_annos_withlabels.mat")
    return OfficialSet(tuple(lists), tuple(notes)) if lists else None


def _records(path: Path) -> list[dict[str, Any]]:
    value: Any = read_mat(path).get("annotations", [])
    records: list[Any] = [value] if isinstance(value, dict) else list(value) if hasattr(value, "__iter__") else []
    if not records or not all(isinstance(record, dict) and {"class", "fname"} <= record.keys() for record in records):
        raise DataError(f"{path}: has no annotations with 'class' and 'fname'", hint="it is damaged; download it again")
    return records


def _class_name(path: Path, record: dict[str, Any], names: list[str]) -> str:
    numbers = integers(record["class"])
    if len(numbers) != 1 or (names and not 0 < numbers[0] <= len(names)):
        raise DataError(f"{path}: the class {record['class']} is not one of {len(names)}", hint="download it again")
    return names[numbers[0] - 1].strip() if names else str(numbers[0])
