"""Features on disk have the rows of a tensor in memory, and reading them takes the memory of a block."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.running import COMPUTE, command_environment
from test_engines_features import SMALL, make_items, shards

from resnet_cli.data.dataset import Item
from resnet_cli.engines import feature_cache
from resnet_cli.engines.feature_cache import FeatureCache, find_features
from resnet_cli.engines.feature_rows import Features, blocks, in_memory
from resnet_cli.engines.feature_shards import ContentIndex, MemoryShard, open_shard
from resnet_cli.engines.features import FrozenBackbone, compute_features, extract_features
from resnet_cli.errors import DiskError
from resnet_cli.model.network import ResNet50
from resnet_cli.system import caches
from resnet_cli.system.caches import CacheWarning

pytest_plugins = ["support.narrow_network"]


def pixels_of(items: list[Item]) -> torch.Tensor:
    return torch.stack([torch.from_numpy(SMALL(item.open()).copy()).permute(2, 0, 1) for item in items])


def keys_of(names: list[str]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.frombuffer(b"".join(hashlib.sha256(name.encode()).digest() for name in names), np.uint8).reshape(-1, 32)


def store(names: list[str], rows: np.ndarray, size: int, key: str = "k") -> FeatureCache:
    cache = FeatureCache(key)
    for start in range(0, len(names), size):
        cache.store(keys_of(names[start : start + size]), rows[start : start + size], left_bytes=0)
    return cache


def open_features(cache: FeatureCache, names: list[str], width: int) -> Features:
    contents = ContentIndex(keys_of(names))
    found, places = cache.find(contents)
    assert (places >= 0).all()
    shape = len(names), width
    return Features(found, places, contents.numbers, shape=shape, dtype=torch.float32, holds=cache)


def test_contents_are_numbered_by_their_first_image_and_found_by_their_hash() -> None:
    names = ["b", "a", "b", "c", "a", "d"]
    index = ContentIndex(keys_of(names))
    assert index.numbers.tolist() == [0, 1, 0, 2, 1, 3] and index.firsts.tolist() == [0, 1, 3, 5]
    assert index.find(keys_of(["d", "x", "a"])).tolist() == [3, -1, 1]
    # Hashes of which only some bytes differ.
    near = np.zeros((4, 32), np.uint8)
    near[1, 0], near[2, 31], near[3, 12] = 1, 1, 1
    index = ContentIndex(near[[2, 0, 3, 2]])
    assert index.numbers.tolist() == [0, 1, 2, 0] and index.find(near).tolist() == [1, -1, 0, 2]
    assert ContentIndex(near[:0]).find(near).tolist() == [-1] * 4


def test_rows_on_disk_are_those_in_memory_by_slice_index_mask_and_part() -> None:
    rng = np.random.default_rng(0)
    names = [str(number) for number in range(50)]
    rows = rng.normal(size=(50, 7)).astype(np.float32)
    cache = store(names, rows, 8)
    order = rng.integers(0, 50, 120)
    found = open_features(cache, [names[at] for at in order], 7)
    expected = torch.from_numpy(rows[order])
    assert found.shape == expected.shape and len(found) == 120
    assert torch.equal(found.tensor(), expected) and torch.equal(in_memory(found), expected)
    assert torch.equal(torch.cat(list(blocks(found, 13))), expected)
    at = torch.from_numpy(rng.integers(0, 120, 30))
    assert torch.equal(found[at], expected[at]) and torch.equal(found[at.numpy()], expected[at])
    mask = expected[:, 0] > 0
    assert torch.equal(found[mask], expected[mask])
    assert torch.equal(found[40:90:3], expected[40:90:3]) and found[5:5].shape == (0, 7)
    one, two = found.split([70, 50])
    assert torch.equal(two.tensor(), expected[70:]) and torch.equal(
        one.take(at.numpy() % 70).tensor(), expected[at % 70]
    )
    first = torch.ones(3, 7)
    assert torch.equal(two.behind(first).tensor(), torch.cat([first, expected[70:]]))


def test_half_precision_stays_half_and_is_read_beside_memory() -> None:
    rows = np.arange(12, dtype=np.float16).reshape(4, 3)
    cache = store(list("abcd"), rows, 2, key="half")
    (_, shard), *_ = [open_shard(path) for path in sorted(cache.folder.glob("*.safetensors"))]
    assert shard.dtype == np.float16 and shard.shape == (2, 3)
    contents = ContentIndex(keys_of(list("abcd")))
    found, places = cache.find(contents)
    kept = [MemoryShard(rows), *found]
    places[1] = (0 << 32) + 1
    places[[0, 2, 3]] += 1 << 32
    features = Features(kept, places, contents.numbers, shape=(4, 3), dtype=torch.float16)
    assert torch.equal(features.tensor(), torch.from_numpy(rows))


def test_features_that_were_removed_meanwhile_are_an_error_with_a_remedy() -> None:
    rows = np.ones((4, 3), np.float32)
    cache = store(list("abcd"), rows, 4, key="gone")
    found = open_features(cache, list("abcd"), 3)
    (path,) = cache.folder.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[: open_shard(path)[1].start + 40])
    with pytest.raises(DiskError, match="cannot be read again") as caught:
        found.tensor()
    assert caught.value.hint is not None and "same command" in caught.value.hint
    path.unlink()
    with pytest.raises(DiskError, match="cannot be read again"):
        found.tensor()


def test_shards_that_a_command_uses_are_not_evicted(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.ones((4, 3), np.float32)
    used = store(list("abcd"), rows, 4, key="used")
    features = open_features(used, list("abcd"), 3)
    monkeypatch.setattr(feature_cache, "MAX_CACHE_BYTES", 1)
    mine = store(list("efgh"), rows, 2, key="mine")
    mine.evict()
    # All are too many, but both objects still need theirs.
    assert len(shards()) == 3
    assert torch.equal(features.tensor(), torch.ones(4, 3))
    del features, used
    mine = store(list("ijkl"), rows, 4, key="mine")
    mine.evict()
    assert [path.parent.name for path in shards()] == ["mine"]
    assert len(shards()) == 1
    assert find_features([hashlib.sha256(name.encode()).digest() for name in "ef"]) is None


def test_a_cache_that_cannot_be_written_is_replaced_by_a_temporary_folder_or_by_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, narrow: None
) -> None:
    torch.manual_seed(0)
    network, items = ResNet50(2).eval(), make_items(6)
    expected = extract_features(network, items, SMALL, COMPUTE)
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("RESNET_CLI_CACHE", str(blocked / "cache"))
    monkeypatch.setattr(caches, "_has_warned", False)
    with pytest.warns(CacheWarning, match="cannot be written"):
        assert torch.equal(extract_features(network, items, SMALL, COMPUTE), expected)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(feature_cache, "scratch_dir", lambda: scratch)
    assert not list(scratch.rglob("*"))
    monkeypatch.setattr(feature_cache, "MAX_UNSAVED_BYTES", 0)
    assert torch.equal(extract_features(network, items, SMALL, COMPUTE), expected)
    assert len(list(scratch.rglob("*.safetensors"))) == 1
    monkeypatch.setattr(feature_cache, "scratch_dir", lambda: blocked / "tmp")
    with pytest.warns(CacheWarning, match=r"kept in memory, which takes 49 kB"):
        assert torch.equal(extract_features(network, items, SMALL, COMPUTE), expected)


KILLED = """
import os, signal, sys
from support.narrow_network import stage
from support.running import COMPUTE
from resnet_cli.engines import features
from resnet_cli.model import network as network_module
from test_engines_features import SMALL, make_items
import torch
network_module._stage = stage
features.SHARD_IMAGES, features.inference_batch_size = 8, lambda *_: 4
def kill(done, total):
    if done >= 20:
        os.kill(os.getpid(), signal.SIGKILL)
torch.manual_seed(0)
network = network_module.ResNet50(2).eval()
features.compute_features(network, make_items(40), SMALL, COMPUTE, on_progress=kill)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_extraction_costs_at_most_one_shard(narrow: None) -> None:
    process = subprocess.run(
        [sys.executable, "-c", KILLED], cwd=Path(__file__).parent, env=command_environment(), timeout=120, check=False
    )
    assert process.returncode == -signal.SIGKILL
    assert len(shards()) == 2
    torch.manual_seed(0)
    network = ResNet50(2).eval()
    computed: list[tuple[int, int]] = []
    found = compute_features(
        network, make_items(40), SMALL, COMPUTE, on_progress=lambda *counts: computed.append(counts)
    )
    assert computed[0] == (16, 40)
    assert torch.equal(found.tensor(), FrozenBackbone(network, SMALL, COMPUTE)(pixels_of(make_items(40))))


MEASURED = """
import resource
import numpy as np
from test_engines_feature_rows import keys_of, open_features, store
from resnet_cli.engines.feature_rows import blocks
from resnet_cli.heads import block_problem

block_problem.BLOCK_ROWS = 512
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

rng = np.random.default_rng(0)
def grown(num):
    names = [f"{num}/{number}" for number in range(num)]
    for start in range(0, num, 512):
        part = names[start : start + 512]
        store(part, rng.normal(size=(len(part), 2048)).astype(np.float32), 512)
    features = open_features(store([], np.empty((0, 2048), np.float32), 512), names, 2048)
    for rows in blocks(features, 512):
        rows.sum()
    block_problem.moments(features, np.arange(num))
    return peak()

first = grown(1024)
print(first, grown(6144))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of the peak is Linux's")
@pytest.mark.slow
def test_the_peak_of_a_pass_does_not_grow_with_the_number_of_images() -> None:
    process = subprocess.run(
        [sys.executable, "-c", MEASURED],
        cwd=Path(__file__).parent,
        env=command_environment(),
        timeout=120,
        check=True,
        capture_output=True,
        text=True,
    )
    few, many = map(float, process.stdout.split())
    # In memory, the additional rows would take 40 MB.
    assert many - few < 16
