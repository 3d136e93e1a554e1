"""Annotation files as DATA: exports of labeling tools, COCO, cloud lists, JSON lists and maps."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.annotations.annotated_rows import rows_of
from resnet_cli.data.sources.annotations.choice import Candidate, choose, folders_decide, note_about_folders
from resnet_cli.data.sources.annotations.detection_sets import (
    detection_set,
    is_yolo_description,
    refused_description,
)
from resnet_cli.data.sources.annotations.files import ANNOTATION_EXTENSIONS, DOCUMENT_EXTENSIONS, read_annotation_file
from resnet_cli.data.sources.annotations.items import Annotated
from resnet_cli.data.sources.annotations.yolo import read_yolo
from resnet_cli.data.sources.folder_names import has_class_folders
from resnet_cli.data.sources.reading import NotUsed, Reading
from resnet_cli.data.sources.rows.label_maps import class_names
from resnet_cli.data.sources.rows.labeled_rows import read_rows
from resnet_cli.data.sources.rows.references import NUM_TRIED, Locator, direct_path, sample
from resnet_cli.data.sources.rows.row import Row, RowFile
from resnet_cli.data.sources.survey import Folder, Survey
from resnet_cli.data.sources.tables.reader import read_tables
from resnet_cli.errors import DataError, ResnetCliError
from resnet_cli.images import EXTENSIONS, is_image_name
from resnet_cli.text import counted, first_of

#: More annotation files than this in one folder are one file per image, and a few tell whether all of them count.
MAX_SEPARATE = 32
#: Bytes at the start of a file that must look like annotations of images.
_HEAD_BYTES = 65_536
_LOOKS = re.compile(
    (
        "(?:" + "|".join(re.escape(extension) for extension in sorted(EXTENSIONS)) + r")[\"'?,<\\\s]"
        r'|"image_id"|"labels"|"categories"|"tags"|<annotation'
    ).encode(),
    re.IGNORECASE,
)


def read_annotations(survey: Survey, options: DataConfig) -> Reading | None:
    """Reads the given annotation file, or the annotation files of a folder.

    A file in a folder counts only if its content is in a known format and names images of the folder, so that other
    JSON files do no harm. The reasons why files that name images do not count are added to ``survey.refusals``.

    Raises:
        ConfigError: A flag names an attribute that does not exist, or has no effect on this format.
        DataError: The file is damaged, may be meant in several ways, or several files disagree.
    """
    if survey.file is not None:
        return _read_given(survey.file, survey, options)
    candidates = [
        candidate for annotated in _found(survey, options) if (candidate := _candidate(annotated, survey, options))
    ]
    if not candidates:
        problem = None if has_class_folders(survey) else detection_set(survey)
        if problem and options.multi_label:
            return _tables_instead(survey, options) or read_yolo(survey, options)
        survey.refusals.extend([problem] if problem else [])
        return None
    if options.multi_label:
        of_images = [candidate for candidate in candidates if not candidate.listed.are_objects]
        if not of_images and (reading := _tables_instead(survey, options)):
            return reading
        candidates = of_images or candidates
    try:
        chosen, notes = choose(candidates, survey)
    except DataError as error:
        if not has_class_folders(survey):
            raise
        survey.refusals.append(_not_used(error))
        return None
    decided = folders_decide(chosen, survey, options)
    if decided is not False:
        if isinstance(decided, DataError):
            survey.refusals.append(_not_used(decided))
        return None
    return _reading(chosen, survey, options, [*notes, *note_about_folders(chosen, survey)])


def _tables_instead(survey: Survey, options: DataConfig) -> Reading | None:
    """The tables that label images of a folder, which say more than the classes of objects."""
    with contextlib.suppress(DataError):
        return read_tables(survey, options)
    return None


def _read_given(path: Path, survey: Survey, options: DataConfig) -> Reading | None:
    suffix = path.suffix.lower()
    if is_yolo_description(path):
        if not options.multi_label:
            raise refused_description(path)
        return read_yolo(survey, options, description=path)
    if suffix not in ANNOTATION_EXTENSIONS:
        return None
    annotated = read_annotation_file(path, options, is_given=True)
    if annotated is None:
        if suffix in DOCUMENT_EXTENSIONS:
            raise DataError(
                f"DATA {survey.spec}: not in a known annotation format",
                hint='write, for example, [{"image": "cat.jpg", "label": "cat"}]; docs/data.md lists the formats',
            )
        return None
    annotated = _with_extensions(annotated)
    listed = rows_of(annotated, options, Locator(survey, options))
    folder = _image_folder(annotated, listed.rows, survey)
    file = RowFile(path, listed.rows, image_folder=folder)
    return _reading([Candidate(annotated, listed, file, ())], survey, options, ())


def _reading(chosen: Sequence[Candidate], survey: Survey, options: DataConfig, notes: Sequence[str]) -> Reading:
    """Reads the chosen files, with names for classes that they only number."""
    paths = [one.annotated.path for one in chosen]
    what = first_of([os.path.relpath(path, survey.root).replace(os.sep, "/") for path in paths], 3)
    files = [one.file for one in chosen]
    labels = {label for one in chosen for row in one.listed.rows for label in row.labels or ()}
    names, note = class_names(labels, paths[0], survey)
    if names:
        files = [dataclasses.replace(file, rows=[row.renamed(names) for row in file.rows]) for file in files]
    reading = read_rows(files, survey, options, what=f"{chosen[0].annotated.format} {what}")
    own = [note for one in chosen for note in one.listed.notes]
    return dataclasses.replace(reading, notes=(*reading.notes, *([note] if note else []), *own, *notes))


def _found(survey: Survey, options: DataConfig) -> Iterator[Annotated]:
    """The annotation files of a folder, those with one image each as one."""
    for folder in survey.folders.values():
        names = [name for name in folder.others if os.path.splitext(name)[1].lower() in ANNOTATION_EXTENSIONS]
        # Files named after images describe one image each; there may be a file about all images beside them.
        stems = {os.path.splitext(image)[0] for image in folder.images} if names else set()
        named = [name for name in names if os.path.splitext(name)[0] in stems]
        singles: list[Annotated] = []
        for group in (named, [name for name in names if os.path.splitext(name)[0] not in stems]):
            for found in _read_group(folder, group, survey, options):
                if found.is_single:
                    singles.append(found)
                else:
                    yield found
        for kind in dict.fromkeys(one.format for one in singles):
            same = [one for one in singles if one.format == kind]
            annotations = [annotation for one in same for annotation in one.annotations]
            path = same[0].path if len(same) == 1 else survey.path(folder.name) / f"*{same[0].path.suffix}"
            yield dataclasses.replace(same[0], path=path, annotations=annotations)


def _read_group(folder: Folder, names: Sequence[str], survey: Survey, options: DataConfig) -> Iterator[Annotated]:
    """The annotation files among some files of a folder."""
    if len(names) > MAX_SEPARATE:
        tried = (_try(folder, name, survey, options) for name in names[:: len(names) // 3])
        if not any(found is not None and found.is_single for found in tried):
            return
    for name in names:
        found = _try(folder, name, survey, options)
        if found is not None:
            yield found


def _try(folder: Folder, name: str, survey: Survey, options: DataConfig) -> Annotated | None:
    path = survey.path(folder.name) / name
    try:
        with path.open("rb") as file:
            if not _LOOKS.search(file.read(_HEAD_BYTES)):
                return None
        return read_annotation_file(path, options)
    except OSError as error:
        survey.refusals.append(DataError(f"{path}: {error.strerror or error}"))
    except DataError as error:
        survey.refusals.append(error)
    return None


def _candidate(annotated: Annotated, survey: Survey, options: DataConfig) -> Candidate | None:
    """The file with its images; None, with the reason among the refusals, if it cannot label images of DATA."""
    annotated = _with_extensions(annotated)
    try:
        listed = rows_of(annotated, options, Locator(survey, options))
        folder = _image_folder(annotated, listed.rows, survey)
        candidate = Candidate.located(annotated, listed, folder, survey, options)
    except ResnetCliError as error:
        is_about_parts = any(one.num_shapes for one in annotated.annotations)
        if any(
            survey.image_index.find(one.image)[0] for one in annotated.annotations[:NUM_TRIED] if not is_about_parts
        ):
            survey.refusals.append(_not_used(error))
        elif not (is_about_parts and has_class_folders(survey)):
            survey.refusals.append(error)
        return None
    if candidate is None:
        survey.refusals.append(
            DataError(
                f"{annotated.path}: no image that it lists is in {survey.spec} ({counted(len(listed.rows), 'image')}), "
                f"such as '{listed.rows[0].image}'"
            )
        )
    return candidate


def _not_used(error: ResnetCliError) -> NotUsed:
    return NotUsed(f"not used: {error.message}", hint=error.hint or "DATA is read without it")


def _with_extensions(annotated: Annotated) -> Annotated:
    """Completes names without extension where the format has its images in one folder."""
    folder = annotated.path.parent / annotated.folder
    if not annotated.folder or not folder.is_dir():
        return annotated
    names = {os.path.splitext(name)[0]: name for name in sorted(os.listdir(folder)) if is_image_name(name)}
    complete = [one._replace(image=names.get(one.image, one.image)) for one in annotated.annotations]
    return dataclasses.replace(annotated, annotations=complete)


def _image_folder(annotated: Annotated, rows: Sequence[Row], survey: Survey) -> Path | None:
    """The folder of the images of a file in a folder of its own: ``annotations/train.json`` beside ``images/``."""
    path = annotated.path
    own = path.parent / annotated.folder
    # `instances_train2017.json` describes the images in `train2017`.
    stem = re.sub("^[a-z]+_(?=train|val|test)", "", path.stem, flags=re.IGNORECASE)
    places = [own, path.parent, path.parent / "images"]
    if survey.file is not None or path.parent != survey.root:
        above = Path(os.path.abspath(path.parent)).parent
        places += [above / name for name in ("images", "data", stem, "", f"images/{stem}")]
    tried = sample(rows)
    num_found = {place: sum(os.path.exists(direct_path(row.image, place)) for row in tried) for place in places}
    best = max(places, key=lambda place: num_found[place])
    return best if num_found[best] else own if annotated.folder else None
