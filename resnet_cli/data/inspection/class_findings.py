"""Findings about the classes of a data set: their names, their sizes, and whether they can be trained."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from resnet_cli.data.class_names import plain_name
from resnet_cli.data.dataset import SPLITS, Dataset
from resnet_cli.data.inspection.inspect import Finding, Inspection
from resnet_cli.data.inspection.training_splits import check_training
from resnet_cli.errors import DataError
from resnet_cli.task import TASKS
from resnet_cli.text import first_of

#: A class with fewer training images is reported as tiny.
TINY_CLASS = 10
#: The largest class may have this many times the images of the smallest before imbalance is reported.
MAX_IMBALANCE = 5
#: Shorter names than this may well end in an s without being a plural.
MIN_PLURAL = 3
#: Number of names in one sentence.
MAX_NAMES = 5


def trainability(inspection: Inspection) -> Iterator[Finding]:
    """What ``finetune`` would refuse, or warn of, when it makes the splits."""
    try:
        separated = check_training(inspection)
    except DataError as error:
        yield Finding("refused", f"finetune refuses this data: {error.message}", error.hint or "use other data")
    else:
        yield from separated


def spellings(dataset: Dataset) -> Iterator[Finding]:
    """Classes whose names differ only in case, spaces, accents or the like."""
    counts = dataset.counts()
    sizes = dataset.sizes()
    used = [split for split in SPLITS if sizes[split]]
    groups: dict[str, list[int]] = defaultdict(list)
    for label, name in enumerate(dataset.classes):
        groups[plain_name(name)].append(label)
    for key in [key for key in groups if len(key) > MIN_PLURAL and key.endswith("s") and key[:-1] in groups]:
        groups[key[:-1]] += groups.pop(key)
    # `class_mismatches` names those that are in different splits.
    found = [
        " and ".join(f"'{dataset.classes[at]}' ({sum(counts[split][at] for split in used):,})" for at in group)
        for group in groups.values()
        if len(group) > 1 and any(all(counts[split][at] for split in used) for at in group)
    ]
    if found:
        more = f"; and {len(found) - MAX_NAMES:,} more" if len(found) > MAX_NAMES else ""
        yield Finding(
            "spelling",
            "classes whose names differ only in spelling (number of images): " + "; ".join(found[:MAX_NAMES]) + more,
            "they are different classes to the model; if they mean the same, give them one name in the table, or move "
            "their images into one folder",
        )


def class_mismatches(dataset: Dataset) -> Iterator[Finding]:
    """Classes that a split lacks."""
    counts = dataset.counts()
    sizes = dataset.sizes()
    used = [split for split in SPLITS if sizes[split]]
    alike: dict[str, list[str]] = defaultdict(list)
    for name in dataset.classes:
        alike[plain_name(name)].append(name)
    missing: dict[str, list[tuple[bool, str]]] = defaultdict(list)
    for label, name in enumerate(dataset.classes):
        absent = " and ".join(split for split in used if not counts[split][label])
        if absent:
            meant = [other for other in alike[plain_name(name)] if other != name]
            missing[absent].append((not meant, f"'{name}'" + (f" (the same as '{meant[0]}'?)" if meant else "")))
    for absent, found in missing.items():
        # Names that are only misspelled come first.
        names = [name for _, name in sorted(found)]
        which = first_of(names, MAX_NAMES)
        subject = f"the class {which} has" if len(names) == 1 else f"{len(names):,} classes have"
        listed = "" if len(names) == 1 else f": {which}"
        yield Finding(
            "class_mismatch",
            f"{subject} no images in {absent}{listed}",
            "use the same class names in each split, or omit these with --classes",
        )


def class_sizes(dataset: Dataset) -> Iterator[Finding]:
    """Classes with few images, or far fewer than others."""
    train = dataset.counts()["train"]
    sizes = sorted((count, name) for count, name in zip(train, dataset.classes, strict=True) if count)
    tiny = [name for count, name in sizes if count < TINY_CLASS]
    if tiny:
        yield Finding(
            "tiny_classes",
            f"classes with fewer than {TINY_CLASS} training images: {len(tiny):,}, such as "
            + ", ".join(tiny[:MAX_NAMES]),
            "add images; meaningful metrics need 50 or more per class",
        )
    if sizes and sizes[-1][0] > MAX_IMBALANCE * sizes[0][0]:
        (smallest, small), (largest, large) = sizes[0], sizes[-1]
        yield Finding(
            "imbalance",
            f"classes are imbalanced: {smallest:,} training {'image' if smallest == 1 else 'images'} of "
            f"'{small}', "
            f"{largest:,} of '{large}'",
            "add images to the small ones, or look at the per-class metrics instead of "
            f"{TASKS[dataset.task].score_name}",
        )


def label_patterns(inspection: Inspection) -> Iterator[Finding]:
    """Classes that no image has, or all of them, and classes that come only with another one."""
    names, sets = inspection.dataset.classes, inspection.label_sets
    for code, labels, whose in (("never_set", sets.never, "no image"), ("always_set", sets.always, "every image")):
        if labels and len(names) > 1:
            which = first_of([f"'{names[label]}'" for label in labels], MAX_NAMES)
            yield Finding(
                code,
                f"labels that {whose} has: {which}; there is nothing to learn about them",
                "add images with and without them, or omit them with --classes",
            )
    if implied := sets.implied:
        one, other, count = implied[0]
        more = f"; {len(implied) - 1:,} more such pairs" if len(implied) > 1 else ""
        yield Finding(
            "implied",
            f"every image with '{names[one]}' also has '{names[other]}' ({count:,} images){more}",
            "nothing to do if one follows from the other; if it does not, check the labels of both",
        )
