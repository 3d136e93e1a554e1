"""Tables of an inspection."""

from __future__ import annotations

import functools
import itertools
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from resnet_cli.cli.score_parts import MAX_CLASS_ROWS
from resnet_cli.cli.tables import files_block, plain_table
from resnet_cli.data.dataset import SPLITS, Dataset, Item
from resnet_cli.data.inspection.compact import Made, NearPair
from resnet_cli.data.inspection.findings import RANKS, find_problems, ranked
from resnet_cli.data.inspection.inspect import apart
from resnet_cli.data.inspection.label_sets import contradict
from resnet_cli.text import first_of, printable, size

if TYPE_CHECKING:
    from resnet_cli.commands.inspect import InspectResult
    from resnet_cli.data.inspection.inspect import Inspection

T = TypeVar("T")

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
#: Style of the findings of each rank.
_RANK_STYLES = ("red", "yellow", "cyan")
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
    blocks += _listing("Unreadable", inspection.unreadable, lambda one: f"{one[0].name}: {one[1]}")
    blocks += _copies(inspection)
    found = find_problems(inspection)
    problems = ranked([finding for finding in found if finding.fix])
    if not problems:
        blocks.append(Text.assemble(("No problems found.", "green")))
    else:
        blocks.append(Text("What to do", style="bold"))
    shown = -1
    for rank, problem in problems[:MAX_FINDINGS]:
        if rank != shown:
            # The words say what the colors say.
            blocks.append(Text(f"  {RANKS[rank]}", style=_RANK_STYLES[rank]))
            shown = rank
        blocks.append(_item(problem.message, _RANK_STYLES[rank]))
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


def _copies(inspection: Inspection) -> list[RenderableType]:
    """Images that occur more than once; first those that should be in one split or class and are not."""
    items, kinds = inspection.dataset.items, inspection.kinds

    @functools.cache
    def apart_by(present: frozenset[int]) -> str:
        return _apart(inspection.dataset, [kinds.examples[kind] for kind in present])

    def faults(positions: Sequence[int]) -> str:
        return apart_by(frozenset(kinds.of_image[list(positions)].tolist()))

    def group(positions: Sequence[int]) -> str:
        names = " = ".join(items[at].name for at in positions[:MAX_NAMES])
        more = f" and {len(positions) - MAX_NAMES:,} more" if len(positions) > MAX_NAMES else ""
        fault = faults(positions)
        return f"{names}{more}  ({fault})" if fault else f"{names}{more}"

    def pair(found: NearPair) -> str:
        fault = faults(found[:2])
        line = f"{items[found.first].name} ~ {items[found.second].name}  ({found.score:.2f}"
        return f"{line}; {fault})" if fault else f"{line})"

    groups = _worst_first(inspection.exact, faults)
    pairs = _worst_first(inspection.near, lambda found: faults(found[:2]))
    return [*_listing("Exact copies", groups, group), *_listing("Near duplicates", pairs, pair)]


def _apart(dataset: Dataset, items: Sequence[Item]) -> str:
    """The splits and classes of images that should be in one; empty if they are."""
    splits = {item.split for item in items}
    labels = {item.labels: dataset.label_text(item) for item in items} if apart(items, contradict) else {}
    facts = [
        ", ".join(split for split in SPLITS if split in splits) if len(splits) > 1 else "",
        " or ".join(labels[found] for found in sorted(labels)[:MAX_NAMES]) + "?" if labels else "",
    ]
    return "; ".join(filter(None, facts))


def _worst_first(found: Sequence[T], faults: Callable[[T], str]) -> Sequence[T]:
    """As many elements as are shown, those with faults first; the length is that of all."""
    first = list(itertools.islice((one for one in found if faults(one)), MAX_LINES))
    others = itertools.islice((one for one in found if not faults(one)), MAX_LINES - len(first))
    shown = [*first, *others]
    return Made(len(found), shown.__getitem__)


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


def _listing(title: str, found: Sequence[T], line: Callable[[T], str]) -> list[RenderableType]:
    if not found:
        return []
    shown: list[RenderableType] = [Text(f"{title} ({len(found):,})", style="bold")]
    shown += [Text(f"  {printable(line(one))}") for one in found[:MAX_LINES]]
    if len(found) > MAX_LINES:
        shown.append(Text(f"  and {len(found) - MAX_LINES:,} more; --json and --html have them", style="dim"))
    return [*shown, Text()]


def _share(share: float) -> str:
    return f"{100 * share:.0f} %"
