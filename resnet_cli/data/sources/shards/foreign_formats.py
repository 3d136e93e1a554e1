"""Formats that are not read, each refused by its name with the conversion to one that is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from resnet_cli.config.data import DataConfig
from resnet_cli.data.sources.reading import Reading
from resnet_cli.data.sources.survey import Survey
from resnet_cli.errors import DataError

_INTO_FOLDERS = "write each image to LABEL/NUMBER.jpg, in Python"


class _Format(NamedTuple):
    """A format that is not read.

    Attributes:
        name: Its name.
        pattern: What the names of its files match, in lower case.
        way_out: The conversion.
        is_definite: Whether its files are certainly data, and not a model or notes.
    """

    name: str
    pattern: re.Pattern[str]
    way_out: str
    is_definite: bool = True


_FORMATS = (
    # Source: https://www.tensorflow.org/tutorials/load_data/tfrecord. ImageNet's shards have no extension.
    _Format(
        "TFRecord",
        re.compile(r".+\.tfrec(ords?)?(-\d+-of-\d+)?(\.gz)?|[\w-]+-\d{5}-of-\d{5}"),
        f"{_INTO_FOLDERS} with the package tfrecord: for n, r in enumerate(tfrecord.tfrecord_loader(FILE, None)): "
        "r['image/encoded'] is the image and r['image/class/label'][0] its label; r.keys() has the names in this set",
    ),
    _Format(
        "LMDB",
        re.compile(r"(data|lock)\.mdb|.+\.lmdb"),
        f"{_INTO_FOLDERS} with the package lmdb: for key, value in "
        "lmdb.open(DATA, readonly=True, lock=False).begin().cursor(): ...",
    ),
    # Source: https://docs.mosaicml.com/projects/streaming, "Dataset Format".
    _Format(
        "MDS (MosaicML Streaming)",
        re.compile(r".+\.mds(\.\w+)?"),
        f"{_INTO_FOLDERS} with the package mosaicml-streaming: for n, sample in "
        "enumerate(streaming.StreamingDataset(local=DATA, batch_size=1)): ...",
    ),
    # Source: https://github.com/Lightning-AI/litdata.
    _Format(
        "LitData",
        re.compile(r"chunk-\d+-\d+(\.\w+)?\.bin"),
        f"{_INTO_FOLDERS} with the package litdata: for n, sample in enumerate(litdata.StreamingDataset(DATA)): ...",
    ),
    _Format(
        "FFCV's Beton",
        re.compile(r".+\.beton"),
        "give the data set from which it was written",
    ),
    _Format(
        "RecordIO (MXNet)",
        re.compile(r".+\.rec"),
        "give the images and the .lst file from which im2rec wrote it",
    ),
    _Format(
        "Lance",
        re.compile(r".+\.lance"),
        "write it as Parquet, in Python with the package pylance: "
        "pyarrow.parquet.write_table(lance.dataset(DATA).to_table(), 'data.parquet')",
    ),
    # Source: https://cs.stanford.edu/~acoates/stl10.
    _Format(
        "the binary version of STL-10",
        re.compile(r"(train|test|unlabeled)_x\.bin"),
        "use it by name: resnet-cli finetune stl10",
    ),
    _Format(
        "a file compressed with gzip",
        re.compile(r".+\.(h5|hdf5|npy|npz|mat|arrow|parquet|tar)\.gz"),
        "decompress it with gunzip, and run the command again",
    ),
    _Format(
        "the Python version of CIFAR (pickles, which are never loaded)",
        re.compile(r"data_batch_\d|test_batch|batches\.meta"),
        "use it by name: resnet-cli finetune cifar10; or give the binary version, cifar-10-binary.tar.gz",
    ),
    _Format(
        "a pickle, which can run code and is never loaded",
        re.compile(r".+\.(pkl|pickle|joblib|pt|pth)(\.gz)?"),
        "load it where you trust it, and save numpy.savez('data.npz', x_train=images, y_train=labels)",
        is_definite=False,
    ),
)


def refuse_foreign(survey: Survey, options: DataConfig) -> Reading | None:
    """Refuses a file in one of these formats, or a folder of such files that contains nothing that is read.

    Raises:
        DataError: DATA is in such a format.
    """
    if survey.file is not None:
        names: Iterable[str] = [survey.file.name]
    else:
        names = () if survey.has_images else (name.rpartition("/")[2] for name in survey.others())
    found = first_foreign(names, definite_only=bool(survey.refusals))
    if found is None:
        return None
    name, form = found
    where = survey.spec if survey.file is not None else f"{survey.spec}: {name}"
    raise DataError(f"{where}: {_sentence(form)}", hint=form.way_out)


def first_foreign(names: Iterable[str], *, definite_only: bool = False) -> tuple[str, _Format] | None:
    """The first file with the name of such a format, and the format; formats of data come before pickles.

    Args:
        names: Names of files.
        definite_only: Whether pickles, which may be a model, do not count.
    """
    weak = None
    for name in names:
        for form in _FORMATS:
            if form.pattern.fullmatch(name.lower()):
                if form.is_definite:
                    return name, form
                weak = weak or (name, form)
    return None if definite_only else weak


def _sentence(form: _Format) -> str:
    return f"the format is {form.name}, which is not read" if form.is_definite else f"the file is {form.name}"
