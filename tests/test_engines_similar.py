"""The nearest images are those with the largest cosine, in any chunks, without the image itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support.running import COMPUTE

from resnet_cli.data.dataset import Item
from resnet_cli.engines import similar
from resnet_cli.engines.features import extract_features
from resnet_cli.engines.similar import find_similar
from resnet_cli.errors import DataError
from resnet_cli.model.model_file import Model
from resnet_cli.model.network import ResNet50
from resnet_cli.preprocess import Preprocess

pytest_plugins = ["support.narrow_network"]


@pytest.fixture
def model(narrow: None) -> Model:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return Model(ResNet50(2).eval(), ("a", "b"), Preprocess(resize_size=36, crop_size=32))


@pytest.fixture
def items(make_folder: Callable[..., Path]) -> list[Item]:
    folder = make_folder({"cat": 6, "dog": 6})
    return [Item(path.name, path) for path in sorted(folder.rglob("*.jpg"))]


@pytest.mark.parametrize("chunk", [3, 100])
def test_they_are_those_with_the_largest_cosine(
    model: Model, items: list[Item], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similar, "CHUNK_IMAGES", chunk)
    rows = extract_features(model.network, items, model.preprocess, COMPUTE).double().numpy()
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = find_similar(model, items[:2], iter(items), COMPUTE, topk=4)
    for query in range(2):
        cosines = rows @ rows[query]
        expected = [other for other in np.argsort(-cosines) if other != query][:4]
        matches = found.matches[4 * query : 4 * query + 4]
        assert [match.similarity for match in matches] == pytest.approx(cosines[expected].tolist(), abs=1e-5)
        assert [match.path for match in matches] == [items[other].name for other in expected]
        assert [match.rank for match in matches] == [1, 2, 3, 4]
    assert found.num == 12


def test_a_copy_is_found_and_the_image_itself_is_not(model: Model, items: list[Item], tmp_path: Path) -> None:
    assert isinstance(items[0].source, Path)
    copy = Item("copy", Path(shutil.copy(items[0].source, tmp_path / "copy.jpg")))
    found = find_similar(model, items[:1], [*items, copy], COMPUTE, topk=99)
    assert found.matches[0].path == "copy" and found.matches[0].similarity == pytest.approx(1, abs=1e-5)
    assert len(found.matches) == 12


def test_unreadable_images_are_reported_and_the_rest_compared(model: Model, items: list[Item], tmp_path: Path) -> None:
    broken = Item("broken", tmp_path / "gone.jpg")
    done: list[int] = []
    found = find_similar(model, items[:1], [broken, *items], COMPUTE, on_progress=done.append)
    assert [error.path for error in found.errors] == [str(tmp_path / "gone.jpg")] and len(found.matches) == 10
    assert done[-1] == 12
    with pytest.raises(DataError, match="no image of --among can be read"):
        find_similar(model, items[:1], [broken], COMPUTE)
    with pytest.raises(DataError, match=r"gone\.jpg"):
        find_similar(model, [broken], items, COMPUTE)
