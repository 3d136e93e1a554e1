"""What tests of the pages that classify images in a browser share."""

from __future__ import annotations

import base64
from typing import Any

from support.live_server import png
from support.synthetic_models import images

IMAGE = png(images()[4])


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
