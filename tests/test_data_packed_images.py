"""Packed images against a plain list: the same images, in a tenth of the memory."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import pickle
import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from resnet_cli.data.blocks import blocks_of
from resnet_cli.data.dataset import SPLITS, Dataset, Item, Items, targets_of
from resnet_cli.data.packed_text import PackedText, TextIndex
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.data.split_files import split_csv
from resnet_cli.data.splits import complete_splits, connected, limit_train
from resnet_cli.task import TaskName

PIXELS = np.zeros((1, 1, 3), dtype=np.uint8)
NAMES = st.text(st.characters(codec=None), min_size=1, max_size=12).filter(lambda name: name.strip("/."))
SOURCES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([Path("a/b.jpg"), Path("/top/a/b.jpg"), Path("x"), b"data", PIXELS]),
    st.just("below"),
    st.just("self"),
)


@st.composite
def items(draw: st.DrawFn) -> Item:
    name, source = draw(NAMES), draw(SOURCES)
    if isinstance(source, str):
        source = Path(name.replace("\0", "_")) if source == "self" else Path(f"/top/{name}".replace("\0", "_"))
    numbers = st.lists(st.integers(0, 3), max_size=2, unique=True).map(tuple)
    split = draw(st.sampled_from(SPLITS))
    return Item(name, source, draw(numbers), split, draw(st.sampled_from(["", "g", "h"])), 99, draw(numbers))


@given(st.lists(items(), max_size=8), st.data())
@settings(max_examples=60, deadline=None)
def test_packed_items_are_those_of_a_list(found: list[Item], data: st.DataObject) -> None:
    packed = Items.of(found)
    assert len(packed) == len(found) and list(packed) == found and packed == found and packed == tuple(found)
    assert list(packed.names) == [item.name for item in found]
    assert [packed[at] for at in range(-len(found), len(found))] == found + found
    part = data.draw(st.slices(len(found)))
    assert packed[part] == found[part] and packed[part].positions_of(packed[part]).tolist() == [
        *range(len(found[part]))
    ]
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(found), max_size=len(found))), dtype=bool)
    kept = [item for item, is_kept in zip(found, mask, strict=True) if is_kept]
    taken = packed.take(mask)
    assert taken == kept and packed.positions_of(taken).tolist() == np.flatnonzero(mask).tolist()
    assert taken.are_files == all(isinstance(item.source, Path) for item in kept)
    assert taken.has_groups == any(item.group for item in kept)
    assert targets_of(taken, "multi-label", 4).tolist() == targets_of(kept, "multi-label", 4).tolist()
    with pytest.raises(IndexError):
        packed[len(found)]


@given(st.lists(NAMES | st.sampled_from(["a/x", "a/y", "b/x", "x"]), max_size=20), st.lists(NAMES, max_size=5))
@settings(max_examples=50, deadline=None)
def test_packed_strings_are_found_where_they_are(texts: list[str], others: list[str]) -> None:
    packed = PackedText(texts).all()
    assert list(packed) == texts == [packed[at] for at in range(len(texts))]
    last = {text: at for at, text in enumerate(texts)}
    wanted = [*others, *texts]
    assert TextIndex(packed).find(wanted).tolist() == [last.get(text, -1) for text in wanted]


def test_a_selection_keeps_the_sources_and_can_be_pickled() -> None:
    found = [Item("a/1.jpg", b"one", (0,)), Item("b/2.jpg", PIXELS, (1,)), Item("b/3.jpg", Path("/x/b/3.jpg"), (1,))]
    packed = Items.of(found)
    assert packed[0].source is found[0].source and packed[1].source is PIXELS
    assert [item.name for item in pickle.loads(pickle.dumps(packed.take([2, 0])))] == ["b/3.jpg", "a/1.jpg"]
    with pytest.raises(ValueError, match="another sequence"):
        packed[:1].positions_of(packed)


def _random(seed: int, *, multi: bool) -> tuple[Dataset, list[list[int]], list[bytes]]:
    r = random.Random(seed)
    found = []
    for number in range(60):
        labels = tuple(sorted(r.sample(range(3), r.randint(0, 3)))) if multi else (r.randrange(3),)
        group = r.choice(["", "", "g", f"h{number // 4}"])
        found.append(Item(f"{r.choice('abc')}/{number}é.jpg", b"%d" % number, labels, "train", group))
    together = [r.sample(range(60), 3) for _ in range(4)]
    hashes = [hashlib.sha256(b"%d" % number).digest() for number in range(60)]
    task: TaskName = "multi-label" if multi else "single-label"
    return Dataset("x", "x", ("p", "q", "r"), tuple(found), task=task), together, hashes


@pytest.mark.parametrize(
    ("multi", "expected"),
    [
        (False, "0e08702ffc17fc63"),
        (True, "3d3dfea75e782105"),
    ],
)
def test_splits_and_fingerprints_are_those_of_earlier_versions(multi: bool, expected: str) -> None:
    facts = []
    for seed in range(5):
        dataset, together, hashes = _random(seed, multi=multi)
        split = complete_splits(dataset, val_fraction=0.2, seed=seed, together=together)
        limited = limit_train(split, 12, seed=seed)
        facts += [split_csv(split), split.fingerprint(hashes), split_csv(limited), limited.describe()]
        facts.append(split_csv(limited.select(["r", "p"]).relabel(["new", "p", "q", "r"])))
        digests: NDArray[np.uint8] = np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(-1, 32)
        assert split.fingerprint(digests) == split.fingerprint(hashes)
    assert hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16] == expected


@given(st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=3), max_size=6))
@settings(max_examples=50, deadline=None)
def test_blocks_are_what_is_connected(together: list[list[int]]) -> None:
    groups = ["g", "g", *[""] * 10]
    found = [Item(f"{number}.jpg", b"", (0,), "train", group) for number, group in enumerate(groups)]
    blocks = blocks_of(Items.of(found), together, seed=0)
    expected = connected([[0, 1], *together, *([number] for number in range(12))])
    assert sorted(map(list, blocks)) == sorted(expected)
    assert blocks.members[blocks.starts[:-1]].tolist() == [block[0] for block in blocks]


def test_a_tree_takes_little_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for number in range(10_000):
        folder = tmp_path / "data" / f"class{number % 4}"
        if number < 4:
            folder.mkdir(parents=True)
        (folder / f"image-{number:08d}.jpg").hardlink_to(tmp_path / "file")
    tracemalloc.start()
    try:
        dataset = complete_splits(open_dataset(str(tmp_path / "data")), val_fraction=0.1, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(dataset.items) == 10_000 and len(dataset.split("val")) == 1000
    # 470 and 905 bytes when each image was an object.
    assert held < 100 * 10_000 and peak < 350 * 10_000, (held, peak)
    assert dataclasses.replace(dataset).items is dataset.items
