"""The server's page as people use it: images dropped, chosen, pasted and photographed, by mouse and keyboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.live_page import CONTRASTS, IMAGE, drop, read_answer, visits
from support.live_server import Server, png, post, serving
from support.synthetic_models import CLASSES, images

pytest.importorskip("starlette", reason="the server is not installed: pip install '.[serve]'")
pytest_plugins = ["support.browser", "support.exported_model"]

TOKEN = "correct-horse"


@pytest.fixture(scope="module")
def server(made_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # Some of the images are classified, others are unknown.
    with serving(made_onnx, "--threshold", 0.4, cwd=tmp_path_factory.mktemp("here")) as started:
        yield started


@pytest.fixture
def visit(browser: Any, server: Server) -> Iterator[Callable[..., Any]]:
    # Chromium's own message about a 422 response, which the page shows.
    with visits(browser, server.url, expected="422") as visit:
        yield visit


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_an_image_that_is_dropped_or_pasted_is_answered(visit: Callable[..., Any], server: Server, kind: str) -> None:
    page = visit()
    drop(page, kind)
    title, bars = read_answer(page)
    (answer,) = post(server, IMAGE).json["predictions"]
    assert title.startswith(answer["label"])
    assert bars == {share["label"]: f"{100 * share['prob']:.1f} %" for share in answer["topk"]}
    assert answer["label"] in page.get_by_role("status").inner_text()


def test_unknown_is_said_with_its_reason(visit: Callable[..., Any], server: Server) -> None:
    answers = {data: post(server, data).json["predictions"][0] for data in map(png, images())}
    unlike, reason = next((data, answer["unknown"]) for data, answer in answers.items() if answer["unknown"])
    page = visit()
    page.set_input_files("#files", [{"name": "x.png", "mimeType": "image/png", "buffer": unlike}])
    title, bars = read_answer(page)
    assert title == "unknown" and len(bars) == len(CLASSES)
    assert page.locator(".answer .why").inner_text().startswith(reason)


def test_an_image_unlike_the_training_images_keeps_its_class_and_is_marked(
    visit: Callable[..., Any], server: Server
) -> None:
    answers = {data: post(server, data).json["predictions"][0] for data in map(png, images())}
    unlike, label = next(
        (data, answer["label"]) for data, answer in answers.items() if answer["unfamiliar"] and not answer["unknown"]
    )
    page = visit()
    page.set_input_files("#files", [{"name": "x.png", "mimeType": "image/png", "buffer": unlike}])
    title, _ = read_answer(page)
    assert title.startswith(label)
    assert page.locator(".answer .why").inner_text().startswith("Unlike the training images")
    assert page.get_by_role("status").inner_text().endswith(", unlike the training images")
    assert "says when an image is unlike its training images" in page.locator("#about").inner_text()


def test_where_it_looked_is_shown_by_keyboard(visit: Callable[..., Any]) -> None:
    page = visit()
    drop(page)
    read_answer(page)
    button = page.get_by_role("button", name="Show heat map")
    button.focus()
    page.keyboard.press("Enter")
    pressed = page.get_by_role("button", name="Show the image")
    assert pressed.get_attribute("aria-pressed") == "true"
    image = page.locator(".answer img")
    assert image.get_attribute("src").startswith("data:image/jpeg") and "light where" in image.get_attribute("alt")
    page.keyboard.press("Space")
    assert image.get_attribute("src").startswith("blob:")


def test_the_chooser_opens_by_keyboard(visit: Callable[..., Any]) -> None:
    page = visit()
    page.keyboard.press("Tab")
    # On a busy machine Enter may arrive before the focus.
    page.wait_for_function("document.activeElement.id === 'files'")
    found: list[Any] = []
    page.on("filechooser", lambda chooser: found.append(chooser))
    # While a page is being drawn for the first time, Chromium drops keys: on a busy machine that can take seconds.
    for _ in range(20):
        page.keyboard.press("Enter")
        page.wait_for_timeout(1500)
        if found:
            break
    found[0].set_files([{"name": "ant.png", "mimeType": "image/png", "buffer": IMAGE}])
    assert read_answer(page)[1]


def test_a_photo_is_taken_and_answered(visit: Callable[..., Any], server: Server) -> None:
    page = visit(permissions=["camera"])
    page.get_by_role("button", name="Take a photo").click()
    page.get_by_role("button", name="Take the photo").click()
    assert read_answer(page)[1]
    assert not page.locator("dialog").is_visible()


def test_what_cannot_be_read_is_told_and_the_next_image_goes_on(visit: Callable[..., Any]) -> None:
    page = visit()
    files = [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in [("a", b"x"), ("b", IMAGE)]]
    page.set_input_files("#files", files)
    page.locator(".answer .bars").wait_for()
    broken = page.locator(".answer.is-error")
    assert "not an image" in broken.inner_text() and not broken.locator("img").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_on_a_phone_and_all_can_be_read(visit: Callable[..., Any], scheme: str) -> None:
    page = visit(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    drop(page)
    read_answer(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    low = page.evaluate(CONTRASTS)
    assert not low, f"hard to read: {low}"


def test_a_token_is_asked_for_and_kept(browser: Any, made_onnx: Path, tmp_path: Path) -> None:
    with serving(made_onnx, "--token", TOKEN, cwd=tmp_path) as server:
        page = browser.new_page()
        page.goto(server.url)
        field = page.get_by_label("This server requires a token")
        field.fill("wrong-token")
        page.keyboard.press("Enter")
        page.get_by_text("That token is wrong.").wait_for()
        field.fill(TOKEN)
        page.keyboard.press("Enter")
        page.get_by_text("distinguishes 3 classes").wait_for()
        page.reload()
        page.get_by_text("distinguishes 3 classes").wait_for()
        drop(page)
        assert read_answer(page)[1]
        page.close()
