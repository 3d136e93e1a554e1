"""The studio's page as people use it: from dropped folders to predictions and exports, by mouse and keyboard."""

from __future__ import annotations

import base64
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.live_server import png
from support.running import COMMAND, spawn

pytest.importorskip("starlette", reason="the server is not installed: pip install '.[serve]'")

from support.live_page import CONTRASTS
from support.live_studio import NO_WORKER, TOKEN, WORKER, LiveStudio, narrow_weights, running_studio

pytest_plugins = ["support.browser", "support.narrow_network"]


def photo(channel: int, index: int) -> bytes:
    """Noise around a color."""
    rng = np.random.default_rng((channel, index))
    color = np.full(3, 90)
    color[channel] = 180
    return png(Image.fromarray(np.clip(color + rng.normal(0, 30, (36, 48, 3)), 0, 255).astype(np.uint8)))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes; an image of each is in the other one's folder, and a file is no image."""
    root = tmp_path_factory.mktemp("data") / "colors"
    for label, channel in (("red", 0), ("blue", 2)):
        (root / label).mkdir(parents=True)
        for index in range(10):
            (root / label / f"{index}.png").write_bytes(photo(channel, index))
        (root / label / "wrong.png").write_bytes(photo(2 - channel, 50))
    (root / "red" / "broken.jpg").write_bytes(b"no image")
    (root / "readme.txt").write_text("x")
    return root


@pytest.fixture
def live(tmp_path: Path, narrow: None, request: pytest.FixtureRequest) -> Iterator[LiveStudio]:
    worker = WORKER if "photos" in request.fixturenames else NO_WORKER
    with running_studio(tmp_path / "projects", str(narrow_weights(tmp_path)), worker) as started:
        yield started


class Visit:
    """An open page; at the end there may be no errors on its console and no requests to other servers."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.faults: list[str] = []
        self.context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        self.url = url
        self.page = self.open(f"{url}/#token={TOKEN}")

    def open(self, address: str) -> Any:
        page = self.context.new_page()
        page.on("console", lambda message: self._note(message.text))
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("request", lambda request: self._note_request(request.url))
        page.goto(address)
        return page

    def _note(self, text: str) -> None:
        # Chromium's own message about a refusal, which the page shows.
        if "the server responded with a status of 4" not in text:
            self.faults.append(f"console: {text}")

    def _note_request(self, address: str) -> None:
        if not address.startswith((self.url, "blob:", "data:")):
            self.faults.append(f"request: {address}")


@pytest.fixture
def visit(browser: Any, live: LiveStudio) -> Iterator[Visit]:
    opened = Visit(browser, live.url, permissions=["camera"])
    yield opened
    opened.context.close()
    assert not opened.faults


def drop(page: Any, place: str, *files: bytes) -> None:
    """Drops real files onto a part of the page."""
    page.evaluate(
        """([place, files]) => {
          const transfer = new DataTransfer();
          files.forEach((data, index) => {
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
            transfer.items.add(new File([bytes], `dropped-${index}.png`, { type: "image/png" }));
          });
          const event = new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
          document.querySelector(place).dispatchEvent(event);
        }""",
        [place, [base64.b64encode(data).decode() for data in files]],
    )


def count(page: Any) -> str:
    return str(page.locator("#images-count").inner_text())


def test_from_a_dropped_folder_to_a_prediction(visit: Visit, live: LiveStudio, photos: Path) -> None:
    page = visit.page
    page.get_by_text("Training needs images of at least two classes.").wait_for()
    assert TOKEN not in page.url
    page.set_input_files("#folder-input", photos)
    page.get_by_text("22 images added").wait_for()
    assert count(page) == "2 classes, 22 images"
    assert "broken.jpg: not an image" in page.locator("#refused").inner_text()
    folder = live.studio.root / "my-images"
    assert len(list((folder / "images" / "red").iterdir())) == 11

    page.click("#train-run")
    page.locator("#results .tile").first.wait_for(timeout=60_000)
    assert (folder / "runs" / "1" / "report.html").is_file()
    assert page.locator("#try").is_visible() and page.locator("#export").is_visible()
    assert "runs/2" in page.locator("#train-command").inner_text()

    drop(page, "#try-drop", photo(0, 99), photo(2, 99))
    page.locator("#answers .answer").nth(1).locator(".bars").wait_for()
    page.locator("#answers .answer").nth(0).locator(".bars").wait_for()
    answers = [title.split()[0] for title in page.locator("#answers h2").all_inner_texts()]
    assert answers == ["blue", "red"]

    # The report opens in a tab of its own, with its script, and without the token.
    with visit.context.expect_page() as opened:
        page.get_by_role("link", name="Open the whole report").click()
    report = opened.value
    report.on("console", lambda message: visit.faults.append(f"report: {message.text}"))
    report.wait_for_load_state()
    assert "my-images" in report.url and TOKEN not in report.url and report.locator("h1").inner_text()
    report.close()

    # A reload changes nothing.
    page.reload()
    page.locator("#results .tile").first.wait_for()
    assert count(page) == "2 classes, 22 images"
    for width, scheme in ((400, "light"), (1280, "dark")):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        low = page.evaluate(CONTRASTS)
        assert not low, f"hard to read: {low}"


def test_classes_are_made_filled_and_changed_by_keyboard(visit: Visit, live: LiveStudio) -> None:
    page = visit.page
    page.get_by_role("heading", name="my-images").wait_for()
    page.get_by_role("button", name="Add a class").focus()
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    page.keyboard.type("cat")
    page.keyboard.press("Enter")
    page.get_by_text("The class cat is there").wait_for()
    drop(page, ".class[data-label=cat]", photo(0, 1), photo(0, 2))
    page.get_by_text("2 images added").wait_for()
    page.get_by_role("button", name="Remove cat/dropped-0.png").focus()
    page.keyboard.press("Enter")
    page.get_by_text("dropped-0.png was moved").wait_for()
    assert count(page) == "1 class, 1 image"
    page.get_by_role("button", name="Undo").focus()
    page.keyboard.press("Enter")
    page.get_by_text("dropped-0.png is back in cat").wait_for()
    # Photos that belong to no class yet.
    drop(page, "#drop", photo(2, 1))
    page.get_by_text("Which class does this photo belong to?").wait_for()
    page.keyboard.type("dog")
    page.keyboard.press("Enter")
    page.get_by_text("1 image added").wait_for()
    page.get_by_label("Name of the class dog").fill("hound")
    page.keyboard.press("Enter")
    page.get_by_text("The class is now called hound").wait_for()
    page.get_by_label("Name of the class hound").fill("train")
    page.keyboard.press("Enter")
    page.get_by_text("is not read as a class").wait_for()
    assert page.get_by_label("Name of the class hound").input_value() == "hound"
    page.get_by_role("button", name="Take photos of cat").click()
    page.get_by_role("button", name="Take a photo").click()
    page.get_by_text("cat has 3 images").wait_for()
    page.get_by_role("button", name="Done").click()
    found = live.studio.root / "my-images" / "images"
    assert len(list((found / "cat").iterdir())) == 3 and [path.name for path in (found / "hound").iterdir()] == [
        "dropped-0.png"
    ]


def test_without_the_token_the_page_asks_for_it(browser: Any, tmp_path: Path) -> None:
    with running_studio(tmp_path, worker=NO_WORKER) as live:
        page = browser.new_page()
        page.goto(live.url)
        page.get_by_label("paste its token").fill(f"{live.url}/#token={TOKEN}")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Add a class").wait_for()
        page.close()


@pytest.mark.slow
def test_thirty_real_photos_of_each_class_are_learned_checked_and_exported(
    browser: Any, tmp_path: Path, assets: Path, record_property: Callable[[str, object], None]
) -> None:
    folder = tmp_path / "photos"
    for label in ("ants", "bees"):
        (folder / label).mkdir(parents=True)
        for path in sorted((assets / "photos/ants_bees/train" / label).iterdir())[:30]:
            (folder / label / path.name).write_bytes(path.read_bytes())
    weights = next((assets / "weights").glob("*.safetensors"))
    with spawn(["studio", "--no-open", "--port", "0", "--weights", weights], tmp_path) as process:
        try:
            assert process.stdout
            page = browser.new_page()
            page.goto(process.stdout.readline().strip())
            page.get_by_role("button", name="Add a class").wait_for()
            began = time.monotonic()
            page.set_input_files("#folder-input", folder)
            page.get_by_text("60 images added").wait_for()
            page.click("#train-run")
            page.locator("#results .tile").first.wait_for(timeout=300_000)
            page.set_input_files("#try-input", next((assets / "photos/ants_bees/val/ants").iterdir()))
            page.locator("#answers .bars").wait_for(timeout=60_000)
            record_property("seconds", round(time.monotonic() - began, 1))
            page.locator("#labels-run:not([disabled])").click()
            page.get_by_text("60 labels checked").wait_for(timeout=300_000)
            page.locator("#export-run:not([disabled])").click()
            page.get_by_text("Download my-images-1.onnx").wait_for(timeout=300_000)
            # The command beside a click is one that runs.
            command = page.locator("#check-command pre").text_content()
            subprocess.run(["sh", "-ec", command.replace("resnet-cli", str(COMMAND))], check=True, timeout=300)
            page.close()
        finally:
            process.terminate()
            process.communicate(timeout=120)
