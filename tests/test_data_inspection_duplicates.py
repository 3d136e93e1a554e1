from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from support import planted_faults

from resnet_cli.data.inspection import duplicates, neighborhoods, pair_search
from resnet_cli.data.inspection.compact import NearPair
from resnet_cli.data.inspection.duplicates import SIGNATURE_BYTES, find_near, find_near_by_features, signature
from resnet_cli.images import decode

CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "nothing": lambda image: image,
    "saved again at quality 30": lambda image: saved(image, 30),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
    "twice the size": lambda image: image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC),
    "left and top cropped": lambda image: image.crop((image.width // 16, image.height // 16, *image.size)),
    "all sides cropped": lambda image: image.crop(
        (image.width // 20, image.height // 20, image.width * 19 // 20, image.height * 19 // 20)
    ),
    "cropped and back to size": lambda image: image.crop((image.width // 20, 0, *image.size)).resize(image.size),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.12),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.88),
    "gray": lambda image: Image.blend(image, image.convert("L").convert("RGB"), 0.3),
}


def photo(seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    return planted_faults.photo(seed, size)


def saved(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return decode(file.getvalue(), "saved.jpg")


def plain(*colour: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.new("RGB", size, colour)


def table(images: Sequence[Image.Image]) -> np.ndarray:
    joined = b"".join(signature(image) for image in images)
    return np.frombuffer(joined, np.uint8).reshape(len(images), SIGNATURE_BYTES)


def rows(pairs: Sequence[NearPair]) -> set[tuple[int, int]]:
    return {pair[:2] for pair in pairs}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_copy_is_found(name: str) -> None:
    images = [photo(seed) for seed in range(20)]
    changed = [CHANGES[name](image) for image in images]
    pairs = find_near(table([*images, *changed]))
    assert rows(pairs) == {(row, row + 20) for row in range(20)}
    assert all(0.9 < score <= 1 for _, _, score in pairs)


@pytest.mark.parametrize("size", [(20, 20), (32, 32), (48, 30), (640, 480)])
def test_a_copy_is_found_at_any_size(size: tuple[int, int]) -> None:
    images = [photo(seed, size) for seed in range(5)]
    copies = [saved(image.resize((32, 32), Image.Resampling.BICUBIC), 80) for image in images]
    assert rows(find_near(table([*images, *copies]))) == {(row, row + 5) for row in range(5)}


def test_different_images_are_not_near() -> None:
    assert find_near(table([photo(seed) for seed in range(300)])) == []


def test_an_image_in_other_colours_is_another() -> None:
    image = photo(0)
    red, green, blue = image.split()
    assert find_near(table([image, Image.merge("RGB", (blue, green, red))])) == []


def test_the_same_shape_in_another_light_is_another_image() -> None:
    ramp = np.tile(np.linspace(0, 20, 64), (48, 1))[..., None].repeat(3, 2)
    dark, light = (Image.fromarray((ramp + level).astype(np.uint8)) for level in (10, 200))
    assert find_near(table([dark, light])) == []


def test_an_identical_image_has_score_one() -> None:
    (pair,) = find_near(table([photo(1), photo(2), photo(1)]))
    assert pair[:2] == (0, 2)
    assert pair.score == pytest.approx(1, abs=1e-4)


def test_blank_images_are_near_where_their_colour_is() -> None:
    images = [plain(250, 250, 250), plain(20, 60, 200), saved(plain(250, 250, 250), 30), plain(250, 230, 250)]
    images += [saved(plain(20, 60, 200, size=(200, 31)), 50), plain(0, 0, 0), plain(1, 0, 1)]
    pairs = find_near(table(images))
    assert rows(pairs) == {(0, 2), (1, 4), (5, 6)}
    assert all(0.98 < score <= 1 for _, _, score in pairs)


def test_noise_does_not_decide_about_blank_images() -> None:
    rng = np.random.default_rng(0)

    def noisy(level: int) -> Image.Image:
        return Image.fromarray((level + rng.normal(0, 4, (200, 200, 3))).clip(0, 255).astype(np.uint8))

    pairs = find_near(table([noisy(level) for level in (40, 40, 120, 120, 200, 200)]))
    assert rows(pairs) == {(0, 1), (2, 3), (4, 5)}


def test_a_small_thing_on_white_is_not_a_blank_image() -> None:
    images = [plain(255, 255, 255, size=(128, 128)) for _ in range(4)]
    images[1].paste((40, 40, 40), (20, 20, 36, 36))
    images[2].paste((40, 40, 40), (80, 70, 96, 86))
    assert rows(find_near(table(images))) == {(0, 3)}


def test_no_copy_falls_between_flat_and_textured() -> None:
    ramp = np.linspace(-0.5, 0.5, 64)[None, :, None].repeat(48, 0).repeat(3, 2)
    for contrast in np.arange(2, 24, 0.5):
        image = Image.fromarray((128 + contrast * ramp).round().astype(np.uint8))
        assert rows(find_near(table([image, ImageEnhance.Brightness(image).enhance(0.99)]))) == {(0, 1)}, contrast


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (3000, 2), (16, 16), (5000, 4000)])
def test_an_image_of_any_shape_has_a_signature(size: tuple[int, int]) -> None:
    data = signature(photo(0, size))
    assert len(data) == SIGNATURE_BYTES
    assert rows(find_near(np.frombuffer(data * 2, np.uint8).reshape(2, -1))) == {(0, 1)}


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_is_near_where_there_are_no_two(count: int) -> None:
    assert find_near(table([photo(0)] * count)) == []
    assert find_near_by_features(np.ones((count, 2048), np.float32)) == []


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(random: object) -> None:
    images = [photo(seed) for seed in range(6)]
    signatures = table([*images, *(saved(image, 60) for image in images[:4]), plain(9, 9, 9), plain(9, 9, 9)])
    order = list(range(len(signatures)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = {
        frozenset((order[first], order[second])): score for first, second, score in find_near(signatures[order])
    }
    expected = {frozenset((first, second)): score for first, second, score in find_near(signatures)}
    assert shuffled.keys() == expected.keys()
    assert all(shuffled[pair] == pytest.approx(expected[pair], abs=1e-4) for pair in expected)


@pytest.mark.parametrize("block", [1, 7, 64])
def test_the_result_does_not_depend_on_the_block_size(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [photo(seed) for seed in range(30)]
    signatures = table([*images, *(saved(image, 50) for image in images), *[plain(5, 5, 5)] * 3])
    features = np.random.default_rng(0).normal(size=(50, 8))
    expected = find_near(signatures), find_near_by_features(features)
    for name in ("_BLOCK_IMAGES", "_BLOCK_PAIRS"):
        monkeypatch.setattr(duplicates, name, block)
    for name in ("_BLOCK_ROWS", "_BLOCK_COLUMNS"):
        monkeypatch.setattr(pair_search, name, block)
    for found, wanted in zip((find_near(signatures), find_near_by_features(features)), expected, strict=True):
        assert rows(found) == rows(wanted)
        assert [pair.score for pair in found] == pytest.approx([pair.score for pair in wanted], abs=1e-5)


def test_copies_are_found_within_neighborhoods(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [photo(seed) for seed in range(60)]
    flat = [plain(3 * n, 200 - 3 * n, 7) for n in range(60)]
    signatures = table([*images, *flat, *(saved(image, 60) for image in images), *flat])
    features = np.random.default_rng(0).normal(size=(100, 32))
    features = np.concatenate([features, features + 0.01])
    expected = find_near(signatures), find_near_by_features(features)
    assert len(expected[0]) >= 120 and len(expected[1]) == 100
    for module in (pair_search, neighborhoods):
        monkeypatch.setattr(module, "EXHAUSTIVE", 50)
    monkeypatch.setattr(neighborhoods, "_PER_CENTER", 12)
    seen: list[tuple[int, int]] = []
    found = find_near(signatures, on_progress=lambda *now: seen.append(now)), find_near_by_features(features)
    assert [rows(pairs) for pairs in found] == [rows(pairs) for pairs in expected]
    assert all(done <= total == len(signatures) for done, total in seen)


def test_neighborhoods_keep_every_pair_while_there_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(rng.normal(size=(6, 32)), 20, axis=0)
    features = np.concatenate([groups, rng.normal(size=(120, 32))])
    features += rng.normal(0, 0.05, features.shape)
    expected = rows(find_near_by_features(features))
    assert len(expected) == 6 * 190
    for module in (pair_search, neighborhoods):
        monkeypatch.setattr(module, "EXHAUSTIVE", 100)
    monkeypatch.setattr(neighborhoods, "_PER_CENTER", 5)
    assert rows(find_near_by_features(features)) == expected


def test_so_many_equal_images_that_no_center_tells_them_apart_stay_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pair_search, neighborhoods):
        monkeypatch.setattr(module, "EXHAUSTIVE", 40)
    monkeypatch.setattr(neighborhoods, "_PER_CENTER", 30)
    pairs = find_near(table([plain(7, 7, 7)] * 300))
    # Every copy but the last is paired with a later one.
    assert {pair.first for pair in pairs} == set(range(299)) and len(pairs) <= 32 * 300


def test_many_copies_of_one_image_stay_connected_at_a_bounded_cost() -> None:
    count = 300
    pairs = [*find_near(table([photo(0)] * count)), *find_near(table([plain(7, 7, 7)] * count))]
    assert len(pairs) <= 2 * 32 * count
    for found in (pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]):
        # Every copy but the last is paired with a later one, so all of them are connected.
        assert {pair.first for pair in found} == set(range(count - 1))


@given(st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_any_bytes_give_scores_within_bounds(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    signatures = rng.integers(0, rng.integers(1, 257), (count, SIGNATURE_BYTES), np.uint8)
    for first, second, score in find_near(signatures):
        assert 0 <= first < second < count
        assert 0 <= score <= 1


def test_features_give_the_pairs_of_brute_force() -> None:
    rng = np.random.default_rng(3)
    base = rng.normal(size=(60, 2048))
    features = np.concatenate([base, base + rng.normal(size=base.shape) * np.linspace(0, 0.8, 60)[:, None]])
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosine = unit @ unit.T
    expected = {(i, j): cosine[i, j] for i in range(120) for j in range(i + 1, 120) if cosine[i, j] >= 0.92}
    for dtype in (np.float16, np.float32, np.float64):
        found = find_near_by_features(features.astype(dtype))
        assert rows(found) == expected.keys()
        assert [pair.score for pair in found] == pytest.approx([expected[pair[:2]] for pair in found], abs=1e-3)
    assert 20 < len(expected) < 60


def test_empty_and_broken_features_are_near_to_nothing() -> None:
    features = np.ones((6, 16), np.float32)
    features[1], features[2], features[3, 5], features[4, 0] = 0, 0, np.nan, np.inf
    assert rows(find_near_by_features(features)) == {(0, 5)}


def test_progress_reaches_the_total() -> None:
    seen: list[tuple[int, int]] = []
    find_near(table([photo(0)] * 9), on_progress=lambda *now: seen.append(now))
    find_near_by_features(np.ones((9, 4)), on_progress=lambda *now: seen.append(now))
    assert seen == [(9, 9), (9, 9)]


def test_copies_among_real_small_images_are_found_and_nothing_else(assets: Path) -> None:
    images: list[Image.Image] = []
    with tarfile.open(assets / "cifar10-jpeg.tar.gz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file and len(images) < 400:
                images.append(decode(file.read(), member.name))
    changes = list(CHANGES.values())[1:]
    copies = [changes[row % len(changes)](image) for row, image in enumerate(images[:200])]
    pairs = rows(find_near(table([*images, *copies])))
    planted = {(row, row + len(images)) for row in range(len(copies))}
    assert len(pairs & planted) >= 0.95 * len(planted)
    assert pairs <= planted


def test_copies_of_real_photos_are_found_and_nothing_else(assets: Path) -> None:
    paths = sorted((assets / "photos").rglob("*.jp*g"))[::8]
    images = [decode(path.read_bytes(), path.name) for path in paths]
    changes = list(CHANGES.values())[1:]
    copies = [changes[row % len(changes)](image) for row, image in enumerate(images)]
    pairs = rows(find_near(table([*images, *copies])))
    planted = {(row, row + len(images)) for row in range(len(images))}
    assert len(pairs & planted) >= 0.95 * len(planted)
    assert pairs <= planted
