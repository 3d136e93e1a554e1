"""An HTML document taken apart, to say what is in it and that nothing of it comes from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from html.parser import HTMLParser

VOID = {"meta", "img", "line", "br", "input", "col", "rect", "path"}


class Page(HTMLParser):
    """A document taken apart; elements must close in the order they were opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.open: list[str] = []
        assert text.startswith("<!DOCTYPE html>")
        self.feed(text)
        self.close()
        assert not self.open
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        # A shape may hold its title.
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open[-1:]):
            self.text += data

    def values(self, tag: str, name: str) -> list[str]:
        return [value for found, attribute, value in self.attributes if (found, attribute) == (tag, name)]


def assert_self_contained(page: Page) -> None:
    """Nothing is fetched, no attribute runs anything, every anchor is there, and every image says what it is."""
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), f"{tag} {name}"
        if name in {"src", "href", "srcset", "data", "poster"}:
            assert value.startswith(("#", "data:image/jpeg;base64,")), f"{tag} {name}={value[:60]}"
    anchors = {value for _, name, value in page.attributes if name == "id"}
    assert {value[1:] for value in page.values("a", "href")} <= anchors
    named = {name for _, key, value in page.attributes if key == "aria-labelledby" for name in value.split()}
    assert named <= anchors
    assert len(anchors) == len([1 for _, name, _ in page.attributes if name == "id"])
    assert page.tags["img"] == len([value for value in page.values("img", "alt") if value])


def assert_only_own_script(text: str) -> None:
    """The page has one script, which its security policy names by its hash: no other one may run."""
    (script,) = re.findall(
        r"<script[^>]*>(.*?)</script>",
        re.sub(r'<script type="application/json".*?</script>', "", text, flags=re.DOTALL),
        re.DOTALL,
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text
    assert "alert(" not in script
