"""Folders of images: one folder per class, one folder per split with such folders, or file names with the class."""

from __future__ import annotations

import dataclasses
import itertools
import operator
import os
import re
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from resnet_cli.config.data import DataConfig
from resnet_cli.data.dataset import Dataset, Split
from resnet_cli.data.packed_images import Builder, Kind
from resnet_cli.data.sources.folder_names import is_for_images
from resnet_cli.data.sources.folders.checks import pass_over
from resnet_cli.data.sources.folders.class_levels import Levels, choose_levels
from resnet_cli.data.sources.folders.copies import NEGATIVES_FOLDER, join_copies
from resnet_cli.data.sources.folders.layout import Layout, last, without_labels
from resnet_cli.data.sources.folders.misnamed import ContentLooks
from resnet_cli.data.sources.folders.name_classes import NUMBERED, find_named_classes
from resnet_cli.data.sources.folders.packed import packed_note
from resnet_cli.data.sources.folders.refusals import explain_empty, refuse_no_classes
from resnet_cli.data.sources.folders.splits import find_splits
from resnet_cli.data.sources.folders.tops import find_top
from resnet_cli.data.sources.labeled import Ignored, LabeledImages, build_dataset
from resnet_cli.data.sources.reading import Reading
from resnet_cli.data.sources.split_names import split_of
from resnet_cli.data.sources.survey import Folder, Survey


def read_folder(folder: Path, options: DataConfig | None = None, *, spec: str | None = None) -> Dataset:
    """Reads a folder by its folders alone, whatever else is in it; see :func:`read_folders`.

    Args:
        folder: An existing folder.
        options: How labels and links are read.
        spec: Specification that opens the same images again; None for the folder's absolute path.

    Raises:
        DataError: There are no images, or two folders denote the same split.
    """
    options = options or DataConfig()
    absolute = folder.resolve()
    survey = Survey(folder, spec=spec or str(absolute), follow_links=options.follow_links)
    reading = read_folders(survey, options)
    return build_dataset(
        reading.images,
        name=absolute.name or "data",
        spec=survey.spec,
        max_pixels=options.max_pixels,
        ignored=reading.ignored,
        notes=reading.notes,
        split_note=reading.split_note,
        reading=reading.what,
        task=reading.task,
    )


def read_folders(survey: Survey, options: DataConfig) -> Reading:
    """Reads a folder of classes, or a folder of splits with the same classes.

    Classes are the union over the splits. With ``--multi-label``, copies of an image in several class folders are one
    image with several labels.

    Args:
        survey: The content of DATA, which is a folder.
        options: How labels and links are read.

    Raises:
        DataError: There are no images, or which folders are classes or splits is not clear.
    """
    layout = Layout(survey)
    keep = options.classes or ()
    checked = pass_over(layout, keep)
    top, passed = find_top(layout, keep)
    splits = find_splits(layout, top, by_name=options.label_regex is not None)
    notes = [*splits.notes, *passed, *checked]
    roots = [(split, layout.unwrapped(root)) for split, root in splits.roots or (("train", top),)]
    label_regex, split_note, levels = options.label_regex, splits.note, Levels()
    if not (label_regex or splits.roots or _is_table_refused(survey)) and (named := find_named_classes(layout, top)):
        label_regex, roots, notes = NUMBERED, list(named.roots), [*named.notes, *passed, *checked]
        split_note = "from the folders" if len(roots) > 1 else ""
    elif not label_regex:
        levels = choose_levels(layout, [root for _, root in roots], options)
        notes = [*levels.notes, *notes]
        split_note = "from the folders" if levels.with_splits else split_note
    found = _Found(layout, keep)
    found.above([root for _, root in roots])
    for split, root in roots:
        if label_regex:
            found.by_regex(root, split, re.compile(label_regex))
        else:
            if not _repeat_classes(layout, roots):
                refuse_no_classes(layout, root, options)
            found.by_folder(root, split, levels)
    images = found.images
    if not images:
        explain_empty(layout, options)
    what = "classes from file names" if label_regex else "one folder per class"
    notes += [*packed_note(layout), *found.notes()]
    ignored = Ignored(found.num_others, found.num_hidden, survey.tree.num_links, found.num_unlabelled)
    reading = Reading(images, what, split_note, tuple(notes), ignored)
    return _with_sets(reading) if options.multi_label else reading


def _with_sets(reading: Reading) -> Reading:
    """The reading of a folder in which an image may be in several class folders, or in that of the negatives."""
    named = [
        image._replace(labels=()) if NEGATIVES_FOLDER in image.label.split("/") else image for image in reading.images
    ]
    images, notes = join_copies(named)
    what = f"{reading.what}, images with the labels of all their copies"
    return dataclasses.replace(reading, images=images, what=what, notes=(*notes, *reading.notes), task="multi-label")


def _repeat_classes(layout: Layout, roots: Sequence[tuple[Split, str]]) -> bool:
    """Whether all splits have the same folders, not only of splits or images: `test` beside `valve` is a class then."""
    inner = [{last(name) for name in layout.folders(root)} for _, root in roots]
    is_same = len(inner) > 1 and inner.count(inner[0]) == len(inner)
    return is_same and any(map(split_of, inner[0])) and not all(map(is_for_images, inner[0]))


def _is_table_refused(survey: Survey) -> bool:
    """Whether a file probably has the labels, and cannot be used; submissions to a competition have none."""
    return any(not re.search(r"submi(ssion|t)", error.message, re.IGNORECASE) for error in survey.refusals)


class _Found:
    """Collects the labeled images of a layout, and counts what is beside them."""

    def __init__(self, layout: Layout, keep: Container[str]) -> None:
        self._layout = layout
        self._keep = keep
        self._unlabeled: list[str] = []
        self._looks = ContentLooks()
        self._empty: list[str] = []
        root = layout.survey.root
        self._images: Builder[str] = Builder(os.path.join(root, "") if root.parts else "")
        self.num_others = self.num_hidden = self.num_unlabelled = 0

    @property
    def images(self) -> LabeledImages:
        """The labeled images."""
        return self._images.build(LabeledImages)

    def above(self, roots: Iterable[str]) -> None:
        """Counts the images beside wrappers and splits, which have no class."""
        parts = [root.split("/") for root in roots if root]
        above = {"/".join(part[:depth]) for part in parts for depth in range(len(part))}
        self.num_unlabelled += sum(len(self._layout.images(name)) for name in above)

    def by_folder(self, root: str, split: Split, levels: Levels) -> None:
        """Adds the images of the class folders of a split; images beside these folders have no class."""
        self.num_unlabelled += len(self._layout.images(root))
        start = len(root) + 1 if root else 0
        unlabeled = self._layout.unlabeled(root)
        for class_folder in self._layout.children(root):
            if class_folder in unlabeled and last(class_folder) not in self._keep:
                self._unlabeled.append(class_folder)
                continue
            if not self._layout.count(class_folder):
                self._empty.append(class_folder)
            for folder in self._layout.below(class_folder):
                self._add_others(folder)
                found = self._layout.images(folder.name)
                path = tuple(folder.name[start:].split("/"))
                if found and (label := levels.label(path)):
                    self._images.add_files(folder.child(""), found, Kind((label,)), levels.split(path) or split)
                else:
                    self.num_unlabelled += len(found)

    def by_regex(self, root: str, split: Split, pattern: re.Pattern[str]) -> None:
        """Adds the images with the class in their names, in whichever folder they are.

        Source: fastai's ``RegexLabeller``: the first group of the first match.
        """
        has_folders = "/" in pattern.pattern
        for folder in self._layout.below(root):
            self._add_others(folder)
            labeled = []
            for image in self._layout.images(folder.name):
                match = pattern.search(folder.child(image) if has_folders else image)
                label = match and (match[1] or "").strip()
                if label:
                    labeled.append((image, label))
            self._add(folder, labeled, split)
            self.num_unlabelled += len(self._layout.images(folder.name)) - len(labeled)

    def _add(self, folder: Folder, labeled: Iterable[tuple[str, str]], split: Split) -> None:
        for label, names in itertools.groupby(labeled, key=operator.itemgetter(1)):
            self._images.add_files(folder.child(""), [name for name, _ in names], Kind((label,)), split)

    def _add_others(self, folder: Folder) -> None:
        self.num_hidden += folder.num_hidden
        self.num_others += len(folder.others)
        for name in folder.others:
            self._looks.add(self._layout.survey.path(folder.child(name)))

    def notes(self) -> list[str]:
        """What was passed over while the images were collected."""
        survey, tree = self._layout.survey, self._layout.survey.tree
        notes = [f"the folder {name} contains no images" for name in self._empty]
        for name in self._unlabeled:
            notes.append(
                f"{without_labels(self._layout.count(name), name)}; to use the folder as a class, list it in --classes "
                "with the others"
            )
        if self._looks.found:
            looks = self._looks.found
            notes.append(f"{looks.describe(survey.root)}, and were ignored; {looks.hint(survey.root)}")
        if tree.num_links:
            reason = "they lead to an enclosing folder" if tree.follow_links else "--follow-links follows them"
            notes.append(f"links were not followed: {tree.num_links} ({reason})")
        return notes
