"""The run folder: what a fine-tuning writes, and how a model finds its run again."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import json
import os
import shlex
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from resnet_cli.config.base import resolve, to_yaml
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.config.yaml_file import MADE_BY
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.inspection.used_images import NO_USED_IMAGES, USED_IMAGES_FILE, UsedImages
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.data.split_files import apply_split_csv, write_rows, write_split_csv
from resnet_cli.errors import ConfigError, DataError, ImageError
from resnet_cli.history import EpochRecord, history_csv
from resnet_cli.model.facts import MODEL_FILE
from resnet_cli.system.latest import mark_latest
from resnet_cli.system.paths import RUNS, check_space, disk_errors, make_dir, refuse_existing, write_text
from resnet_cli.task import TaskName

if TYPE_CHECKING:
    from resnet_cli.preprocess import Preprocess


class Known(Protocol):
    """A model or an exported file of one, whose run is searched for."""

    @property
    def path(self) -> Path | None:
        """File of the model, if any."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in index order."""

    @property
    def preprocess(self) -> Preprocess:
        """How an image becomes the network's input."""

    @property
    def task(self) -> TaskName:
        """Whether an image has one label or any number."""


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """A folder with a model, its config, split, history, metrics and plots."""

    path: Path

    @classmethod
    def create(cls, out: Path | None, data_name: str, *, num_bytes: int = 0) -> RunFolder:
        """Creates a new folder: ``out``, or ``runs/<data>-<time>``; two processes never get the same one.

        Args:
            out: The folder that the user asks for; None for the default.
            data_name: Name of the data set.
            num_bytes: Bytes that will be written; the free space is checked now and not after the training.

        Raises:
            ConfigError: ``out`` exists.
            DiskError: The folder cannot be created, or the disk has too little space.
        """
        refuse_existing(out)
        name = f"{data_name}-{time.strftime('%Y%m%d-%H%M%S')}"
        names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        path = out or RUNS / next(names)
        make_dir(path.parent)
        check_space(path.parent, num_bytes, "the run", hint="free some space, or choose another disk with --out")
        while True:
            with disk_errors(path, "create the folder"):
                try:
                    path.mkdir()
                    return cls(path)
                except FileExistsError:
                    if out is not None:
                        raise ConfigError(
                            f"--out {out}: another run has just taken it", hint="choose another name"
                        ) from None
                    path = RUNS / next(names)

    @property
    def model_path(self) -> Path:
        """The model file."""
        return self.path / MODEL_FILE

    @property
    def checkpoints_path(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def is_finished(self) -> bool:
        """Whether the training is finished."""
        return (self.path / "metrics.json").exists()

    @property
    def resume_command(self) -> str:
        """The command that continues the training."""
        return f"resnet-cli finetune --resume {shlex.quote(str(self.path))}"

    @property
    def continue_with(self) -> str:
        """A clause for messages that names this command."""
        return f"continue with: {self.resume_command}"

    def reopen(self) -> None:
        """Marks the folder as unfinished, and removes temporary files of a killed process."""
        for path in (self.path / "metrics.json", *self.path.glob(".*.tmp")):
            with contextlib.suppress(OSError):
                path.unlink()

    def discard(self) -> None:
        """Removes the folder unless it holds a model or a checkpoint."""
        if not self.model_path.exists() and not list_checkpoints(self.checkpoints_path):
            shutil.rmtree(self.path, ignore_errors=True)

    def write_inputs(
        self,
        config: FinetuneConfig,
        dataset: Dataset,
        skipped: Sequence[ImageError] = (),
        used_images: UsedImages = NO_USED_IMAGES,
        *,
        command: str = "",
    ) -> None:
        """Writes the config, the splits, the hashes of the images and, if images were skipped, which and why.

        The hashes of the images are written once: a resumed run may no longer find the run that it started from. So is
        the command, in the first line of the config.

        Args:
            config: The config, every choice made.
            dataset: The data set with its splits.
            skipped: Images that were skipped.
            used_images: The hashes of the images.
            command: The command line that makes the run.

        Raises:
            DiskError: They cannot be written.
        """
        write_text(self.path / "config.yaml", self._made_by(command) + to_yaml(config))
        write_split_csv(self.path / "split.csv", dataset)
        if not (self.path / USED_IMAGES_FILE).exists():
            used_images.save(self.path / USED_IMAGES_FILE)
        if skipped:
            text = io.StringIO()
            rows = [("path", "reason"), *((error.path, error.reason) for error in skipped)]
            write_rows(text, rows)
            write_text(self.path / "skipped.csv", text.getvalue())

    def _made_by(self, command: str) -> str:
        """The first line of the config: that of the config which is there, else one with the command."""
        with contextlib.suppress(OSError), (self.path / "config.yaml").open(encoding="utf-8", errors="replace") as file:
            first = file.readline()
            return first if first.startswith(MADE_BY) else ""
        # A line break in a file name would end the comment.
        return f"{MADE_BY}{command}\n" if command and command.isprintable() else ""

    def write_history(self, history: Sequence[EpochRecord]) -> None:
        """Writes ``history.csv``, one row per epoch.

        Raises:
            DiskError: It cannot be written.
        """
        write_text(self.path / "history.csv", history_csv(history))

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Writes ``metrics.json``.

        Raises:
            DiskError: It cannot be written.
        """
        write_text(self.path / "metrics.json", json.dumps(metrics, indent=2, allow_nan=False) + "\n")

    def mark_latest(self) -> None:
        """Points ``runs/latest`` to this run."""
        mark_latest(self.path)


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, newest first."""
    return sorted(folder.glob("step-*.safetensors"), reverse=True)


def open_run_dataset(model: Known, *, split: str | None = "all", offline: bool = False) -> Dataset:
    """Opens the data of the run that a model belongs to, with the run's splits.

    Args:
        model: A model from a run folder.
        split: The split to evaluate, of which no image may be missing; None for test, else val, else all.
        offline: Whether downloads are forbidden.

    Raises:
        ConfigError: The model is not in a run folder.
        DataError: The data are missing or have changed.
    """
    folder = find_run_folder(model.path)
    if model.path is None or folder is None:
        raise ConfigError(
            f"{model.path} is not in a run folder, so its own test images are unknown",
            hint=f"name the data: resnet-cli eval {shlex.quote(str(model.path))} DATA",
        )
    config = read_run_config(folder)
    try:
        dataset = open_dataset(config.data, config.model_copy(update={"offline": offline or config.offline}))
    except DataError as error:
        raise DataError(
            f"the images that {model.path.parent} was trained on can no longer be used: {error.message}",
            hint="if they were moved, name their new place; the test split of the run is found there: "
            f"resnet-cli eval {shlex.quote(str(model.path.parent))} NEWPATH",
        ) from error
    return apply_split_csv(dataset, folder / "split.csv", complete=split)


def used_by_run_of(model_path: Path, name: str) -> UsedImages:
    """The images that a model's run used; without a record of them, it says that they are not known.

    Args:
        model_path: File of a model.
        name: What to call the model if its images are not known.

    Raises:
        DataError: The record is damaged.
    """
    found = UsedImages.read(model_path.resolve().parent / USED_IMAGES_FILE)
    return found or dataclasses.replace(NO_USED_IMAGES, unrecorded=(name,))


def find_run_folder(model_path: Path | None) -> Path | None:
    """The run folder that a model file is in; None if there is no such folder."""
    if model_path is None:
        return None
    folder = model_path.resolve().parent
    return folder if is_run(folder) else None


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, finished or not."""
    return os.path.isfile(folder / "config.yaml") and os.path.isfile(folder / "split.csv")


def read_run_config(folder: Path) -> FinetuneConfig:
    """The config that a run recorded.

    Raises:
        ConfigError: It is damaged.
    """
    return resolve(FinetuneConfig, {}, folder / "config.yaml", is_record=True).config
