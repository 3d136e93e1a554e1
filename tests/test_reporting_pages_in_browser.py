"""The pages of an inspection and of doubtful labels in a browser: both widths, both themes, by keyboard alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resnet_cli.data.dataset import Dataset, Item
from resnet_cli.data.inspection.inspect import inspect_images
from resnet_cli.data.inspection.scan import scan
from resnet_cli.reporting.inspection_page import inspection_page
from resnet_cli.reporting.label_sheet import label_sheet
from resnet_cli.reporting.provenance import Provenance
from resnet_cli.studies.label_audit import rank

pytest_plugins = ["support.browser"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    rng = np.random.default_rng(0)
    items = []
    for at in range(24):
        path = folder / f"a rather long name of a photo from a camera {at}.png"
        pixels = np.zeros((40, 60, 3), np.uint8) if at < 3 else rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        items.append(Item(path.name, path, (at % 2,), "train"))
    data = Dataset("pets", str(folder), ("cat", "dog"), items)
    probs = np.full((24, 2), 0.5, np.float32)
    audit = rank(probs, np.arange(24) % 2, ("cat", "dog"), np.ones(24, bool))
    about = Provenance.now(run="pets-20260101-120000", data=str(folder), seconds=3)
    texts = {
        "inspection": inspection_page(inspect_images(data, scan(items)), about, folder=folder),
        "sheet": label_sheet(audit, items, name="pets", table="pets-labels.csv", provenance=about, folder=folder),
    }
    paths = {}
    for name, text in texts.items():
        paths[name] = folder / f"{name}.html"
        paths[name].write_text(text, encoding="utf-8")
    return paths


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
@pytest.mark.parametrize("name", ["inspection", "sheet"])
def test_a_page_fits_its_screen_enlarges_by_keyboard_and_names_its_origin(
    browser: Any, pages: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    faults: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(pages[name].as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert "pets-20260101-120000" in page.locator("footer").inner_text()
    link = page.locator("main a.name").first.get_attribute("href")
    assert link.startswith("./") and page.evaluate("(to) => new URL(to, location).href", link).startswith("file:///")
    image, box = page.locator("main img.shot").first, page.locator("#lightbox")
    image.focus()
    page.keyboard.press(" ")
    assert box.is_visible() and box.locator("img").first.get_attribute("alt")
    assert box.bounding_box()["width"] <= width
    page.keyboard.press("ArrowRight")
    assert box.locator(".light-count").inner_text().startswith("2 of ")
    page.keyboard.press("Escape")
    assert not box.is_visible()
    assert page.evaluate("document.activeElement === document.querySelector('main img.shot')")
    context.close()
    assert not faults
