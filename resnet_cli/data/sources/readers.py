"""The known formats of DATA, from the most to the least definite."""

from __future__ import annotations

import dataclasses

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.annotations.detection_sets import DetectionSet
from resnet_cli.data.sources.annotations.reader import read_annotations
from resnet_cli.data.sources.folders.packed import OnlyArchives, refuse_packed
from resnet_cli.data.sources.folders.reader import read_folders
from resnet_cli.data.sources.lists.reader import read_official_lists, read_plain_lists, with_listed_splits
from resnet_cli.data.sources.reading import ROW_FLAGS, NotUsed, Reader, Reading
from resnet_cli.data.sources.shards.foreign_formats import refuse_foreign
from resnet_cli.data.sources.shards.machine_readers import MACHINE_READERS
from resnet_cli.data.sources.survey import Survey
from resnet_cli.data.sources.tables.reader import read_tables
from resnet_cli.errors import ConfigError, DataError, SetupError

#: Fields whose flags have an effect on folders only.
FOLDER_FLAGS = ("label_regex", "classes_at", "follow_links")
#: The first reader that recognizes DATA reads it; folders are taken for classes only after everything else.
READERS: tuple[Reader, ...] = (
    read_official_lists,
    *MACHINE_READERS,
    read_annotations,
    read_tables,
    read_plain_lists,
    refuse_foreign,
)


def read(survey: Survey, options: DataConfig) -> Reading:
    """Reads DATA in the first format that recognizes it.

    Raises:
        ConfigError: A flag has no effect on this kind of data.
        DataError: The data is not in a known format, is damaged, or may be read in several ways.
        SetupError: A package that the format needs is not installed.
    """
    # Reading from a pipe or a device would wait.
    is_readable = survey.file is None or survey.file.is_file()
    if is_readable and (not options.label_regex or survey.file is not None):
        for reader in READERS:
            reading = reader(survey, options)
            if reading is not None:
                # Lists name images of DATA only, and these may be behind links.
                flags = FOLDER_FLAGS[:-1] if reader in (read_official_lists, read_plain_lists) else FOLDER_FLAGS
                refuse_without_effect(options, (*flags, *reading.no_effect), f"DATA is read as {reading.what}")
                return _noted(with_listed_splits(reading, survey), survey)
    if survey.file is not None:
        refuse_packed(survey.file)
        raise DataError(
            f"DATA {survey.spec}: not a folder, a table or an archive",
            hint="tables end in .csv, .tsv, .jsonl, .parquet or .txt, annotations in .json, .xml or .manifest, "
            "archives in .zip, .tar, .tar.gz, .tar.xz or .tar.zst; to classify one image: resnet-cli predict",
        )
    if survey.refusals and any(_is_given(options, field) for field in ROW_FLAGS):
        raise survey.refusals[0]
    refuse_without_effect(options, ROW_FLAGS, f"{survey.spec} is not a table")
    if options.label_regex:
        refuse_without_effect(options, ("classes_at",), "--label-regex reads the classes from file names")
    try:
        return _noted(with_listed_splits(read_folders(survey, options), survey), survey)
    except DataError as error:
        # The folder was most likely meant to be read by the table that cannot be used.
        if not survey.refusals or isinstance(error, OnlyArchives):
            raise
        first = next((one for one in survey.refusals if isinstance(one, DetectionSet)), survey.refusals[0])
        if isinstance(first, SetupError | DetectionSet):
            raise first from error
        raise DataError(error.message, hint=f"{first.message}; {first.hint or error.hint}") from error


def _noted(reading: Reading, survey: Survey) -> Reading:
    """The reading with notes about files that list images of DATA and are not used."""
    unused = [f"{error.message}; {error.hint}" for error in survey.refusals if isinstance(error, NotUsed)]
    return dataclasses.replace(reading, notes=(*reading.notes, *dict.fromkeys(unused))) if unused else reading


def refuse_without_effect(options: DataConfig, fields: tuple[str, ...], why: str) -> None:
    """Rejects flags that have no effect.

    Raises:
        ConfigError: One of the fields is set.
    """
    for field in fields:
        if _is_given(options, field):
            flag = field.replace("_", "-")
            raise ConfigError(f"--{flag} has no effect: {why}", hint=f"remove --{flag}")


def _is_given(options: DataConfig, field: str) -> bool:
    return bool(getattr(options, field) != DataConfig.model_fields[field].default)
