"""``serve`` with a model that gives an image any number of labels: its JSON, its metrics and its page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.live_server import Server, ask, png, post, serving
from support.synthetic_models import CLASSES, images

pytest.importorskip("starlette", reason="the server is not installed: pip install '.[serve]'")
pytest_plugins = ["support.browser", "support.exported_model"]

FILES = [png(image) for image in images()]


@pytest.fixture(scope="module")
def server(labels_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(labels_onnx, cwd=tmp_path_factory.mktemp("here")) as started:
        yield started


@pytest.fixture(scope="module")
def answers(server: Server) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = post(server, *FILES, query="?topk=3&explain=true&all_probs=true").json["predictions"]
    return found


def test_a_response_has_the_labels_above_their_thresholds(server: Server, answers: list[dict[str, Any]]) -> None:
    described = ask(server, "GET", "/classes").json
    assert (described["task"], described["classes"]) == ("multi-label", list(CLASSES))
    assert {len(answer["labels"]) for answer in answers} >= {0, 1, 2}
    for answer in answers:
        least = dict(zip(CLASSES, described["thresholds"], strict=True))
        probs = answer["all_probs"]
        chosen = sorted((name for name in CLASSES if probs[name] >= least[name]), key=lambda name: -probs[name])
        assert answer["labels"] == chosen and answer["probs"] == [probs[name] for name in chosen]
        (explained,) = answer["explanations"]
        assert explained == answer["topk"][0]["label"]
    plain = post(server, FILES[0]).json["predictions"][0]
    assert "all_probs" not in plain and plain["explanations"] == {} and plain["labels"] == answers[0]["labels"]


def test_the_description_and_the_metrics_are_those_of_the_task(server: Server, answers: list[dict[str, Any]]) -> None:
    described = ask(server, "GET", "/openapi.json").json
    shares = described["components"]["schemas"]["LabelsAnswer"]["properties"]
    assert all(set(answer) == set(shares) for answer in answers)
    assert 'resnet_cli_images_total{answer="none"}' in ask(server, "GET", "/metrics").data.decode()
    schemas = pytest.importorskip("jsonschema")
    schema = {"$ref": "#/components/schemas/LabelsAnswers", "components": described["components"]}
    for query in ("", "?explain=true&all_probs=true"):
        schemas.validate(post(server, FILES[0], b"broken", query=query).json, schema)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_shows_every_label_with_its_threshold(
    browser: Any, server: Server, answers: list[dict[str, Any]], scheme: str
) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(server.url)
    page.get_by_text("decides for each of 3 classes").wait_for()
    page.set_input_files("#files", [{"name": "x.png", "mimeType": "image/png", "buffer": data} for data in FILES])
    cards = page.locator(".answer")
    page.locator(".bars").nth(len(FILES) - 1).wait_for()
    # The newest is the first.
    for card, answer in zip(reversed(cards.all()), answers, strict=True):
        title = card.locator("h2").inner_text()
        assert all(name in title for name in answer["labels"]) if answer["labels"] else title == "none of them"
        assert card.locator(".is-chosen bdi").all_inner_texts() == answer["labels"]
        assert card.locator(".mark").count() == len(CLASSES)
    assert "threshold 60.0 %" in cards.first.inner_text()
    button = page.get_by_role("button", name="Show heat map").first
    button.focus()
    page.keyboard.press("Enter")
    assert cards.first.locator("img").get_attribute("src").startswith("data:image/jpeg")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360 and not faults
    context.close()
