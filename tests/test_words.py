"""No text that a person meets has a phrase that only this project's past would understand."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "resnet_cli"
PHRASES = re.compile(
    r"\bleave (?:\S+ ){1,4}away\b|\bleft away\b|\bso (?:many|often)\b|\bgo(?:es|ing)? on (?:in|with|where)\b"
    r"|\bgoes on\b|\bwhoever\b|(?<!there )\b(?:is|are) (?-i:none)\b|\bof ours\b"
    r"|(?<!there )\b(?:is|are) no (?:class|classes|images?|labels?)\b|\ba training (?:gains|gets|says)\b"
    r"|\bthat (?:is|are) no (?!longer\b|more\b)|\bto their makers\b|\b(?:ends|ended|removed) meanwhile\b|\bby nobody\b",
    re.I,
)
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "examples").glob("*.*"),
    *PACKAGE.rglob("*.j2"),
    *PACKAGE.rglob("*.html"),
    *PACKAGE.rglob("*.js"),
]


@pytest.mark.parametrize("path", [*PACKAGE.rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")], ids=lambda p: p.name)
def test_docstrings_messages_and_comments_are_plain(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    texts = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    texts += re.findall(r"(?<!\S)#.*", source)
    found = [found for text in texts if isinstance(text, str) for found in PHRASES.findall(" ".join(text.split()))]
    assert not found, found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_are_plain(path: Path) -> None:
    # Not the code in templates.
    text = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", path.read_text(encoding="utf-8"))
    assert not PHRASES.findall(" ".join(text.split()))
