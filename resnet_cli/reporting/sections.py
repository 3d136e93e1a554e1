"""A report page as a list of sections: each has its own template, and the task of a model decides which there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from resnet_cli.evaluation.intervals import Interval
from resnet_cli.reporting.templating import environment


class Section(NamedTuple):
    """One section of a report page.

    Attributes:
        name: Name of its template, and its anchor in the page.
        title: Its name in the navigation.
        body: Its HTML; empty for a section that this report does not have.
        is_always: Whether every report has it.
    """

    name: str
    title: str
    body: Markup
    is_always: bool


class Headline(NamedTuple):
    """The top of a report page.

    Attributes:
        eyebrow: What the page is.
        lead: The main result in two sentences, as HTML.
        label: Name of the main score.
        share: The main score with its 95 % interval.
        skip_to: Name of the section with the results, for readers who skip the top.
    """

    eyebrow: str
    lead: Markup
    label: str
    share: Interval
    skip_to: str


def fill(name: str, **values: Any) -> Markup:
    """The HTML of a template of a section, filled with its values."""
    return Markup(environment().get_template(f"sections/{name}.html.j2").render(**values))


def macro(template: str, name: str, gallery: Sequence[object]) -> Markup:
    """A gallery drawn by a macro of a template; empty without images."""
    if not gallery:
        return Markup()
    return Markup(getattr(environment().get_template(template).module, name)(gallery))


def section(name: str, title: str, values: dict[str, Any]) -> Section:
    """A section that every report has."""
    return Section(name, title, fill(name, **values), True)


def optional_section(name: str, title: str, content: object, values: dict[str, Any]) -> Section:
    """A section of some content; without content, a section that the page omits."""
    return Section(name, title, fill(name, **values) if content else Markup(), False)


def links(sections: Sequence[Section]) -> Markup:
    """The items of the navigation."""
    item = Markup('<li><a href="#{}">{}</a></li>')
    shown = (one for one in sections if one.body)
    return Markup().join(
        Markup("    {}\n" if one.is_always else "{}").format(item.format(one.name, one.title)) for one in shown
    )


def main(sections: Sequence[Section]) -> Markup:
    """The sections one after the other."""
    return Markup("\n").join(Markup("{}\n").format(one.body) if one.body else Markup() for one in sections)
