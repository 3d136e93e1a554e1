"""Groups: images of one patient, scene or film always stay in one of the splits that are made here."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset, Item, Split
from resnet_cli.data.sources.labeled import group_items
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.data.splits import complete_splits, limit_train
from resnet_cli.errors import ConfigError, DataError

MakeFolder = Callable[..., Path]
#: Label and group of each image; an empty group means no group.
Member = tuple[int, str]
CLASSES = "abcd"


TRAIN: Sequence[Split] = ("train",) * 50_000


def grouped(members: Sequence[Member], splits: Sequence[Split] = ()) -> Dataset:
    """A data set of names only: splitting opens no file."""
    used = sorted({label for label, _ in members})
    items = tuple(
        Item(f"{CLASSES[label]}/{index}.jpg", Path("nowhere"), (used.index(label),), split, group)
        for index, ((label, group), split) in enumerate(zip(members, splits or TRAIN, strict=False))
    )
    return Dataset("photos", "photos", tuple(CLASSES[label] for label in used), items)


def split_of(dataset: Dataset) -> dict[str, Split]:
    return {item.name: item.split for item in dataset.items}


def splits_of_groups(dataset: Dataset) -> dict[str, set[Split]]:
    found: dict[str, set[Split]] = defaultdict(set)
    for item in dataset.items:
        if item.group:
            found[item.group].add(item.split)
    return found


def assert_whole(before: Dataset, after: Dataset) -> None:
    """No image is lost, every class has training and validation images, and every group is in one split."""
    assert [dataclasses.replace(item, split="train") for item in after.items] == [
        dataclasses.replace(item, split="train") for item in before.items
    ]
    counts = after.counts()
    assert min(counts["train"]) >= 1 and min(counts["val"]) >= 1
    assert all(len(splits) == 1 for splits in splits_of_groups(after).values())


MEMBERS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["", *"uvwxyz"])), min_size=2, max_size=60)


@given(members=MEMBERS, val_fraction=st.floats(0.01, 0.49), seed=st.integers(0, 9))
def test_any_groups_are_kept_whole_or_refused_with_a_way_out(
    members: list[Member], val_fraction: float, seed: int
) -> None:
    before = grouped(members)
    try:
        after = complete_splits(before, val_fraction=val_fraction, seed=seed)
    except DataError as error:
        assert error.hint
    else:
        assert_whole(before, after)


@given(members=MEMBERS, seed=st.integers(0, 9), data=st.data())
def test_what_is_to_stay_together_does_whatever_its_groups(
    members: list[Member], seed: int, data: st.DataObject
) -> None:
    before = grouped(members)
    positions = st.integers(0, len(members) - 1)
    together = data.draw(st.lists(st.lists(positions, min_size=2, max_size=4, unique=True), max_size=5))
    try:
        after = complete_splits(before, val_fraction=0.2, seed=seed, together=together)
    except DataError as error:
        assert error.hint
    else:
        assert_whole(before, after)
        assert all(len({after.items[index].split for index in copies}) == 1 for copies in together)


#: Class -> sizes of its groups.
SIZES = st.dictionaries(st.integers(0, 3), st.lists(st.integers(1, 6), min_size=2, max_size=30), min_size=2)


def of_sizes(sizes: Mapping[int, Sequence[int]]) -> list[Member]:
    return [
        (label, f"{label}/{number}")
        for label, groups in sizes.items()
        for number, size in enumerate(groups)
        for _ in range(size)
    ]


@given(sizes=SIZES, val_fraction=st.floats(0.01, 0.49), seed=st.integers(0, 9))
def test_two_groups_of_each_class_are_enough(sizes: dict[int, list[int]], val_fraction: float, seed: int) -> None:
    """Groups whose images have one class, such as patients with one diagnosis."""
    if any(sum(groups) < 2 for groups in sizes.values()):
        return
    before = grouped(of_sizes(sizes))
    assert_whole(before, complete_splits(before, val_fraction=val_fraction, seed=seed))


@given(sizes=SIZES, val_fraction=st.floats(0.05, 0.3), seed=st.integers(0, 9))
def test_small_groups_come_near_the_share_that_is_asked_for(
    sizes: dict[int, list[int]], val_fraction: float, seed: int
) -> None:
    many = {label: [*groups, *([1, 2, 3] * 5)] for label, groups in sizes.items()}
    after = complete_splits(grouped(of_sizes(many)), val_fraction=val_fraction, seed=seed)
    for label, groups in zip(range(len(after.classes)), (many[label] for label in sorted(many)), strict=True):
        for split in ("val", "test"):
            held_out = after.counts()[split][label]
            assert abs(held_out - val_fraction * sum(groups)) <= max(groups)


@given(members=MEMBERS, seed=st.integers(0, 9))
def test_the_split_is_a_function_of_seed_and_names(members: list[Member], seed: int) -> None:
    dataset = grouped(members)
    backwards = dataclasses.replace(dataset, items=dataset.items[::-1])
    try:
        split = split_of(complete_splits(dataset, val_fraction=0.2, seed=seed))
    except DataError:
        with pytest.raises(DataError):
            complete_splits(backwards, val_fraction=0.2, seed=seed)
    else:
        assert split == split_of(complete_splits(backwards, val_fraction=0.2, seed=seed))


@given(sizes=SIZES, seed=st.integers(0, 9))
def test_one_more_image_of_a_group_moves_hardly_any_other(sizes: dict[int, list[int]], seed: int) -> None:
    many = {label: [*groups, *([2] * 10)] for label, groups in sizes.items()}
    grown = grouped([*of_sizes(many), (min(many), f"{min(many)}/0")])
    before = dataclasses.replace(grown, items=grown.items[:-1])
    was, now = (split_of(complete_splits(dataset, val_fraction=0.2, seed=seed)) for dataset in (before, grown))
    moved = {item.group for item in before.items if was[item.name] != now[item.name]}
    # The groups that fill a share, and none of other classes.
    assert len(moved) <= 6 and all(group.startswith(f"{min(many)}/") for group in moved)


@given(counts=st.lists(st.integers(2, 40), min_size=2, max_size=4), seed=st.integers(0, 9))
def test_a_group_of_one_is_split_as_no_group(counts: list[int], seed: int) -> None:
    """Adding ``--group-by`` to data where every group is one image does not change the split."""
    alone = grouped([(label, "") for label, count in enumerate(counts) for _ in range(count)])
    named = dataclasses.replace(alone, items=tuple(dataclasses.replace(item, group=item.name) for item in alone.items))
    splits = [split_of(complete_splits(dataset, val_fraction=0.2, seed=seed)) for dataset in (alone, named)]
    assert splits[0] == splits[1]


@pytest.mark.parametrize("seed", range(20))
def test_what_a_class_gives_to_the_test_split_leaves_others_something_to_validate_with(seed: int) -> None:
    """A film with both classes must not become test data if one class has nothing else for validation."""
    films = [(0, f"only a {number}") for number in range(8)] + [(0, "both"), (1, "both"), (1, "only b")]
    before = grouped(films)
    assert_whole(before, complete_splits(before, val_fraction=0.3, seed=seed))


@pytest.mark.parametrize(
    "members",
    [
        [(0, "x"), (0, "x"), (1, "y"), (1, "z")],
        [(0, "x"), (0, "x"), (0, "x"), (1, ""), (1, "")],
        [(0, "x"), (1, "x"), (0, "x"), (1, "x")],
    ],
    ids=["one class of one group", "beside no groups", "all of one group"],
)
def test_a_class_that_is_all_one_group_is_named(members: list[Member]) -> None:
    with pytest.raises(DataError, match="the class 'a' are all in one group") as caught:
        complete_splits(grouped(members), val_fraction=0.2, seed=0)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("splits", "torn"),
    [
        (("train", "val", "train", "val", "train"), "train and in val"),
        (("train", "test", "train", "train", "train"), "train and in test"),
        (("val", "test", "train", "train", "train"), "val and in test"),
    ],
)
def test_a_group_that_the_source_tears_is_named(splits: tuple[Split, ...], torn: str) -> None:
    dataset = grouped([(0, "x"), (0, "x"), (0, ""), (1, ""), (1, "")], splits)
    dataset = dataclasses.replace(
        dataset, items=(*dataset.items, *(Item(f"more/{i}.jpg", Path("x"), (i % 2,)) for i in range(6)))
    )
    with pytest.raises(DataError, match=f"the group 'x' is in {torn}") as caught:
        complete_splits(dataset, val_fraction=0.2, seed=0)
    assert "--group-by" in (caught.value.hint or "")


def test_a_test_split_that_is_there_keeps_its_groups_and_the_others_are_kept_whole() -> None:
    members = [(label, f"{label}{number}") for label in (0, 1) for number in range(10) for _ in range(3)]
    splits: list[Split] = ["test" if group.endswith("9") else "train" for _, group in members]
    before = grouped(members, splits)
    after = complete_splits(before, val_fraction=0.2, seed=0)
    assert_whole(before, after)
    assert after.split("test") == before.split("test")
    assert "groups kept together" in after.split_note


def test_copies_hold_two_groups_together() -> None:
    members = [(label, f"{label}{number}") for label in (0, 1) for number in range(6) for _ in range(2)]
    for seed in range(10):
        after = complete_splits(grouped(members), val_fraction=0.2, seed=seed, together=[(0, 2), (3, 5), (12, 14)])
        splits = splits_of_groups(after)
        assert splits["00"] == splits["01"] == splits["02"] and splits["10"] == splits["11"]


def test_a_chain_of_copies_through_the_test_split_holds_train_images_together() -> None:
    members = [(label, "") for label in (0, 1) for _ in range(8)]
    splits: list[Split] = ["test" if index in (0, 8) else "train" for index in range(16)]
    for seed in range(10):
        after = complete_splits(grouped(members, splits), val_fraction=0.2, seed=seed, together=[(1, 0), (0, 2)])
        assert after.items[0].split == "test"
        assert after.items[1].split == after.items[2].split != "test"


def test_no_groups_are_as_good_as_none_named() -> None:
    members = [(label, "") for label in (0, 1) for _ in range(20)]
    after = complete_splits(grouped(members), val_fraction=0.2, seed=0)
    assert "groups" not in after.split_note
    assert after.counts()["val"] == [4, 4]


@pytest.mark.slow
def test_fifty_thousand_images_in_ten_thousand_groups_are_no_problem() -> None:
    """Quadratic work would take hours."""
    members = [(index % 4, f"group {index // 5}") for index in range(50_000)]
    before = grouped(members)
    chain = [(index, index + 5) for index in range(0, 5_000, 5)]
    after = complete_splits(before, val_fraction=0.1, seed=0, together=chain)
    assert_whole(before, after)
    share = Counter(item.split for item in after.items)
    assert abs(share["val"] - 5_000) < 250 and abs(share["test"] - 5_000) < 250


def test_a_limit_takes_from_groups_without_moving_them() -> None:
    members = [(label, f"{label}{number}") for label in (0, 1) for number in range(10) for _ in range(4)]
    whole = complete_splits(grouped(members), val_fraction=0.2, seed=0)
    small = limit_train(whole, 10, seed=0)
    assert split_of(small).items() <= split_of(whole).items()
    assert all(len(splits) == 1 for splits in splits_of_groups(small).values())


# --group-by


def groups(dataset: Dataset) -> dict[str, str]:
    return {item.name: item.group for item in dataset.items}


def test_a_parent_folder_is_a_group(make_folder: MakeFolder) -> None:
    folder = make_folder({"cat/anna": 2, "cat/ben": 1, "dog/anna": 1, "dog/carl": 2}, name="pets")
    dataset = open_dataset(str(folder), DataConfig(group_by="parent"))
    # The whole path: patients with the same name in two classes are different.
    assert groups(dataset) == {item.name: item.name.rpartition("/")[0] for item in dataset.items}
    assert len(set(groups(dataset).values())) == 4


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("film([0-9]+)", "7"), ("film[0-9]+", "film7"), ("(film)(7)", "film"), ("(?:film)(?P<number>.)", "7")],
)
def test_an_expression_finds_the_group_in_the_whole_name(pattern: str, expected: str) -> None:
    items = (Item("cat/film7/1.jpg", Path("x")), Item("dog/other.jpg", Path("x"), (1,)))
    dataset = group_items(Dataset("pets", "pets", ("cat", "dog"), items), pattern)
    # Images that do not match are not grouped.
    assert [item.group for item in dataset.items] == [expected, ""]


def test_a_column_is_a_group_in_whatever_case(make_folder: MakeFolder) -> None:
    folder = make_folder({"cat": 2, "dog": 2}, name="pets")
    rows = [f"{path.relative_to(folder).as_posix()},{path.parent.name},P{i % 2}" for i, path in table_order(folder)]
    table = folder / "labels.csv"
    table.write_text("\n".join(["image,label,Patient ID", *rows]))
    for name in ("Patient ID", "patient id", " Patient ID"):
        dataset = open_dataset(str(table), DataConfig(group_by=name))
        assert sorted(groups(dataset).values()) == ["P0", "P0", "P1", "P1"]
    # A column takes precedence over the word `parent`.
    table.write_text("\n".join(["image,label,parent", *rows]))
    assert set(groups(open_dataset(str(folder), DataConfig(group_by="parent"))).values()) == {"P0", "P1"}


def table_order(folder: Path) -> list[tuple[int, Path]]:
    return list(enumerate(sorted(folder.rglob("*.jpg"))))


def test_a_tables_group_column_holds_without_being_asked_for_and_gives_way_when_another_is(
    make_folder: MakeFolder,
) -> None:
    folder = make_folder({"cat/x": 2, "dog/y": 2}, name="pets")
    rows = [f"{path.relative_to(folder).as_posix()},{path.parts[-3]},g{i}" for i, path in table_order(folder)]
    (folder / "labels.csv").write_text("\n".join(["image,label,group", *rows]))
    assert sorted(groups(open_dataset(str(folder))).values()) == ["g0", "g1", "g2", "g3"]
    by_folder = open_dataset(str(folder), DataConfig(group_by="parent"))
    assert set(groups(by_folder).values()) == {"cat/x", "dog/y"}
    by_name = open_dataset(str(folder), DataConfig(group_by="00(.)"))
    assert set(groups(by_name).values()) == {"0", "1"}


@pytest.mark.parametrize(("group_by", "error"), [("patient", DataError), ("(", ConfigError), ("[", ConfigError)])
def test_what_groups_nothing_is_refused(
    make_folder: MakeFolder, group_by: str, error: type[DataError] | type[ConfigError]
) -> None:
    folder = make_folder({"cat": 2, "dog": 2}, name="pets")
    with pytest.raises(error, match="--group-by") as caught:
        open_dataset(str(folder), DataConfig(group_by=group_by))
    assert "parent" in (caught.value.hint or "")


def test_an_empty_column_groups_nothing(make_folder: MakeFolder) -> None:
    folder = make_folder({"cat": 2, "dog": 2}, name="pets")
    rows = [f"{path.relative_to(folder).as_posix()},{path.parent.name}," for _, path in table_order(folder)]
    (folder / "labels.csv").write_text("\n".join(["image,label,patient", *rows]))
    with pytest.raises(DataError, match="--group-by patient"):
        open_dataset(str(folder), DataConfig(group_by="patient"))


def test_groups_by_parent_of_class_folders_cannot_be_split(make_folder: MakeFolder) -> None:
    dataset = open_dataset(str(make_folder({"cat": 9, "dog": 9})), DataConfig(group_by="parent"))
    with pytest.raises(DataError, match="the class 'cat' are all in one group"):
        complete_splits(dataset, val_fraction=0.2, seed=0)


def test_grouped_classes_can_be_chosen(make_folder: MakeFolder) -> None:
    folder = make_folder({"cat/x": 1, "cat/y": 1, "dog/x": 1, "dog/y": 1, "owl": 4}, name="pets")
    options = DataConfig(group_by="parent", classes=("dog", "cat"))
    before = open_dataset(str(folder), options)
    assert_whole(before, complete_splits(before, val_fraction=0.2, seed=0))
