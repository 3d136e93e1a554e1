"""Each image goes through the backbone once, ever; and the cache never changes an answer."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support.running import COMPUTE, FP32, command_environment, tolerance

from resnet_cli.data.dataset import Item
from resnet_cli.engines import feature_cache, features
from resnet_cli.engines.features import FrozenBackbone, extract_features
from resnet_cli.errors import DataError
from resnet_cli.model.network import ResNet50, make_head
from resnet_cli.preprocess import Preprocess
from resnet_cli.system.paths import features_dir

pytest_plugins = ["support.small_runs"]

SMALL = Preprocess(resize_size=32, crop_size=32)


def make_items(count: int, seed: int = 0) -> list[Item]:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 24, 20, 3), dtype=np.uint8)
    return [Item(f"{index}.png", image) for index, image in enumerate(pixels)]


@pytest.fixture(scope="module")
def network() -> ResNet50:
    torch.manual_seed(0)
    return ResNet50(2).eval()


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batch size of every forward pass."""
    seen: list[int] = []
    forward = FrozenBackbone.__call__

    def counted(self: FrozenBackbone, pixels: torch.Tensor) -> torch.Tensor:
        seen.append(len(pixels))
        return forward(self, pixels)

    monkeypatch.setattr(FrozenBackbone, "__call__", counted)
    return seen


@pytest.fixture
def batches_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "inference_batch_size", lambda *_: 4)


def shards() -> list[Path]:
    return sorted(features_dir().glob("*/*.safetensors"))


def test_features_are_the_networks_own(network: ResNet50) -> None:
    items = make_items(3)
    found = extract_features(network, items, SMALL, COMPUTE)
    pixels = torch.stack([torch.from_numpy(SMALL(item.open()).copy()).permute(2, 0, 1) for item in items])
    with torch.inference_mode():
        expected = network.features(SMALL.normalize(pixels))
    assert found.dtype == features.feature_dtype(COMPUTE)
    allowed = tolerance(1e-4)
    assert torch.allclose(found.float(), expected, rtol=allowed, atol=allowed * float(expected.abs().max()))


def test_a_second_extraction_runs_no_forward_pass(network: ResNet50, passes: list[int]) -> None:
    items = make_items(10)
    first = extract_features(network, items, SMALL, COMPUTE)
    assert sum(passes) == 10
    passes.clear()
    assert torch.equal(extract_features(network, items, SMALL, COMPUTE), first)
    assert passes == []


def test_rows_align_with_items_in_any_order_and_with_duplicates(network: ResNet50, passes: list[int]) -> None:
    items = make_items(6)
    first = extract_features(network, items, SMALL, COMPUTE)
    passes.clear()
    more = make_items(2, seed=1)
    order = [5, 0, 0, 3, 5, 1]
    found = extract_features(network, [more[0], *(items[i] for i in order), more[1], more[0]], SMALL, COMPUTE)
    assert torch.equal(found[1:7], first[order])
    assert torch.equal(found[0], found[8])
    assert sum(passes) == 2


def test_another_head_hits_the_cache(network: ResNet50, passes: list[int]) -> None:
    extract_features(network, make_items(3), SMALL, COMPUTE)
    passes.clear()
    other = ResNet50(7, (16,))
    other.load_state_dict(network.backbone_state(), strict=False)
    other.fc = make_head(5, ())
    extract_features(other, make_items(3), SMALL, COMPUTE)
    assert passes == []


def test_other_weights_preprocessing_or_precision_miss(network: ResNet50, passes: list[int]) -> None:
    items = make_items(2)
    first = extract_features(network, items, SMALL, COMPUTE)
    other = ResNet50(2).eval()
    other.load_state_dict(network.state_dict())
    with torch.no_grad():
        other.bn1.bias[0] += 1e-2
    for changed in (
        (other, SMALL, COMPUTE),
        (network, dataclasses.replace(SMALL, interpolation="bicubic"), COMPUTE),
        (network, dataclasses.replace(SMALL, mean=(0.5, 0.5, 0.5)), COMPUTE),
        (network, SMALL, dataclasses.replace(COMPUTE, precision="bf16" if COMPUTE == FP32 else "fp32")),
    ):
        passes.clear()
        assert not torch.equal(extract_features(changed[0], items, changed[1], changed[2]).float(), first.float())
        assert sum(passes) == 2


def test_mirrored_features_are_those_of_mirrored_images_and_are_cached_apart(
    network: ResNet50, passes: list[int]
) -> None:
    square = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    items = [Item(f"{index}.png", pixels) for index, pixels in enumerate(square)]
    turned = [Item(item.name, pixels[:, ::-1].copy()) for item, pixels in zip(items, square, strict=True)]
    plain = extract_features(network, items, SMALL, COMPUTE)
    mirrored = extract_features(network, items, SMALL, COMPUTE, mirrored=True)
    assert sum(passes) == 6
    assert torch.equal(mirrored, extract_features(network, turned, SMALL, COMPUTE))
    assert not torch.allclose(mirrored, plain)
    passes.clear()
    assert torch.equal(extract_features(network, items, SMALL, COMPUTE, mirrored=True), mirrored)
    assert torch.equal(extract_features(network, items, SMALL, COMPUTE), plain)
    assert passes == []


@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_a_damaged_shard_is_dropped_and_computed_again(network: ResNet50, passes: list[int], damage: str) -> None:
    items = make_items(4)
    first = extract_features(network, items, SMALL, COMPUTE)
    (shard,) = shards()
    whole = shard.read_bytes()
    shard.write_bytes({"cut": whole[:-100], "empty": b"", "other": b"x" * len(whole)}[damage])
    passes.clear()
    assert torch.equal(extract_features(network, items, SMALL, COMPUTE), first)
    assert sum(passes) == 4
    assert shard.read_bytes() == whole


@pytest.mark.usefixtures("batches_of_four")
def test_an_interrupted_extraction_keeps_what_it_computed(
    network: ResNet50, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "SHARD_IMAGES", 8)

    def interrupt(done: int, total: int) -> None:
        if done >= 12:
            raise KeyboardInterrupt

    items = make_items(20)
    with pytest.raises(KeyboardInterrupt):
        extract_features(network, items, SMALL, COMPUTE, on_progress=interrupt)
    assert len(shards()) == 2
    passes.clear()
    seen: list[tuple[int, int]] = []
    extract_features(network, items, SMALL, COMPUTE, on_progress=lambda done, total: seen.append((done, total)))
    assert sum(passes) == 8
    assert seen == [(12, 20), (16, 20), (20, 20)]


def test_unreadable_images_are_all_named_before_any_forward_pass(
    network: ResNet50, passes: list[int], make_folder: Callable[..., Path]
) -> None:
    folder = make_folder({"cat": 3})
    (folder / "cat" / "bad.jpg").write_text("x")
    (folder / "cat" / "empty.jpg").touch()
    items = [Item(path.name, path) for path in sorted((folder / "cat").iterdir())]
    with pytest.raises(DataError, match=r"2 of 5 images cannot be read") as caught:
        extract_features(network, items, SMALL, COMPUTE)
    assert "bad.jpg" in caught.value.message and "empty.jpg" in caught.value.message
    assert passes == []
    assert shards() == []


def test_the_shards_that_were_not_used_for_longest_are_dropped(
    network: ResNet50, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = [make_items(2, seed=seed) for seed in range(3)]
    for age, group in zip((300, 200, 100), groups, strict=True):
        before = set(shards())
        extract_features(network, group, SMALL, COMPUTE)
        (new,) = set(shards()) - before
        os.utime(new, (1e9 - age, 1e9 - age))
    # Reading makes a shard young again: the second group is now the oldest.
    extract_features(network, groups[0], SMALL, COMPUTE)
    size = shards()[0].stat().st_size
    monkeypatch.setattr(feature_cache, "MAX_CACHE_BYTES", 3 * size)
    extract_features(network, make_items(2, seed=3), SMALL, COMPUTE)
    passes.clear()
    for seed in (0, 2, 3):
        extract_features(network, make_items(2, seed=seed), SMALL, COMPUTE)
    assert passes == []
    extract_features(network, groups[1], SMALL, COMPUTE)
    assert sum(passes) == 2


WRITER = """
import sys, torch
from support.running import COMPUTE
from test_engines_features import SMALL, make_items
from resnet_cli.engines.features import extract_features
from resnet_cli.model.network import ResNet50
torch.manual_seed(0)
torch.save(extract_features(ResNet50(2).eval(), make_items(24), SMALL, COMPUTE), sys.argv[1])
"""


def test_two_processes_that_write_at_once_both_end_right(network: ResNet50, tmp_path: Path) -> None:
    files = [tmp_path / "one.pt", tmp_path / "two.pt"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(file)], cwd=Path(__file__).parent, env=command_environment()
        )
        for file in files
    ]
    assert [process.wait(300) for process in processes] == [0, 0]
    here = extract_features(network, make_items(24), SMALL, COMPUTE)
    for file in files:
        assert torch.equal(torch.load(file, weights_only=True), here)


def test_batch_size_and_order_do_not_change_features(network: ResNet50) -> None:
    pixels = torch.stack([torch.from_numpy(SMALL(item.open()).copy()).permute(2, 0, 1) for item in make_items(13)])
    backbone = FrozenBackbone(network, SMALL, COMPUTE)
    whole = backbone(pixels)
    scale = float(whole.abs().max())
    for size in (1, 4, 7):
        parts = torch.cat([backbone(part) for part in torch.split(pixels, size)])
        assert float((parts - whole).abs().max()) / scale < 1e-5
    assert float((backbone(pixels.flip(0)).flip(0) - whole).abs().max()) / scale < 1e-5


def test_no_items_give_no_rows(network: ResNet50) -> None:
    assert extract_features(network, [], SMALL, COMPUTE).shape == (0, 2048)
