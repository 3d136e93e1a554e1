"""The findings of an inspection: sentences with a fix for people, and one object for programs."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from resnet_cli.data.dataset import SPLITS, Dataset, Item
from resnet_cli.data.inspection.class_findings import (
    class_mismatches,
    class_sizes,
    label_patterns,
    spellings,
    trainability,
)
from resnet_cli.data.inspection.compact import Made
from resnet_cli.data.inspection.inspect import KINDS, Finding, Inspection, Leak, apart
from resnet_cli.data.inspection.label_sets import Pair, contradict
from resnet_cli.data.inspection.scan import remedy
from resnet_cli.network.addresses import redact
from resnet_cli.task import TaskName
from resnet_cli.text import plain
from resnet_cli.version import SCHEMA_VERSION

T = TypeVar("T")

#: Look -> how it is described, and what to do about it.
LOOKS = {
    "tiny": ("much smaller than the others", "replace them with larger ones, or remove them"),
    "flat": ("of one color, or nearly so", "remove those that show nothing"),
    "dark": ("nearly black", "check how they were exported, or remove them"),
    "bright": ("nearly white", "check how they were exported, or remove them"),
    "blurred": ("blurred, or enlarged from a small image", "remove those in which the class cannot be recognized"),
}
#: What is wrong with copies whose labels contradict each other, and what to do about it.
_CONFLICTS: dict[TaskName, tuple[str, str]] = {
    "single-label": (
        "labeled as several classes",
        "keep each in the class it belongs to; {inspect} --fix omits exact copies; if images may belong to "
        "several classes, use --multi-label",
    ),
    "multi-label": (
        "given different labels",
        "give the copies the same labels; {inspect} --fix omits exact copies",
    ),
}
#: Share of long images above which they are reported.
MANY_LONG = 0.05
#: Pairs of classes that ``--json`` lists.
MAX_TOGETHER = 100


#: How urgent a finding is, in words, the most urgent first.
RANKS = ("Fix first", "Worth a look", "Good to know")
#: Findings that make a model or its metrics invalid, and findings worth some work; the others are for information.
_SERIOUS = frozenset({"refused", "unreadable", "label_conflicts", "leaks", "torn_groups", "class_mismatch", "spelling"})
_MODERATE = frozenset(
    {"similar_class", "exact_duplicates", "tiny_classes", "imbalance", "never_set", "always_set", *LOOKS}
)


def ranked(findings: Sequence[Finding]) -> list[tuple[int, Finding]]:
    """Findings with their index in ``RANKS``, the most urgent first; their order within a rank is kept."""
    ranks = [0 if finding.code in _SERIOUS else 1 if finding.code in _MODERATE else 2 for finding in findings]
    return sorted(zip(ranks, findings, strict=True), key=lambda pair: pair[0])


def find_problems(inspection: Inspection, *, training: Iterable[Finding] | None = None) -> list[Finding]:
    """What the user should know, the worst first, each with a fix.

    Args:
        inspection: What was found in a data set.
        training: Findings about the split that was made for training; None makes it, to see what would be refused.
    """
    dataset = inspection.dataset
    return [
        *(trainability(inspection) if training is None else training),
        *_unreadable(inspection),
        *_label_conflicts(inspection),
        *_leaks(inspection),
        *_separated_groups(inspection),
        *class_mismatches(dataset),
        *spellings(dataset),
        *_copies(inspection),
        *class_sizes(dataset),
        *label_patterns(inspection),
        *_looks(inspection),
        *_long(inspection),
        *_bit_depth(inspection),
        *(Finding("note", note, "") for note in dataset.notes),
    ]


def to_report(inspection: Inspection) -> dict[str, Any]:
    """The object that ``inspect --json`` prints."""
    report: dict[str, Any] = plain(long_report(inspection))
    return report


def long_report(inspection: Inspection) -> dict[str, Any]:
    """The object that ``inspect --json`` prints; the elements of long lists are made when they are asked for."""
    dataset, items = inspection.dataset, inspection.dataset.items
    counts, num_bytes, sets = dataset.counts(), inspection.num_bytes(), inspection.label_sets

    def name_of(position: int) -> str:
        return items[position].name

    def names_of(positions: Sequence[int]) -> list[str]:
        return [name_of(position) for position in positions]

    return {
        "schema_version": SCHEMA_VERSION,
        "data": dataset.name,
        "reading": dataset.reading,
        "task": dataset.task,
        "num_images": len(items),
        "fingerprint": dataset.fingerprint(inspection.images.digests),
        "classes": [
            {
                "name": name,
                "num_images": {split: counts[split][label] for split in SPLITS},
                "num_bytes": {split: num_bytes[split][label] for split in SPLITS},
                "num_unknown": sets.unknown[label],
            }
            for label, name in enumerate(dataset.classes)
        ],
        "labels_per_image": {str(num): count for num, count in sets.per_image.items()},
        "classes_together": _pairs_to_dicts(dataset, sets.together[:MAX_TOGETHER]),
        "classes_implied": _pairs_to_dicts(dataset, sets.implied[:MAX_TOGETHER]),
        "sizes": inspection.sizes(),
        "bit_depth": inspection.wide.bit_depth or None,
        "passed_over": dict(dataset.passed_over),
        "unreadable": _each(inspection.unreadable, lambda one: {"path": one[0].name, "reason": one[1]}),
        "looks": {name: _each(positions, name_of) for name, positions in inspection.looks.items()},
        "modes": {name: _each(inspection.with_mode(name), name_of) for name in KINDS},
        "exact_duplicates": _each(inspection.exact, names_of),
        "near_duplicates": _each(
            inspection.near, lambda pair: {"paths": names_of(pair[:2]), "score": round(pair.score, 4)}
        ),
        "near_duplicates_by": inspection.near_by,
        "leaks": _each(
            inspection.leaks,
            lambda leak: _to_dict(leak, dataset) | {"splits": [items[at].split for at in leak.positions]},
        ),
        "label_conflicts": _each(
            inspection.label_conflicts,
            lambda leak: _to_dict(leak, dataset) | {"labels": [dataset.label_text(items[at]) for at in leak.positions]},
        ),
        "torn_groups": [{"group": group, "splits": splits} for group, splits in inspection.separated_groups().items()],
        "warnings": [finding._asdict() for finding in find_problems(inspection)],
    }


def _each(values: Sequence[T], make: Callable[[T], Any]) -> Made[Any]:
    return Made(len(values), lambda index: make(values[index]))


def _pairs_to_dicts(dataset: Dataset, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    names = dataset.classes
    return [{"classes": [names[one], names[other]], "num_images": count} for one, other, count in pairs]


def _to_dict(leak: Leak, dataset: Dataset) -> dict[str, Any]:
    return {"paths": [dataset.items[position].name for position in leak.positions], "exact": leak.is_exact}


def _unreadable(inspection: Inspection) -> Iterator[Finding]:
    bad = inspection.unreadable
    if bad:
        item, reason = bad[0]
        is_all = len(bad) == len(inspection.images)
        every = "all " if is_all and len(bad) > 1 else ""
        yield Finding(
            "unreadable",
            f"{every}{_images(len(bad))} cannot be read, such as {item.name} ({reason})",
            remedy(
                (reason for _, reason in bad),
                "" if is_all else f"resnet-cli finetune {_data(inspection)} --on-bad-image skip",
            ),
        )


def _inspect(inspection: Inspection) -> str:
    return f"resnet-cli inspect {_data(inspection)}"


def _data(inspection: Inspection) -> str:
    """DATA as a user can type it again: relative to this folder if it is inside, and without what may be secret."""
    spec = inspection.dataset.spec
    if "://" in spec:
        return shlex.quote(redact(spec))
    path = Path(spec)
    return shlex.quote(str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else spec)


def _label_conflicts(inspection: Inspection) -> Iterator[Finding]:
    what, fix = _CONFLICTS[inspection.dataset.task]
    for leaks, names in _shared(inspection, inspection.label_conflicts, contradict):
        yield Finding("label_conflicts", f"{leaks} {what}, such as {names}", fix.format(inspect=_inspect(inspection)))


def _leaks(inspection: Inspection) -> Iterator[Finding]:
    fix = f"keep each in one split; {_inspect(inspection)} --fix keeps it in test, else in val"
    for leaks, names in _shared(inspection, inspection.leaks, lambda one, other: one.split != other.split):
        yield Finding(
            "leaks", f"{leaks} in several splits, so metrics will look better than they are, such as {names}", fix
        )


def _shared(
    inspection: Inspection, leaks: Sequence[Leak], differ: Callable[[Item, Item], bool]
) -> Iterator[tuple[str, str]]:
    """The number of leaks, exact ones first, with the names of two images that should be in one split or class."""
    items = inspection.dataset.items
    for is_exact, count_of in ((True, _images), (False, _pairs)):
        matching = [leak.positions for leak in leaks if leak.is_exact == is_exact]
        if matching:
            # The first two of many copies may be in the same split or class.
            pair = apart([items[at] for at in matching[0]], differ)
            names = " and ".join(item.name for item in pair or ())
            yield f"{count_of(len(matching))} {'is' if len(matching) == 1 else 'are'}", names


def _separated_groups(inspection: Inspection) -> Iterator[Finding]:
    separated = inspection.separated_groups()
    if separated:
        group, splits = next(iter(separated.items()))
        yield Finding(
            "torn_groups",
            f"groups in several splits: {len(separated):,}, such as '{group}' in {' and '.join(splits)}",
            f"move each group into one split; {_inspect(inspection)} --fix keeps its part in test, else in val",
        )


def _copies(inspection: Inspection) -> Iterator[Finding]:
    items = inspection.dataset.items
    num_copies = inspection.exact.num_extra
    if num_copies:
        yield Finding(
            "exact_duplicates",
            f"{_images(num_copies)} {'is a copy' if num_copies == 1 else 'are copies'} of another",
            f"remove the copies, or run {_inspect(inspection)} --fix; splits made by finetune keep them together",
        )
    if inspection.near:
        first, second, _ = inspection.near[0]
        yield Finding(
            "near_duplicates",
            f"{_pairs(len(inspection.near))}, such as {items[first].name} and {items[second].name}",
            "splits made by finetune keep them together",
        )


def _looks(inspection: Inspection) -> Iterator[Finding]:
    for name, positions in inspection.looks.items():
        if positions:
            what, fix = LOOKS[name]
            verb = "is" if len(positions) == 1 else "are"
            yield Finding(
                name,
                f"{_images(len(positions))} {verb} {what}, such as {inspection.dataset.items[positions[0]].name}",
                f"{fix}; {_inspect(inspection)} --html report.html shows them, --fix keeps them",
            )


def _long(inspection: Inspection) -> Iterator[Finding]:
    sizes = inspection.sizes()
    num_long = sizes["cut_by_centre_square"]["num_over_half"] if sizes else 0
    if num_long > MANY_LONG * len(inspection.images):
        yield Finding(
            "long",
            f"{_images(num_long)} {'loses' if num_long == 1 else 'lose'} more than half in a center crop",
            "crop them around what matters",
        )


def _bit_depth(inspection: Inspection) -> Iterator[Finding]:
    num, bit_depth = inspection.wide
    if 0 < bit_depth < 16:
        yield Finding(
            "bit_depth",
            f"{_images(num)} of 16 bits {'uses' if num == 1 else 'use'} only {bit_depth} of them: all values are below "
            f"{2**bit_depth:,}",
            f"finetune reads them as {bit_depth}-bit images, and the model remembers it; --bit-depth 16 reads them as "
            "they are, which is very dark",
        )


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def _pairs(count: int) -> str:
    return "1 pair of images that look the same" if count == 1 else f"{count:,} pairs of images that look the same"
