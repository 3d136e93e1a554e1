"""What all HTML pages share: the template environment, safe texts, and the order of findings."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from resnet_cli.data.inspection.inspect import Finding
from resnet_cli.text import percent, printable, shorten, size

#: Findings that make a model or its metrics invalid, and findings worth some work; the others are for information.
_SERIOUS = frozenset({"refused", "unreadable", "label_conflicts", "leaks", "torn_groups", "class_mismatch", "spelling"})
_MODERATE = frozenset({"similar_class", "exact_duplicates", "tiny_classes", "imbalance", "never_set", "always_set"})


@functools.cache
def environment() -> Environment:
    """The template environment, which escapes every value and makes it printable."""
    made = Environment(
        loader=PackageLoader("resnet_cli", "reporting/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_drawable,
    )
    made.filters.update(percent=percent, shorten=shorten, size=size)
    made.globals.update(infinity=math.inf)
    return made


def source(name: str) -> str:
    """The text of a file beside the templates, unchanged."""
    made = environment()
    assert made.loader is not None
    return made.loader.get_source(made, name)[0]


def ranked(findings: Sequence[Finding]) -> list[tuple[int, Finding]]:
    """Findings with their rank, 0 for the worst; their order within a rank is kept."""
    ranks = [0 if finding.code in _SERIOUS else 1 if finding.code in _MODERATE else 2 for finding in findings]
    return sorted(zip(ranks, findings, strict=True), key=lambda pair: pair[0])


def _drawable(value: object) -> object:
    # Every text of a page passes here: file names can contain line breaks, overrides and lone surrogates.
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
