"""The map of a report: what is close, what is drawn, and how large it may become."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from support.synthetic_label_reports import make_label_content
from support.synthetic_reports import make_content, make_evaluation, with_features

from resnet_cli.reporting import embedding_map as maps
from resnet_cli.reporting.embedding_map import MIN_TSNE, embedding_map, map_series
from resnet_cli.reporting.palette import SERIES
from resnet_cli.reporting.report_page import report_page


def groups(num_each: int, num_dims: int = 32, num_groups: int = 3) -> torch.Tensor:
    rng = np.random.default_rng(0)
    centers = 4 * rng.normal(size=(num_groups, num_dims))
    return torch.from_numpy(np.repeat(centers, num_each, axis=0) + rng.normal(size=(num_groups * num_each, num_dims)))


def points_of(text: str) -> list[list[Any]]:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    points: list[list[Any]] = json.loads(found)["map"]["points"]
    return points


@pytest.mark.parametrize(("num_each", "method"), [(30, "PCA and t-SNE"), (4, "PCA")])
def test_images_with_similar_features_are_close_to_each_other(num_each: int, method: str) -> None:
    features = groups(num_each)
    found = embedding_map(features)
    assert found is not None and found.method == method and (3 * num_each >= MIN_TSNE) == ("t-SNE" in method)
    assert found.places.min() >= 0 and found.places.max() <= 1 and np.ptp(found.places, axis=0).min() > 0.8
    apart = np.linalg.norm(found.places[:, None] - found.places, axis=2) + 9 * np.eye(3 * num_each)
    assert (apart.argmin(axis=1) // num_each == np.arange(3 * num_each) // num_each).all()
    again = embedding_map(features)
    assert again is not None and (again.places == found.places).all()


def test_of_many_images_some_are_drawn_at_random_and_of_too_few_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "MAX_IMAGES", 40)
    found = embedding_map(groups(30))
    assert found is not None and len(found.positions) == len(set(found.positions.tolist())) == 40
    assert found.num_images == 90
    assert embedding_map(None) is None and embedding_map(groups(1)) is None
    assert embedding_map(torch.full((20, 8), float("nan"))) is None


def test_images_that_are_all_equal_have_a_map_as_well() -> None:
    found = embedding_map(torch.ones(20, 8))
    assert found is not None and np.isfinite(found.places).all()


def test_the_classes_with_the_most_images_have_a_color_and_the_others_share_one() -> None:
    scores = make_evaluation(tuple(f"class {n}" for n in range(12)), 60)
    found = embedding_map(torch.randn(60, 4, generator=torch.Generator().manual_seed(0)))
    assert found is not None
    series = map_series(scores, found)
    assert len({one.css for one in series}) == len(series) == len(SERIES) + 1
    assert series[-1].css == "other" and series[-1].name == "4 other classes"
    assert sum(one.num for one in series) == 60
    num_wrong = sum(one.wrong.count("M") for one in series)
    assert num_wrong == int((~scores.is_right).sum()) and sum(one.right.count("M") for one in series) == 60 - num_wrong


def test_a_page_has_each_image_of_the_map_once() -> None:
    content = with_features(make_content(("cat", "dog"), 150))
    points = points_of(report_page(content))
    assert len(points) == 150 and {point[8] for point in points} == set(range(150))
    # Those that are in no gallery and in no cell have their place on the sheet; no two of them the same.
    corners = [tuple(point[9]) for point in points if point[9]]
    assert 0 < len(corners) == len(set(corners)) < 150
    assert (
        "embedding"
        not in report_page(make_content(("cat", "dog"), 30))
        .replace("embedding-", "")
        .split("<body>")[1]
        .split("<script")[0]
    )


def test_several_labels_are_named_and_an_image_without_any_is_gray() -> None:
    content = with_features(make_label_content(("cat", "dog", "bird"), 60))
    text = report_page(content)
    names = {tuple(point[3].split(", ")) for point in points_of(text)}
    assert any(len(labels) > 1 for labels in names)
    if ("none",) in names:
        assert "no label" in text
