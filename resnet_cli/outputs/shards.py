"""A folder of predictions in parts, each written whole by its worker, so that a run can be killed and resumed.

``part-000012-3fa9c1d2e4b5.parquet`` holds the predictions for block 12 of the images; the last digits are the hash of
their names. The part is the last file of its block that is written, so that a part that exists is finished: the list
of its unreadable images (``failed/``) and its features exist too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from resnet_cli.data.dataset import Item
from resnet_cli.errors import ConfigError, DataError, SetupError
from resnet_cli.outputs.counts import Counts
from resnet_cli.outputs.prediction_files import Write, growing_file, parquet_file
from resnet_cli.outputs.schema import FILE_ROWS, Layout
from resnet_cli.prediction import PredictedItem
from resnet_cli.system.paths import atomic_path, disk_errors, make_dir, write_text

#: Images per part: half a minute of a core, which is what a killed worker costs.
BLOCK_SIZE = 1000
#: Maximum number of attempts at a block, after which it is blamed for the death of its workers; machines that come and
#: go use up a few.
MAX_ATTEMPTS = 6
#: Settings that all parts of a folder share.
JOB_FILE = "job.json"
#: Folder of the unreadable images, in JSON lines with the columns of the parts.
FAILED_FOLDER = "failed"
PartFormat: TypeAlias = Literal["json", "parquet"]
_SUFFIX: dict[PartFormat, str] = {"json": ".jsonl", "parquet": ".parquet"}
_PART = re.compile(r"part-(\d{6,})-([0-9a-f]{12})\.(?:jsonl|parquet)")
_LEFT_BEHIND = ".part-*.tmp"


@dataclasses.dataclass(frozen=True)
class Block:
    """Consecutive images of the inputs.

    Attributes:
        index: Position among the blocks, from 0.
        items: The images, ``BLOCK_SIZE`` of them; only the last block has fewer.
    """

    index: int
    items: list[Item]

    @property
    def name(self) -> str:
        """Name of its files, without extension; blocks of other images at the same position have other names."""
        digest = hashlib.blake2b(digest_size=6)
        for item in self.items:
            digest.update(os.fsencode(item.name) + b"\0")
        return f"part-{self.index:06d}-{digest.hexdigest()}"


def blocks(items: Iterable[Item], *, block_size: int) -> Iterator[Block]:
    """Splits images into blocks, which depend only on the order of the images."""
    waiting = iter(items)
    for index in itertools.count():
        taken = list(itertools.islice(waiting, block_size))
        if not taken:
            return
        yield Block(index, taken)


@dataclasses.dataclass(frozen=True)
class PartWriter:
    """Writes the parts of a job; small, and sent to every worker.

    Attributes:
        folder: Folder of the parts.
        kind: Format of the parts.
        made_by: What identifies the model and its settings; see :func:`~resnet_cli.outputs.prediction_files.made_by`.
        features: Folder of the features; None: they are not written.
        num_features: Number of features per image.
        layout: The columns.
    """

    folder: Path
    kind: PartFormat
    made_by: str
    features: Path | None = None
    num_features: int = 0
    layout: Layout = FILE_ROWS

    def part(self, name: str) -> Path:
        """The file with the predictions of a block."""
        return self.folder / f"{name}{_SUFFIX[self.kind]}"

    def failed(self, name: str) -> Path:
        """The file with its unreadable images."""
        return self.folder / FAILED_FOLDER / f"{name}.jsonl"

    def is_finished(self, name: str) -> bool:
        """Whether a block is finished."""
        return self.part(name).exists() and (self.features is None or self._features(name).exists())

    def num_failed(self, name: str) -> int:
        """Number of unreadable images in a finished block."""
        try:
            with self.failed(name).open("rb") as file:
                return sum(1 for _ in file)
        except FileNotFoundError:
            return 0

    def write(self, name: str, found: Iterable[PredictedItem[Any]]) -> Counts:
        """Writes one block; writing it again results in the same files.

        Raises:
            DiskError: A file cannot be written.
            SetupError: Too many workers have died while they computed this block.
        """
        with self._attempt(name):
            return self._write(name, found)

    @contextlib.contextmanager
    def _attempt(self, name: str) -> Iterator[None]:
        """Counts the attempts at a block in a file, one byte each: a killed worker cannot report its own."""
        attempts = self.folder / f".{name}.attempts.tmp"
        with disk_errors(attempts):
            with attempts.open("ab") as file:
                file.write(b".")
            num = attempts.stat().st_size
        if num > MAX_ATTEMPTS:
            raise SetupError(
                f"{MAX_ATTEMPTS} workers died while computing the images of {name}",
                hint="if memory was short, give each worker more of it: ray start --num-cpus with fewer cores; "
                "the same command continues",
            )
        yield
        attempts.unlink(missing_ok=True)

    def _write(self, name: str, found: Iterable[PredictedItem[Any]]) -> Counts:
        counts = Counts()
        # A killed attempt may have left it, and this time all images may be readable.
        self.failed(name).unlink(missing_ok=True)
        with contextlib.ExitStack() as stack:
            # The part is opened first and so closed last: once it has its name, the block is finished.
            writers = [stack.enter_context(self._open_part(self.part(name)))]
            if self.features is not None:
                writers.append(stack.enter_context(self._open_features(name)))
            write_failed: Write | None = None
            for predicted in found:
                counts += Counts.of(predicted.prediction)
                if predicted.prediction.error is not None:
                    write_failed = write_failed or stack.enter_context(self._open_failed(name))
                    write_failed(predicted)
                    continue
                for write in writers:
                    write(predicted)
        return counts

    def tidy(self) -> None:
        """Removes what killed workers have left; no worker may be running."""
        folders = [self.folder, self.folder / FAILED_FOLDER, *([self.features] if self.features else [])]
        for path in itertools.chain.from_iterable(folder.glob(_LEFT_BEHIND) for folder in folders):
            path.unlink(missing_ok=True)

    def _features(self, name: str) -> Path:
        assert self.features is not None
        return self.features / f"{name}.parquet"

    def _open_part(self, path: Path) -> contextlib.AbstractContextManager[Write]:
        if self.kind == "parquet":
            return parquet_file(path, self.made_by, self.layout)
        return _json_part(path, self.made_by, self.layout)

    def _open_failed(self, name: str) -> contextlib.AbstractContextManager[Write]:
        path = self.failed(name)
        make_dir(path.parent)
        return _json_part(path, self.made_by, self.layout)

    def _open_features(self, name: str) -> contextlib.AbstractContextManager[Write]:
        import numpy as np

        from resnet_cli.outputs.embeddings import embeddings_file

        return embeddings_file(self._features(name), self.num_features, np.float32)


def begin(folder: Path, flag: str, settings: Mapping[str, object]) -> None:
    """Creates the folder of a job, or checks that it belongs to the same job.

    Args:
        folder: The folder; its parent exists.
        flag: The flag that names it, for messages.
        settings: Settings that all its parts share, as plain JSON values.

    Raises:
        ConfigError: It holds parts of another job, or other files.
        DataError: Its job file is damaged.
        DiskError: It cannot be created.
    """
    file = folder / JOB_FILE
    if file.exists():
        _check_same(folder, flag, settings)
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{flag} {folder}: holds files that are not parts of predictions", hint="name a new folder")
    make_dir(folder)
    write_text(file, json.dumps(settings, indent=2) + "\n")


def _check_same(folder: Path, flag: str, settings: Mapping[str, object]) -> None:
    try:
        found = json.loads((folder / JOB_FILE).read_bytes())
        if not isinstance(found, dict):
            raise ValueError("not a JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{folder / JOB_FILE}: damaged: {error}", hint=f"name a new folder with {flag}") from error
    other = [key for key in {**found, **settings} if found.get(key) != settings.get(key)]
    if other:
        changed = ", ".join(f"{key} {str(found.get(key))[:60]}, now {settings.get(key)}" for key in other)
        raise ConfigError(
            f"{flag} {folder} was started with another model or other settings: {changed}",
            hint="name a new folder, or use the model and the flags that it was started with",
        )


def unfinished(found: Iterable[Block], writer: PartWriter, skipped: list[Counts]) -> Iterator[Block]:
    """The blocks that are not finished; at the end it is certain that all existing parts belong to these images.

    Args:
        found: All blocks.
        writer: The writer of the parts.
        skipped: Receives the counts of the finished blocks.

    Raises:
        ConfigError: A part belongs to other images.
    """
    parts = _parts(writer.folder)
    num_blocks = 0
    for block in found:
        num_blocks += 1
        there = parts.get(block.index, block.name)
        if there != block.name:
            raise _other_images(writer.folder, there)
        if block.index in parts and writer.is_finished(block.name):
            skipped.append(Counts(len(block.items), writer.num_failed(block.name)))
        else:
            yield block
    if parts and max(parts) >= num_blocks:
        raise _other_images(writer.folder, parts[max(parts)])


def _parts(folder: Path) -> dict[int, str]:
    """Block index -> name of the parts that exist."""
    found: dict[int, str] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            match = _PART.fullmatch(entry.name)
            if match:
                name = os.path.splitext(entry.name)[0]
                if found.setdefault(int(match[1]), name) != name:
                    raise _other_images(folder, name)
    return found


def _other_images(folder: Path, name: str) -> ConfigError:
    return ConfigError(
        f"--out {folder} was started with other images: {name} belongs to none of these blocks",
        hint="name a new folder, or use the inputs that it was started with, in the same order",
    )


@contextlib.contextmanager
def _json_part(path: Path, made_by: str, layout: Layout) -> Iterator[Write]:
    with atomic_path(path) as temporary, growing_file(temporary, "json", made_by, layout=layout) as write:
        yield write
