from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score
from support.narrow_network import narrow_model
from support.running import COMPUTE

from resnet_cli.data.dataset import Item
from resnet_cli.errors import DataError
from resnet_cli.evaluation.evaluate import evaluate
from resnet_cli.model.model_file import Model
from resnet_cli.preprocess import Preprocess
from resnet_cli.studies.corruptions import KINDS, NUM_STRENGTHS, Kind
from resnet_cli.studies.robustness import draw_items, robustness, working_size
from resnet_cli.studies.robustness_scores import NUM_VARIANTS, RESULTS, summarize
from resnet_cli.system.paths import features_dir

pytest_plugins = ["support.narrow_network"]
PREPROCESS = Preprocess(resize_size=40, crop_size=32)


def photo(seed: int = 0, size: tuple[int, int] = (90, 60)) -> Image.Image:
    """Smooth colours with some texture."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(30, 226, (5, 7, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    noisy = np.asarray(small) + rng.normal(0, 4, (size[1], size[0], 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def damaged(kind: Kind, strength: float, image: Image.Image, seed: int = 5) -> np.ndarray:
    made = kind.corrupt(image, strength, np.random.default_rng(seed))
    assert made.size == image.size and made.mode == "RGB"
    return np.asarray(made).astype(float)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_stronger_damage_is_farther_from_the_image(kind: Kind) -> None:
    assert len(kind.strengths) == NUM_STRENGTHS
    for seed in range(4):
        image = photo(seed, (300, 224))
        gaps = [np.abs(damaged(kind, x, image, seed) - np.asarray(image)).mean() for x in kind.strengths]
        assert gaps[0] > 0.1
        assert all(later > earlier for earlier, later in itertools.pairwise(gaps)), gaps


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 2), (8, 8)])
def test_tiny_and_thin_images_survive(kind: Kind, size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (0, 0, 0))
    for strength in kind.strengths:
        damaged(kind, strength, image)


def test_half_of_the_images_get_darker_and_keep_their_hue() -> None:
    kind = next(kind for kind in KINDS if kind.name == "brightness")
    image = Image.new("RGB", (4, 4), (120, 60, 30))
    made = [damaged(kind, 0.2, image, seed)[0, 0] for seed in range(40)]
    darker = [pixel for pixel in made if pixel[0] < 120]
    assert 10 < len(darker) < 30
    for pixel in made:
        np.testing.assert_allclose(pixel / pixel[0], np.array([120, 60, 30]) / 120, atol=0.02)
    assert {round(pixel[0]) for pixel in made} == {120 + 51, 120 - 51}


def test_no_black_corner_comes_in_by_a_turn_or_a_shift() -> None:
    white = Image.new("RGB", (50, 30), (255, 255, 255))
    for kind in KINDS:
        if kind.name in {"rotation", "shift"}:
            for seed in range(6):
                assert damaged(kind, kind.strengths[-1], white, seed).min() == 255


def test_an_image_is_damaged_at_the_scale_that_the_network_sees() -> None:
    large = photo(size=(900, 600))
    assert working_size(large, PREPROCESS).size == (60, 40)
    assert working_size(photo(size=(30, 20)), PREPROCESS).size == (60, 40)
    assert working_size(photo(size=(300, 20)), PREPROCESS).size == (300, 20)
    # So the undamaged image is what it always is, bit by bit.
    for size in ((900, 600), (30, 20), (300, 20), (41, 57)):
        image = photo(size=size)
        assert np.array_equal(PREPROCESS(working_size(image, PREPROCESS)), PREPROCESS(image))


def test_the_sample_depends_on_names_alone() -> None:
    items = [Item(f"{at}.jpg", b"") for at in range(200)]
    chosen = draw_items(items, 50)
    assert chosen == [item for item in items if item in chosen] and len(chosen) == 50
    assert set(draw_items(items[::-1], 50)) == set(chosen)
    more = draw_items([*items, Item("new.jpg", b"")], 50)
    assert len(set(more) & set(chosen)) >= 49
    assert draw_items(items, 500) == items


def test_figures_count_and_drops_are_paired() -> None:
    is_right = np.ones((100, 1 + NUM_STRENGTHS * len(KINDS)), dtype=bool)
    is_right[:20] = False
    is_right[20:30, 5] = False
    found = summarize(is_right, 1000)
    assert (found.num_images, found.num_available) == (100, 1000)
    assert found.clean.value == 0.8 and found.clean.low < 0.8 < found.clean.high
    first = found.kinds[0]
    assert first.name == KINDS[0].name and [cell.strength for cell in first.cells] == list(KINDS[0].strengths)
    hit = first.cells[4]
    assert hit.top1.value == pytest.approx(0.7) and hit.drop.value == pytest.approx(0.1)
    assert 0.03 < hit.drop.low < 0.1 < hit.drop.high < 0.18
    assert first.drop.value == pytest.approx(0.02) and first.mean_top1 == pytest.approx(0.78)
    # The same images are wrong: nothing is lost, and there is no doubt about it.
    assert all(tuple(cell.drop) == (0, 0, 0) for kind in found.kinds[1:] for cell in kind.cells)
    assert found.mean_top1 == pytest.approx(0.8 - 0.1 / 35)


@pytest.fixture
def model(narrow: None) -> Model:
    return narrow_model(("a", "b"), PREPROCESS)


def test_undamaged_images_get_the_answers_of_eval_and_no_feature_is_cached(model: Model) -> None:
    items = [Item(f"{at}", np.asarray(photo(at, (120, 80))), (at % 2,)) for at in range(7)]
    seen: list[tuple[int, int]] = []
    found = robustness(model, items, COMPUTE, on_progress=lambda *done: seen.append(done))
    assert seen[-1] == (7, 7) and not features_dir().exists()
    assert found.clean.value == pytest.approx(evaluate(model, items, COMPUTE).score)
    assert len(found.kinds) == 7 and found == robustness(model, items, COMPUTE)
    assert robustness(model, items, COMPUTE, max_images=3).num_images == 3


def test_one_image_is_enough(model: Model) -> None:
    found = robustness(model, [Item("0", np.asarray(photo()), (0,))], COMPUTE)
    assert found.clean.value in {0, 1} and found.num_images == 1


def test_an_unreadable_image_is_named(model: Model, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.jpg"):
        robustness(model, [Item("bad.jpg", bad)], COMPUTE)


def test_map_and_its_drops_are_paired_over_the_corruptions() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((40, 3)) < 0.4).astype(np.int8)
    targets[rng.random(targets.shape) < 0.1] = -1
    probs = (0.5 * (targets == 1) + rng.random((40, 3)))[:, None].repeat(NUM_VARIANTS, axis=1).astype(np.float32)
    probs[:, -NUM_STRENGTHS:] = rng.random((40, NUM_STRENGTHS, 3))
    results = RESULTS["multi-label"](40)
    for rows in (slice(0, 25), slice(25, 40)):
        results.add(torch.from_numpy(probs[rows]), targets[rows])
    found = results.summarize(90)
    areas = [
        average_precision_score(targets[targets[:, at] >= 0, at], probs[targets[:, at] >= 0, 0, at]) for at in range(3)
    ]
    assert found.clean.value == pytest.approx(np.mean(areas)) and found.score_name == "mAP"
    assert (found.num_images, found.num_available) == (40, 90)
    for kind in found.kinds[:-1]:
        assert kind.mean_score == pytest.approx(found.clean.value) and kind.drop.value == pytest.approx(0)
        assert all(cell.drop.low <= 0 <= cell.drop.high for cell in kind.cells)
    assert found.kinds[-1].drop.value == pytest.approx(found.clean.value - found.kinds[-1].mean_score)
    written = found.to_dict()
    assert "map" in written and "mean_map" in written["kinds"][0] and "top1" not in str(written)
    nothing = RESULTS["multi-label"](1)
    nothing.add(torch.from_numpy(probs[:1]), np.ones((1, 3), dtype=np.int8))
    with pytest.raises(DataError, match="mAP is not defined on 1 images"):
        nothing.summarize(1)
