"""What every HTML page of ours shares: how it is drawn, how strangers' names get into it, which findings come first."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from resnet_cli.data.inspection.findings import Finding
from resnet_cli.text import printable, shorten, size

#: What spoils a model or its figures, then what is worth some work; the rest is good to know.
_SERIOUS = frozenset({"unreadable", "label_conflicts", "leaks", "torn_groups", "class_mismatch"})
_MODERATE = frozenset({"exact_duplicates", "tiny_classes", "imbalance"})


@functools.cache
def environment() -> Environment:
    """The templates, with everything escaped and made printable that they are given."""
    made = Environment(
        loader=PackageLoader("resnet_cli", "reporting/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_drawable,
    )
    made.filters.update(shorten=shorten, size=size)
    return made


def source(name: str) -> str:
    """The text of a file beside the templates, as it is."""
    made = environment()
    assert made.loader is not None
    return made.loader.get_source(made, name)[0]


def ranked(findings: Sequence[Finding]) -> list[tuple[int, Finding]]:
    """Findings with their rank, 0 the worst; in the order that they came in within a rank."""
    ranks = [0 if finding.code in _SERIOUS else 1 if finding.code in _MODERATE else 2 for finding in findings]
    return sorted(zip(ranks, findings, strict=True), key=lambda pair: pair[0])


def _drawable(value: object) -> object:
    # Every text of the page passes here: names of strangers hold line breaks, overrides and lone surrogates.
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
