"""Class folders in folders: at which level of folders the classes are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Split
from resnet_cli.data.sources.folder_names import CONTAINERS
from resnet_cli.data.sources.folders.layout import Layout, last
from resnet_cli.data.sources.split_names import SPLIT_NAMES, words_of

#: Images that a folder has on average if it is a class and not one patient, animal or scene.
_MIN_PER_LEAF = 2
#: Folders above the classes, which are numbered. Source: torchvision.datasets.INaturalist, versions 2017 to 2019.
_INATURALIST = frozenset(
    "Actinopterygii Amphibia Amphibians Animalia Arachnida Aves Birds Chromista Fungi Insecta Insects Mammalia "
    "Mollusca Plantae Plants Protozoa Reptilia Reptiles".split()
)

Path = tuple[str, ...]


@dataclass(frozen=True)
class Levels:
    """How the class and the split of an image follow from the folders below the root of its split.

    Attributes:
        depth: Number of folders that name the class; 0 for all of them.
        skipped: Number of these that do not count, from the first.
        is_short: Whether the last of them is enough, since it occurs once.
        with_splits: Whether the folders in the class folders are the splits.
        notes: What was taken, and the flag for the other.
    """

    depth: int = 1
    skipped: int = 0
    is_short: bool = False
    with_splits: bool = False
    notes: tuple[str, ...] = field(default=())

    def label(self, path: Path) -> str | None:
        """The class of the images in a folder; None if it is not deep enough."""
        if len(path) < max(self.depth, self.skipped + 1):
            return None
        named = path[self.skipped : self.depth or None]
        return named[-1] if self.is_short else "/".join(named)

    def split(self, path: Path) -> Split | None:
        """The split that a folder in the class folder denotes; None without such folders."""
        return SPLIT_NAMES[path[1].lower()] if self.with_splits else None


def choose_levels(layout: Layout, roots: Sequence[str], options: DataConfig) -> Levels:
    """Decides which level of folders names the classes, as ``--classes-at`` says or by the names of all folders.

    The first level does, unless it only groups folders with names of their own: no images are directly in it, and no
    folder below occurs twice, as `indoor` or `2024` would, or is numbered, as patients are.

    Args:
        layout: The folders of DATA.
        roots: The folders with class folders, one per split.
        options: How DATA is read.
    """
    paths = [path for root in roots for path in _paths(layout, root)]
    first = sorted({path[0] for path in paths})
    deeper = sorted({path[1] for path in paths if len(path) > 1 and not _is_container(path[1])})
    if options.classes_at:
        return _asked_for(options.classes_at, paths)
    if len(first) < 2 or not {*first}.isdisjoint(options.classes or ()):
        return Levels()
    if not deeper:
        return Levels(notes=_beyond_containers(paths, first))
    if _is_index(paths):
        other = f"--classes-at 1 takes {_some(first)} instead"
        names = [path[1:] for path in paths]
        note = f"classes are the folders below the letters: {_some(sorted(map('/'.join, set(names))))}; {other}"
        return Levels(depth=0, skipped=1, notes=(note,))
    is_direct = any(len(path) == 1 for path in paths)
    if not is_direct and _are_splits(paths) and len(roots) == 1:
        return Levels(with_splits=True)
    if not is_direct and _are_groups(layout, roots, paths):
        levels = _asked_for("leaf", paths)
        taken = sorted({name for path in paths if (name := levels.label(path))})
        note = (
            f"classes are the innermost folders ({len(taken):,}: {_some(taken)}), since those above contain only "
            f"folders; --classes-at 1 takes {_some(first)} instead"
        )
        return Levels(levels.depth, levels.skipped, levels.is_short, notes=(note,))
    if is_direct:
        return Levels()
    note = (
        f"classes are the {len(first):,} folders {_some(first)}; --classes-at 2 takes those in them instead "
        f"({len(deeper):,}: {_some(deeper)})"
    )
    return Levels(notes=(note,))


def _paths(layout: Layout, root: str) -> list[Path]:
    """The folders with images directly in them, in the class folders of a split."""
    start = len(root) + 1 if root else 0
    unlabeled = layout.unlabeled(root)
    return [
        tuple(folder.name[start:].split("/"))
        for child in layout.folders(root)
        if child not in unlabeled
        for folder in layout.below(child)
        if layout.images(folder.name)
    ]


def _beyond_containers(paths: Sequence[Path], first: Sequence[str]) -> tuple[str, ...]:
    """A note about folders in the ``images`` of class folders, such as ``amazon/images/bike`` of Office-31."""
    inner = sorted({path[-1] for path in paths if len(path) > 2})
    if len(inner) < 2:
        return ()
    note = (
        f"classes are the {len(first):,} folders {_some(first)}; --classes-at leaf takes the innermost folders instead "
        f"({len(inner):,}: {_some(inner)})"
    )
    return (note,)


def _asked_for(level: str, paths: Sequence[Path]) -> Levels:
    if level == "1":
        return Levels()
    depth = 2 if level == "2" else 0
    named = {path[: depth or None] for path in paths if len(path) >= depth}
    if depth == 0 and _is_index(paths):
        return Levels(depth=0, skipped=1)
    return Levels(depth=depth, is_short=max(Counter(path[-1] for path in named).values(), default=0) == 1)


def _is_index(paths: Sequence[Path]) -> bool:
    """Whether the first level is an index of letters. Source: SUN397 (`b/bakery/shop`), Places365."""
    return all(
        len(path) > 1 and len(path[0]) == 1 and path[0].isalpha() and path[1].lower().startswith(path[0].lower())
        for path in paths
    )


def _are_splits(paths: Sequence[Path]) -> bool:
    """Whether the folders in the class folders denote splits, and only they do."""
    found = [SPLIT_NAMES.get(path[1].lower()) for path in paths]
    return None not in found and "train" in found and len(set(found)) > 1


def _are_groups(layout: Layout, roots: Collection[str], paths: Sequence[Path]) -> bool:
    """Whether the first level only groups classes."""
    parents: dict[str, set[str]] = {}
    for path in paths:
        parents.setdefault(path[1].lower(), set()).add(path[0])
    inner = sorted({path[1] for path in paths})
    per_parent = Counter(parent for names in parents.values() for parent in names)
    if any(len(names) > 1 for names in parents.values()) or 2 * sum(n > 1 for n in per_parent.values()) < len(
        per_parent
    ):
        return False
    if sum(map(layout.count, roots)) < _MIN_PER_LEAF * len({path[:2] for path in paths}):
        return False
    if {path[0] for path in paths} <= _INATURALIST:
        return True
    # Numbered folders are patients, days or scenes: patient12, 2024-05-01, scene_b2.
    patterns = {tuple(word for word in words_of(name) if len(word) > 1) for name in inner}
    is_word = all(len("".join(words_of(name))) > 2 for name in inner)
    is_said = not any(set(words_of(name)) & CONTAINERS or name.lower() in SPLIT_NAMES for name in inner)
    return is_word and is_said and 2 * len(patterns) > len(inner)


def _is_container(name: str) -> bool:
    words = words_of(name)
    return bool(words) and CONTAINERS.issuperset(words)


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(last, names[:3])) + ", ..." * (len(names) > 3)
