"""The report page as people meet it: in a browser, wide and narrow, light and dark, by mouse and by keyboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.synthetic_label_reports import make_label_content
from support.synthetic_reports import make_content, with_features

from resnet_cli.reporting.report_page import report_page

pytest_plugins = ["support.browser"]

WIDE, NARROW = (1280, 900), (400, 800)
CLASSES = tuple(f"class {n}" for n in range(10))
HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "gnp.\u202eexe",
    "🐝蜜蜂" * 30,
    "مرحبا",
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    contents = {
        "ten": with_features(make_content(CLASSES, 400, strength=1.5)),
        "two": make_content(("ants", "bees"), 60),
        "thirty": make_content(tuple(f"a class of number {n}" for n in range(30)), 600),
        "hundred": make_content(tuple(f"class {n}" for n in range(100)), 1_500),
        "labels": with_features(make_label_content(CLASSES, 100)),
        "hostile": with_features(make_content(HOSTILE, 100, title="/".join(HOSTILE), command="x" * 300)),
    }
    paths = {}
    for name, content in contents.items():
        paths[name] = folder / f"{name}.html"
        paths[name].write_text(report_page(content), encoding="utf-8")
    return paths


@pytest.fixture
def visit(browser: Any, pages: dict[str, Path]) -> Iterator[Callable[..., Any]]:
    """Opens a page; at the end nothing may have been complained about or asked of any network."""
    faults: list[str] = []
    contexts = []

    def open_page(name: str, size: tuple[int, int] = WIDE, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: _note_request(request.url, faults))
        page.goto(pages[name].as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults


def _note_request(url: str, faults: list[str]) -> None:
    if not url.startswith(("file:", "data:")):
        faults.append(f"request: {url}")


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", ["two", "ten", "thirty", "hundred", "labels", "hostile"])
def test_nothing_overflows_or_complains(visit: Callable[..., Any], name: str, size: tuple[int, int]) -> None:
    page = visit(name, size, color_scheme="dark" if name == "two" else "light")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    # What is cut off without a scroll bar of its own cannot be read.
    cut = page.evaluate(
        """() => [...document.querySelectorAll("main p, main h2, main h3, main li, main figcaption, .tile *")]
            .filter((e) => !e.closest(".thumbs, .hidden-text") && e.scrollWidth > e.clientWidth + 1
                && getComputedStyle(e).display !== "inline")
            .map((e) => e.outerHTML.slice(0, 120))"""
    )
    assert not cut


def test_a_click_on_a_cell_shows_its_images(visit: Callable[..., Any]) -> None:
    page = visit("ten")
    cell = page.locator('td.cell.is-wrong[data-row="3"]').first
    num, column = int(cell.inner_text()), cell.get_attribute("data-column")
    cell.click()
    assert page.locator("#cell h3").inner_text() == f"class 3 → class {column}"
    assert f"{num} of 40 images of class 3 are predicted as class {column}" in page.locator("#cell").inner_text()
    assert page.locator("#cell img").count() == num
    assert all(page.evaluate("[...document.querySelectorAll('#cell img')].map((i) => i.naturalWidth > 0)"))
    assert cell.get_attribute("aria-selected") == "true"
    assert page.locator('td[aria-selected="true"]').count() == 1


def test_hover_tells_counts_and_share(visit: Callable[..., Any]) -> None:
    page = visit("ten")
    assert not page.locator("#tip").is_visible()
    page.locator('td.cell[data-row="2"][data-column="2"]').hover()
    assert page.locator("#tip").is_visible()
    assert "of 40 images of class 2 are classified correctly (" in page.locator("#tip").inner_text()


def test_the_matrix_works_by_keyboard_alone(visit: Callable[..., Any]) -> None:
    page = visit("ten")
    assert page.locator('#grid td[tabindex="0"]').count() == 1
    page.locator('#grid td[tabindex="0"]').focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
    here = page.evaluate("[document.activeElement.dataset.row, document.activeElement.dataset.column]")
    assert here == ["2", "0"]
    page.keyboard.press("Enter")
    assert page.locator("#cell h3").inner_text() == "class 2 → class 0"
    page.keyboard.press("End")
    page.keyboard.press(" ")
    assert page.locator("#cell h3").inner_text() == "class 2 → class 9"
    assert page.locator('#grid td[tabindex="0"]').count() == 1


def test_a_confused_pair_opens_its_cell(visit: Callable[..., Any]) -> None:
    page = visit("hundred")
    button = page.locator("[data-pair]").nth(3)
    button.click()
    true, predicted = button.get_attribute("data-pair").split(",")
    assert page.locator("#cell h3").inner_text() == f"class {true} → class {predicted}"
    assert page.locator("#cell img").count() > 0


def test_a_drawn_matrix_answers_to_mouse_and_keyboard(visit: Callable[..., Any]) -> None:
    page = visit("hundred")
    box = page.locator("#map").bounding_box()
    page.locator("#map").click(position={"x": box["width"] * 0.505, "y": box["height"] * 0.505})
    assert page.locator("#cell h3").inner_text() == "class 50"
    page.locator("#map").focus()
    page.keyboard.press("ArrowRight")
    assert "images of class 50 are predicted as class 51" in page.locator("#said").text_content()
    page.keyboard.press("Enter")
    assert page.locator("#cell h3").inner_text() == "class 50 → class 51"


def test_the_table_of_classes_sorts_by_each_column(visit: Callable[..., Any]) -> None:
    page = visit("ten")
    heads = page.locator("#classes-table thead th")
    assert heads.count() == 8
    for column in range(8):
        for wanted in ("ascending", "descending"):
            heads.nth(column).locator("button").click()
            assert heads.nth(column).get_attribute("aria-sort") == wanted
            assert page.locator(f'#classes-table th[aria-sort="{wanted}"]').count() == 1
            values = page.evaluate(
                "(n) => [...document.querySelectorAll('#classes-table tbody tr')].map((r) => r.cells[n].dataset.value)",
                column,
            )
            keys = [value if column == 0 else float(value) for value in values if value]
            assert len(values) == 10 and keys == sorted(keys, reverse=wanted == "descending")


def test_a_class_is_found_by_its_name(visit: Callable[..., Any]) -> None:
    page = visit("hundred")
    page.locator("#search").fill("CLASS 77")
    shown = [row for row in page.locator("#classes-table tbody tr").all() if row.is_visible()]
    assert len(shown) == 1 and page.locator("#found").inner_text() == "1 of 100"


def test_the_command_is_copied(visit: Callable[..., Any]) -> None:
    page = visit("ten", permissions=["clipboard-read", "clipboard-write"])
    page.locator("#copy").click()
    page.get_by_text("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "resnet-cli finetune --config 'runs/my pets/config.yaml'"


def test_without_a_script_the_page_still_tells_everything_but_a_cells_images(visit: Callable[..., Any]) -> None:
    page = visit("ten", java_script_enabled=False)
    assert page.locator("#grid td.cell").count() == 100 and page.locator("#worst img").count() > 0
    assert "shown by a script" in page.locator("#cell").inner_text()
    assert not page.locator("#copy").is_visible()


def test_names_in_a_cell_are_text(visit: Callable[..., Any]) -> None:
    page = visit("hostile")
    for row in range(len(HOSTILE)):
        page.locator(f'td.cell[data-row="{row}"]:not(.none)').first.click()
        assert page.locator("#cell script, #cell [onerror]").count() == 0
    assert page.locator("bdi").count() > 20


def luminance(colour: str) -> float:
    """Of ``rgb(r, g, b)``. Source: WCAG 2.2, relative luminance."""
    shares = np.array([int(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read_on_their_ground_in_both_themes(visit: Callable[..., Any], scheme: str) -> None:
    page = visit("ten", color_scheme=scheme)
    pairs = page.evaluate(
        """() => {
            // A canvas turns every notation of a colour into bytes.
            const brush = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
            const bytes = (colour) => {
                brush.clearRect(0, 0, 1, 1);
                brush.fillStyle = colour;
                brush.fillRect(0, 0, 1, 1);
                return [...brush.getImageData(0, 0, 1, 1).data];
            };
            const ground = (e) => {
                for (; e; e = e.parentElement) {
                    const [r, g, b, a] = bytes(getComputedStyle(e).backgroundColor);
                    if (a === 255) return `rgb(${r}, ${g}, ${b})`;
                }
            };
            return [...document.querySelectorAll("body *")]
                .filter((e) => e.checkVisibility() && !e.closest("svg, script, .cell.none, .skip, .hidden-text")
                    && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
                .map((e) => [`rgb(${bytes(getComputedStyle(e).color).slice(0, 3)})`, ground(e), e.outerHTML]);
        }"""
    )
    assert len(pairs) > 200
    for ink, ground, element in pairs:
        light, dark = sorted((luminance(ink), luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{ink} on {ground}: {element[:100]}"


def test_print_shows_what_a_screen_scrolls(visit: Callable[..., Any]) -> None:
    page = visit("hundred", (794, 1123), color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflow") == "visible"
    assert luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) == 1.0
    assert not page.locator("nav").is_visible() and not page.locator("#search").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 794


def test_the_map_shows_the_image_under_the_mouse_and_the_keys_move_over_it(visit: Callable[..., Any]) -> None:
    page = visit("ten")
    plane, shown = page.locator("#embedding-map"), page.locator("#embedding-image")
    points = page.evaluate("JSON.parse(document.getElementById('data').textContent).map.points")
    assert len(points) == 400 and page.locator(".map-legend li").count() == 10
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    right = next(point for point in points if point[2])
    page.mouse.move(box["x"] + right[0] / 100 * box["width"], box["y"] + right[1] / 100 * box["height"])
    names = [point[6].split("/")[-1] for point in points if point[:2] == right[:2]]
    assert any(name in shown.inner_text() for name in names)
    shown.locator("img").wait_for()
    page.wait_for_function("document.querySelector('#embedding-image img').naturalWidth > 0")
    page.locator("#map-class").select_option(label="class 4")
    wrong = sum(not point[2] for point in points if point[10] == [4])
    assert page.locator("#map-found").inner_text() == f"40, of which {wrong} wrong"
    assert page.locator(".embedding .lit").get_attribute("d").count("M") == 40
    plane.focus()
    before = shown.inner_text()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert shown.inner_text() != before and "true class" in page.locator("#said").text_content()
    page.keyboard.press("Enter")
    assert page.locator("#lightbox").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#lightbox").is_visible()


def test_the_map_works_by_touch_on_a_phone(visit: Callable[..., Any]) -> None:
    page = visit("labels", NARROW, has_touch=True, is_mobile=True)
    points = page.evaluate("JSON.parse(document.getElementById('data').textContent).map.points")
    plane = page.locator("#embedding-map")
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    page.touchscreen.tap(box["x"] + points[7][0] / 100 * box["width"], box["y"] + points[7][1] / 100 * box["height"])
    assert "predicted" in page.locator("#embedding-image").inner_text()
    assert page.locator("#embedding-image").bounding_box()["width"] <= NARROW[0]


def test_an_image_enlarges_with_its_heat_map_and_gives_the_focus_back(visit: Callable[..., Any]) -> None:
    page = visit("ten")
    images, box = page.locator("#worst .shots"), page.locator("#lightbox")
    num = images.count()
    first = images.first.locator("img").first
    first.focus()
    page.keyboard.press("Enter")
    assert box.is_visible() and box.locator(".light-count").inner_text() == f"1 of {num}"
    assert box.locator(".light-images img").count() == images.first.locator("img").count() == 2
    assert all(box.locator("img").evaluate_all("(all) => all.map((one) => one.alt)"))
    wide = box.locator("img").first.bounding_box()["width"]
    assert wide > first.bounding_box()["width"]
    page.keyboard.press("ArrowRight")
    assert box.locator(".light-count").inner_text() == f"2 of {num}"
    page.keyboard.press("End")
    assert box.locator(".light-count").inner_text() == f"{num} of {num}"
    assert not box.get_by_label("Next image").is_visible()
    page.keyboard.press("Escape")
    assert not box.is_visible()
    assert page.evaluate("document.activeElement === document.querySelector('#worst .shots img')")


def test_images_that_are_shown_later_enlarge_as_well(visit: Callable[..., Any]) -> None:
    page = visit("ten", NARROW)
    page.locator('td.cell.is-wrong[data-row="3"]').first.click()
    page.locator("#cell img").first.click()
    assert page.locator("#lightbox").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW[0]
    page.get_by_label("Close").click()
    assert not page.locator("#lightbox").is_visible()
