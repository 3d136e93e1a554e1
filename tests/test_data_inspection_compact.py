"""Results of an inspection in arrays say the same as lists of their elements, in bounded memory."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from resnet_cli.data.dataset import Dataset, Item, Split
from resnet_cli.data.inspection import index, row_table, scan
from resnet_cli.data.inspection.compact import Groups, Made, NearPair, NearPairs, Numbers, connected_with
from resnet_cli.data.inspection.index import Index, ScannedImage
from resnet_cli.data.inspection.inspect import Inspection, inspect_images
from resnet_cli.data.inspection.label_sets import contradict
from resnet_cli.data.inspection.row_table import RowTable
from resnet_cli.data.inspection.scanned import ScannedImages
from resnet_cli.data.splits import connected
from resnet_cli.errors import Interrupted
from resnet_cli.text import json_chunks, json_line, plain

#: Bytes per image of a scan.
MAX_BYTES = 100

RECORDS = st.lists(
    st.builds(
        ScannedImage,
        sha256=st.binary(max_size=32),
        num_bytes=st.integers(0, 2**40),
        width=st.integers(0, 60_000),
        height=st.integers(0, 60_000),
        format=st.sampled_from(["", "JPEG", "PNG"]),
        mode=st.sampled_from(["", "RGB", "I;16", "CMYK"]),
        orientation=st.integers(1, 8),
        transparent=st.booleans(),
        signature=st.sampled_from([b"", bytes(range(152)) * 2]),
        darkest=st.integers(0, 255),
        lightest=st.integers(0, 255),
        contrast=st.integers(0, 255),
        sharpness=st.integers(0, 3000).map(lambda number: number / 1000),
        error=st.sampled_from(["", "damaged", "the file is empty"]),
        bit_depth=st.sampled_from([0, 8, 12, 16]),
        pixels=st.sampled_from([b"", b"\0" * 8, b"12345678"]),
    ),
    max_size=20,
)


@given(RECORDS, st.data())
def test_records_in_arrays_are_the_records(records: list[ScannedImage], data: st.DataObject) -> None:
    images = ScannedImages.of(records)
    assert images == records and list(images) == records and images[:3] == records[:3]
    positions = data.draw(st.lists(st.sampled_from(range(len(records))), max_size=9) if records else st.just([]))
    taken = images.take(positions)
    assert taken == [records[at] for at in positions]
    assert taken.take(range(len(positions))[::-1]) == [records[at] for at in reversed(positions)]
    assert dict(images.errors()) == {at: record.error for at, record in enumerate(records) if record.error}
    assert [row.tobytes() for row in images.digests] == [record.sha256.ljust(32, b"\0") for record in records]
    kept = ScannedImages(len(records) + 1, signatures=False)
    kept.put(range(1, len(records) + 1), images)
    assert kept[1:] == [record._replace(signature=b"") for record in records]


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 6))
def test_groups_of_equal_keys_are_in_the_order_of_their_first_members(keys: list[int], num_heads: int) -> None:
    expected: dict[int, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        expected[key].append(position)
    values = np.array([[key, 1] for key in keys], np.uint64).reshape(-1, 2)
    # Different keys may have equal heads.
    found = Groups.of_equal(values[:, 0] % np.uint64(num_heads), values.__getitem__, np.arange(len(keys)))
    assert found == [tuple(group) for group in expected.values() if len(group) > 1]
    assert found.num_extra == sum(len(group) - 1 for group in found)
    assert [tuple(found.at(int(of))) if of >= 0 else () for of in found.group_of(len(keys))] == [
        tuple(expected[key]) if len(expected[key]) > 1 else () for key in keys
    ]


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=25))
def test_connected_positions_have_the_same_smallest_one(pairs: list[tuple[int, int]]) -> None:
    ends = np.array(pairs, int).reshape(-1, 2)
    expected = np.arange(20)
    for block in connected(pairs):
        expected[block] = block[0]
    assert (connected_with(20, ends[:, 0], ends[:, 1]) == expected).all()


MEMBERS = st.lists(
    st.tuples(st.sampled_from(["train", "val"]), st.sets(st.integers(0, 2)), st.sets(st.integers(0, 2))),
    min_size=4,
    max_size=12,
)


@given(MEMBERS, st.data())
def test_leaks_are_those_of_comparing_every_copy_with_every_other(
    members: list[tuple[Split, set[int], set[int]]], data: st.DataObject
) -> None:
    items = [
        Item(str(at), b"", tuple(sorted(labels)), split, unknown=tuple(sorted(unknown - labels)))
        for at, (split, labels, unknown) in enumerate(members)
    ]
    contents = data.draw(st.lists(st.integers(0, 4), min_size=len(items), max_size=len(items)))
    by_content: dict[int, list[int]] = defaultdict(list)
    for at, content in enumerate(contents):
        by_content[content].append(at)
    firsts = sorted(group[0] for group in by_content.values())
    near = [pair for pair in itertools.combinations(firsts, 2) if data.draw(st.booleans())]
    groups = [tuple(group) for group in by_content.values() if len(group) > 1]
    inspection = Inspection(
        Dataset("x", "x", ("a", "b", "c"), tuple(items), "multi-label"),
        ScannedImages.of(ScannedImage(bytes([content]), 1, 9, 9) for content in contents),
        Groups.of(groups),
        NearPairs.of([NearPair(*pair, 0.9) for pair in near]),
        "look",
    )

    def found(differ: object) -> list[Sequence[int]]:
        apart = [group for group in groups if any(differ(items[a], items[b]) for a in group for b in group)]  # type: ignore[operator]
        copies = {at: by_content[contents[at]] for at in firsts}
        both = (
            [(a, b) for a in copies[first] for b in copies[second] if differ(items[a], items[b])]  # type: ignore[operator]
            for first, second in near
        )
        return [*apart, *(pairs[0] for pairs in both if pairs)]

    assert [leak.positions for leak in inspection.leaks] == found(lambda one, other: one.split != other.split)
    assert [leak.positions for leak in inspection.label_conflicts] == found(contradict)


def test_a_table_in_a_file_gives_the_rows_that_one_in_memory_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, 256, (300, 7), np.uint8)
    monkeypatch.setattr(row_table, "MAX_IN_MEMORY", 0)
    table = RowTable(len(values) + 5, 7)
    for start in (200, 0, 100):
        table.write(start, values[start : start + 100])
    expected = np.concatenate([values, np.zeros((5, 7), np.uint8)])
    assert (table[:] == expected).all() and (table[290:] == expected[290:]).all()
    for rows in ([3], [299, 0, 304, 0, 7, 8], [], range(0, 300, 3)):
        assert (table[np.array(rows, int)] == expected[np.array(rows, int)]).all()


def test_json_in_parts_is_the_json_of_the_whole() -> None:
    long = Made(3000, lambda at: {"path": f"\u00e9{at}"})
    values = {"n": 1, "long": long, "none": Made(0, str), "of": {"x": Numbers(np.arange(2)), "y": []}, "text": "a"}
    whole = {"n": 1, "long": list(long), "none": [], "of": {"x": [0, 1], "y": []}, "text": "a"}
    assert "".join(json_chunks(values)) == json_line(whole) and plain(values) == whole
    line = "".join(json_chunks({"odd": Made(1, lambda _: "\udcff"), "\u00e9": "\u00e9"}))
    assert json.loads(line.encode()) == {"odd": ["\udcff"], "\u00e9": "\u00e9"}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    # Otherwise nothing that a test has just written would be cached.
    monkeypatch.setattr(index, "RACY_NS", 0)
    paths = [tmp_path / f"{number}.png" for number in range(7)]
    for number, path in enumerate(paths):
        Image.new("RGB", (4 + number, 5), (number, 0, 0)).save(path)
    return paths


def test_a_scan_in_blocks_is_the_scan_of_all(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    items = [Item(path.name, path) for path in [*files, files[0].with_name("gone.png")]]
    expected = [scan.scan_image(item) for item in items]
    monkeypatch.setattr(scan, "BLOCK_ITEMS", 3)
    seen: list[tuple[int, int]] = []

    def interrupt(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        scan.scan(items, on_progress=interrupt)
    with Index() as known:
        assert len(known.load([index.stamp_file(path, items[0].max_pixels) for path in files])) == 5
    assert scan.scan(items, on_progress=lambda *now: seen.append(now)) == expected
    assert seen == [(6, 8), (7, 8), (8, 8)]


def test_memory_grows_by_a_hundred_bytes_per_image(files: list[Path]) -> None:
    """Names for one file: their records come from the index, as those of a million files in a later command."""
    scan.scan([Item("first", files[0])])
    peaks = []
    for num in (5_000, 10_000):
        items = [Item("x", files[0], (0,))] * num
        tracemalloc.start()
        images = scan.scan(items, signatures=False)
        held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(images) == num and held < MAX_BYTES * num
        peaks.append(peak)
    assert peaks[1] - peaks[0] < MAX_BYTES * 5_000


def test_many_copies_are_one_group_and_no_pairs() -> None:
    record = ScannedImage(b"x", 1, 9, 9, signature=bytes(range(152)) * 2)
    num = 5_000
    dataset = Dataset("x", "x", ("a", "b"), tuple(Item(str(at), b"", (at % 2,)) for at in range(num)))
    inspection = inspect_images(dataset, [record] * num)
    assert len(inspection.exact) == 1 and not inspection.near
    assert [len(leak.positions) for leak in inspection.label_conflicts] == [num]
