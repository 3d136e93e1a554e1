"""Tables of an inspection."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from resnet_cli.cli.score_parts import MAX_CLASS_ROWS
from resnet_cli.cli.tables import files_block, plain_table
from resnet_cli.data.dataset import SPLITS
from resnet_cli.data.inspection.findings import find_problems
from resnet_cli.data.inspection.inspect import apart
from resnet_cli.data.inspection.label_sets import contradict
from resnet_cli.text import first_of, printable, size

if TYPE_CHECKING:
    from resnet_cli.commands.inspect import InspectResult
    from resnet_cli.data.inspection.inspect import Inspection

#: Limits on the lines of each list, the names in a group of copies, and the findings; --json and --html have more.
MAX_LINES = 8
MAX_NAMES = 3
MAX_FINDINGS = 20
#: Properties of files that decoding changes -> their description.
KIND_NAMES = {
    "rotated": "turned upright (EXIF)",
    "gray": "gray",
    "transparent": "transparent, composited on white",
    "sixteen_bit": "16 bits, scaled to 8",
    "cmyk": "CMYK",
}
#: Looks of images that training gains little from -> their description.
LOOK_NAMES = {
    "tiny": "much smaller than the others",
    "flat": "one color, or nearly so",
    "dark": "nearly black",
    "bright": "nearly white",
    "blurred": "blurred",
}
#: Files that were found and not used -> their description.
PASSED_OVER_NAMES = {
    "others": "other files, ignored",
    "hidden": "hidden files, ignored",
    "links": "links, not followed",
    "unlabelled": "images without a class, ignored",
    "unlisted": "images without a label, ignored",
}


def inspection_blocks(result: InspectResult, *, width: int) -> list[RenderableType]:
    """What is in a data set, what is wrong with it, and which files were written."""
    blocks, written = _tables(result.inspection), []
    if result.table:
        kept = f"{len(result.inspection.images) - result.num_dropped:,} images; {result.num_dropped:,} omitted"
        written.append((str(result.table), f"{kept}; next: resnet-cli finetune {shlex.quote(str(result.table))}"))
    if result.html:
        written.append((str(result.html), "the report with images"))
    return [*blocks, files_block("Written", written, width=width)] if written else blocks


def _tables(inspection: Inspection) -> list[RenderableType]:
    dataset = inspection.dataset
    blocks: list[RenderableType] = [Text(f"Read as {printable(dataset.describe())}.")] if dataset.reading else []
    blocks += [_classes(inspection), _facts(inspection)]
    blocks += _listing("Unreadable", [f"{item.name}: {reason}" for item, reason in inspection.unreadable])
    blocks += _listing("Exact copies", _copy_lines(inspection))
    blocks += _listing("Near duplicates", _near_lines(inspection))
    found = find_problems(inspection)
    problems = [finding for finding in found if finding.fix]
    if not problems:
        blocks.append(Text.assemble(("No problems found.", "green")))
    else:
        blocks.append(Text("What to do", style="bold"))
    for problem in problems[:MAX_FINDINGS]:
        blocks.append(_item(problem.message, "yellow"))
        blocks.append(Padding(Text(printable(problem.fix), style="dim"), (0, 0, 0, 4)))
    if len(problems) > MAX_FINDINGS:
        blocks.append(Text(f"  and {len(problems) - MAX_FINDINGS:,} more; --json has them", style="dim"))
    notes = [_item(finding.message, "dim") for finding in found if not finding.fix]
    return [*blocks, Text(), Text("Notes", style="bold"), *notes] if notes else blocks


def _item(text: str, style: str) -> Table:
    """A text with a bullet; its further lines are indented as well."""
    table = Table.grid()
    table.add_row(Text("  ● ", style=style), Text(printable(text)))
    return table


def _copy_lines(inspection: Inspection) -> list[str]:
    lines = []
    for group in inspection.exact:
        names = [inspection.dataset.items[at].name for at in group]
        more = f" and {len(names) - MAX_NAMES:,} more" if len(names) > MAX_NAMES else ""
        lines.append((_apart(inspection, group), " = ".join(names[:MAX_NAMES]) + more))
    return [f"{line}  ({apart})" if apart else line for apart, line in _worst_first(lines)]


def _near_lines(inspection: Inspection) -> list[str]:
    items = inspection.dataset.items
    lines = [
        (_apart(inspection, pair[:2]), f"{items[pair.first].name} ~ {items[pair.second].name}  ({pair.score:.2f}")
        for pair in inspection.near
    ]
    return [f"{line}; {apart})" if apart else f"{line})" for apart, line in _worst_first(lines)]


def _apart(inspection: Inspection, positions: Sequence[int]) -> str:
    """The splits and classes of images that should be in one; empty if they are."""
    items = [inspection.dataset.items[at] for at in positions]
    splits = {item.split for item in items}
    labels = {item.labels: inspection.dataset.label_text(item) for item in items} if apart(items, contradict) else {}
    facts = [
        ", ".join(split for split in SPLITS if split in splits) if len(splits) > 1 else "",
        " or ".join(labels[found] for found in sorted(labels)[:MAX_NAMES]) + "?" if labels else "",
    ]
    return "; ".join(filter(None, facts))


def _worst_first(lines: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted(lines, key=lambda line: not line[0])


def _classes(inspection: Inspection) -> Table:
    dataset = inspection.dataset
    counts, num_bytes, totals = dataset.counts(), inspection.num_bytes(), inspection.totals()
    used = [split for split in SPLITS if totals[split][0]]
    table = plain_table(
        f"{printable(dataset.name)}: {len(dataset.items):,} images", "class", *(f">{s}" for s in used), ">size"
    )
    for label, name in list(enumerate(dataset.classes))[:MAX_CLASS_ROWS]:
        total = sum(num_bytes[split][label] for split in used)
        table.add_row(Text(printable(name)), *(f"{counts[split][label]:,}" for split in used), size(total))
    table.add_section()
    total = sum(totals[split][1] for split in used)
    table.add_row("all", *(f"{totals[split][0]:,}" for split in used), size(total))
    if len(dataset.classes) > MAX_CLASS_ROWS:
        table.caption = f"the first {MAX_CLASS_ROWS} of {len(dataset.classes)} classes; --json lists all"
    return table


def _label_facts(inspection: Inspection) -> Iterator[tuple[str, str]]:
    """How many labels images have, unless each has one."""
    names, sets = inspection.dataset.classes, inspection.label_sets
    if sets.is_single:
        return
    yield "labels per image", f"{sets.mean:.2f} (mean), {min(sets.per_image)} to {max(sets.per_image)}"
    yield "images without a label", f"{sets.num_negatives:,}"
    if num_unknown := sum(sets.unknown):
        yield "unknown values", f"{num_unknown:,} of {sets.num_images * len(names):,}"
    if sets.together:
        pairs = [f"{names[one]} + {names[other]} ({count:,})" for one, other, count in sets.together]
        yield "most often together", first_of(pairs, MAX_NAMES)


def _facts(inspection: Inspection) -> Table:
    table = plain_table("Images", "property", "value")
    for name, value in _label_facts(inspection):
        table.add_row(name, Text(printable(value)))
    sizes = inspection.sizes()
    if sizes:
        side, aspect, cut = sizes["shorter_side_px"], sizes["aspect"], sizes["cut_by_centre_square"]
        table.add_row("shorter side", f"{side['median']:,.0f} px (median), {side['min']:,} to {side['max']:,} px")
        table.add_row("width / height", f"{aspect['median']:.2f} (median), {aspect['min']:.2f} to {aspect['max']:.2f}")
        table.add_row("lost in a center crop", f"{_share(cut['median'])} (median), up to {_share(cut['max'])}")
    for kind, name in KIND_NAMES.items():
        number = len(inspection.with_mode(kind))
        if number:
            table.add_row(name, f"{number:,}")
    for look, name in LOOK_NAMES.items():
        if inspection.looks[look]:
            table.add_row(name, f"{len(inspection.looks[look]):,}")
    for name, number in inspection.dataset.passed_over.items():
        table.add_row(PASSED_OVER_NAMES.get(name, name), f"{number:,}")
    by = f"by {inspection.near_by}" if inspection.near_by else "not searched"
    table.add_row("exact copies", f"{inspection.exact.num_extra:,}")
    table.add_row("pairs of near duplicates", f"{len(inspection.near):,} ({by})")
    return table


def _listing(title: str, lines: Sequence[str]) -> list[RenderableType]:
    if not lines:
        return []
    shown: list[RenderableType] = [Text(f"{title} ({len(lines):,})", style="bold")]
    shown += [Text(f"  {printable(line)}") for line in lines[:MAX_LINES]]
    if len(lines) > MAX_LINES:
        shown.append(Text(f"  and {len(lines) - MAX_LINES:,} more; --json and --html have them", style="dim"))
    return [*shown, Text()]


def _share(share: float) -> str:
    return f"{100 * share:.0f} %"
