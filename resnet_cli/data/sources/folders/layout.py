"""The folders of DATA that contain images, looked at by names only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from resnet_cli.data.sources.folder_names import CONTAINERS
from resnet_cli.data.sources.split_names import SPLIT_NAMES, parse_split, split_of, words_of
from resnet_cli.data.sources.survey import Folder, Survey
from resnet_cli.data.sources.tree import MAX_WRAPPERS
from resnet_cli.text import counted, first_of

_UNLABELED = re.compile(
    r"(un(labell?ed|sup(ervised)?|classified|annotated|tagged)|(no|not|without)label(s|l?ed)?)(data|images?|set)?"
)


class Layout:
    """The folders with images of DATA; names of folders are paths below its root.

    Args:
        survey: The content of DATA.

    Attributes:
        passed_over: Names of folders that do not count, with everything below them.
    """

    def __init__(self, survey: Survey) -> None:
        self.survey = survey
        self.passed_over: set[str] = set()
        self._left_out: Mapping[str, frozenset[str]] = {}
        self._counts: dict[str, int] = {}

    def leave_out(self, folders: Iterable[str], files: Mapping[str, frozenset[str]] | None = None) -> None:
        """Marks folders, and images by the name of their folder, that do not count."""
        self.passed_over.update(folders)
        self._left_out = files or self._left_out
        self._counts.clear()

    def below(self, name: str) -> Iterator[Folder]:
        """A folder and all folders below it that count."""
        return self.survey.below(name, without=self.passed_over)

    def images(self, name: str) -> tuple[str, ...]:
        """Names of the images directly in a folder."""
        found = self.survey.folder(name).images
        left_out = self._left_out.get(name)
        return tuple(image for image in found if image not in left_out) if left_out else found

    def count(self, name: str) -> int:
        """Number of images in and below a folder."""
        found = self._counts.get(name)
        if found is None:
            found = self._counts[name] = sum(len(self.images(folder.name)) for folder in self.below(name))
        return found

    def children(self, name: str) -> list[str]:
        """The folders in a folder that count, with or without images, sorted."""
        folder = self.survey.folder(name)
        found = [child for child in map(folder.child, folder.folders) if child not in self.passed_over]
        return [child for child in found if not self.survey.is_own_run(self.survey.folder(child))]

    def folders(self, name: str) -> list[str]:
        """The folders in a folder that have images in or below them, sorted."""
        return [child for child in self.children(name) if self.count(child)]

    def is_empty(self, name: str) -> bool:
        """Whether a folder contains nothing at all."""
        folder = self.survey.folder(name)
        return not (folder.images or folder.others or folder.folders)

    def unwrapped(self, name: str) -> str:
        """Descends while a folder contains only one folder with images, which has class folders in it.

        Beside it, folders without images or without labels do not matter; an empty folder may be an empty class.
        """
        for _ in range(MAX_WRAPPERS):
            inner = [child for child in self.folders(name) if not is_unlabeled(child)]
            if len(inner) != 1 or self.images(name) or any(map(self.is_empty, self.children(name))):
                return name
            (child,) = inner
            # The only split of a data set is not skipped, unless it is inside a folder of the same name.
            is_split = last(child).lower() in SPLIT_NAMES and last(child) != (last(name) or self.survey.root.name)
            if is_split or not self.folders(child) or self.images(child):
                return name
            name = child
        return name

    def unlabeled(self, name: str) -> list[str]:
        """The folders in a folder whose images have no label, by their names.

        A flat folder such as `test1` counts too, beside two or more that do not denote splits: `test` alone is a class.
        """
        inner = self.folders(name)
        found = [child for child in inner if is_unlabeled(child)]
        others = [child for child in inner if child not in found and split_of(last(child)) is None]
        tests = [child for child in inner if split_of(last(child)) == "test"]
        is_test = len(tests) == 1 and len(others) == len(inner) - len(found) - 1 > 1
        if is_test and last(tests[0]).lower() not in SPLIT_NAMES and not self.folders(tests[0]):
            rest = parse_split(last(tests[0]))
            found += tests if rest is not None and not rest.rest else []
        return found

    def class_folders(self, name: str) -> list[str]:
        """The folders that may be classes in a folder, or in what it wraps.

        A single folder of images does not count if it is called `images`, or like the folder that it is in.
        """
        top = self.unwrapped(name)
        inner = self.folders(top)
        if len(inner) == 1 and not self.folders(inner[0]):
            words = words_of(last(inner[0]))
            if last(inner[0]).lower() == last(top).lower() or (words and CONTAINERS.issuperset(words)):
                return []
        return inner


def last(name: str) -> str:
    """The last part of a folder's name."""
    return name.rpartition("/")[2]


def is_unlabeled(name: str) -> bool:
    """Whether a folder has the name that annotation tools give to images without a label: ``no_label``, ``unsup``."""
    return _UNLABELED.fullmatch("".join(words_of(last(name)))) is not None


def shown(names: list[str], layout: Layout) -> str:
    """Folders with their numbers of images, at most five: ``extra (12 images), more (1 image)``."""
    return first_of([f"{last(name)} ({images(layout.count(name))})" for name in names], 5)


def images(count: int) -> str:
    """``1 image``, ``1,200 images``."""
    return counted(count, "image")


def without_labels(count: int, name: str) -> str:
    """``3 images in test have no labels and were not used``."""
    return f"{images(count)} in {name} {'has no label and was' if count == 1 else 'have no labels and were'} not used"
