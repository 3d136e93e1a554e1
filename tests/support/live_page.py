"""What tests of the pages that classify images in a browser share."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from support.live_server import png
from support.synthetic_models import images

IMAGE = png(images()[4])


@contextlib.contextmanager
def visits(browser: Any, url: str, *, expected: str = "") -> Iterator[Callable[..., Any]]:
    """Gives a function that opens the page, in a context of its own, and waits until it has its model.

    At the end there may be no errors on a console and no requests to other servers.

    Args:
        browser: The fixture.
        url: The page, unless another one is opened.
        expected: Part of the messages on the console that are no fault.
    """
    faults: list[str] = []

    def note_message(text: str) -> None:
        if not expected or expected not in text:
            faults.append(f"console: {text}")

    def note_request(asked: str, own: str) -> None:
        if not asked.startswith((own, f"blob:{own}", "data:")):
            faults.append(f"request: {asked}")

    with contextlib.ExitStack() as opened:

        def visit(url: str = url, **options: Any) -> Any:
            context = browser.new_context(**({"viewport": {"width": 1100, "height": 800}} | options))
            opened.callback(context.close)
            page = context.new_page()
            page.on("console", lambda message: note_message(message.text))
            page.on("pageerror", lambda error: faults.append(f"error: {error}"))
            page.on("request", lambda request: note_request(request.url, url))
            page.goto(url)
            page.get_by_text("distinguishes 3 classes").wait_for()
            return page

        yield visit
    assert not faults


def drop(page: Any, kind: str = "drop") -> None:
    """Puts a real file into the page, as a person would."""
    page.evaluate(
        """([kind, data]) => {
          const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], "ant.png", { type: "image/png" }));
          const event = kind === "drop"
            ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
            : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true });
          document.getElementById("drop").dispatchEvent(event);
        }""",
        [kind, base64.b64encode(IMAGE).decode()],
    )


def read_answer(page: Any) -> tuple[str, dict[str, str]]:
    """The heading of the newest prediction, and the texts of its bars."""
    card = page.locator(".answer").first
    card.locator("h2").wait_for()
    names, shares = (card.locator(f".bars {part}").all_inner_texts() for part in ("bdi", ".share"))
    return card.locator("h2").inner_text(), dict(zip(names, shares, strict=True))


#: Texts whose contrast with their background is below 4.5 to 1. Source: WCAG 2.2, 1.4.3.
CONTRASTS = """() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map((x) => x / 255)
      .map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!/, 0\\)$|transparent/.test(colour)) return light(colour);
    }
    return 1;
  };
  return [...document.querySelectorAll("h1, h2, p, .button, .name, .share, bdi, summary")]
    .filter((element) => element.offsetParent && element.innerText.trim())
    .map((element) => {
      const [a, b] = [light(getComputedStyle(element).color), ground(element)].sort((x, y) => y - x);
      return [element.innerText.slice(0, 30), (a + 0.05) / (b + 0.05)];
    })
    .filter(([, contrast]) => contrast < 4.5);
}"""
