"""Prepares DATA for training: opens it, checks every image and splits it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

from resnet_cli.config.base import Resolved
from resnet_cli.config.finetune import FinetuneConfig
from resnet_cli.data.dataset import Dataset
from resnet_cli.data.inspection.findings import find_problems
from resnet_cli.data.inspection.inspect import NO_WIDE_IMAGES, Finding, Inspection, WideImages, inspect_images
from resnet_cli.data.inspection.scan import leave_out_unreadable, scan
from resnet_cli.data.inspection.scanned import ScannedImages
from resnet_cli.data.inspection.training_splits import split_for_training
from resnet_cli.data.inspection.used_images import NO_USED_IMAGES, UsedImages
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.data.splits import fewest_train, limit_train
from resnet_cli.errors import ConfigError, ImageError
from resnet_cli.system.events import OnWork
from resnet_cli.training.resumed_data import ResumedData, open_again

#: Maximum number of images for the search for near-duplicates before a training (it takes about a second).
MAX_NEAR_SEARCH = 20_000
#: Findings that the plan takes care of, or that do no harm, and that need no warning.
_HANDLED = {"exact_duplicates", "near_duplicates", "bit_depth", "implied"}


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Data that are ready for training.

    Attributes:
        dataset: The data set with its splits; the training split is already limited.
        skipped: Images that are skipped because they cannot be read, each with the reason.
        checked: Result of the check, in a few words.
        warnings: What the user should know before the training starts.
        fingerprint: Hash of the images, their classes and splits.
        findings: Findings of the check, for the report.
        wide: The 16-bit images among them.
        used_images: The hashes of the images, in the order of the data set.
        is_drawn: Whether the split seed decided which images validate, or which ones train.
    """

    dataset: Dataset
    skipped: tuple[ImageError, ...]
    checked: str
    warnings: tuple[str, ...]
    fingerprint: str
    findings: tuple[Finding, ...] = ()
    wide: WideImages = NO_WIDE_IMAGES
    used_images: UsedImages = NO_USED_IMAGES
    is_drawn: bool = False


def prepare_data(resolved: Resolved[FinetuneConfig], on_work: OnWork, *, run: Path | None = None) -> Prepared:
    """Opens DATA, checks every image, and assigns it to training, validation or test.

    Args:
        resolved: The config and who set each value.
        on_work: Called with the progress of downloads, of unpacking and of the check.
        run: Folder of a run, whose images and splits are used again.

    Raises:
        ConfigError: A flag has no effect on these data.
        DataError: The data cannot be used, or have unreadable images that must not be skipped.
        NetworkError: The data must be downloaded and cannot be.
    """
    config, bit_depth = resolved.config, resolved.config.bit_depth or 16
    on_check = functools.partial(on_work, "check")
    if run is not None:
        return _prepare_again(open_again(config, run, bit_depth=bit_depth, on_work=on_work))
    dataset = open_dataset(config.data, config, on_work=on_work)
    if resolved.origins["val_fraction"] == "flag" and dataset.split("val"):
        raise ConfigError(
            f"--val-fraction has no effect: {dataset.name} has its own validation split",
            hint="remove it, or name a folder without splits",
        )
    if resolved.origins["split_seed"] == "flag" and dataset.split("val") and not (config.limit or config.fraction):
        raise ConfigError(
            f"--split-seed has no effect: {dataset.name} has its own validation split, and no limit is set",
            hint="remove it; --seed changes the training",
        )
    is_compared = len(dataset.items) <= MAX_NEAR_SEARCH and dataset.packed.are_files
    images = scan(dataset.items, signatures=is_compared, bit_depth=bit_depth, on_progress=on_check)
    items, images, skipped = leave_out_unreadable(dataset.items, images, config.on_bad_image)
    dataset = dataclasses.replace(dataset, items=items)
    readable = dataset.packed
    inspection = inspect_images(dataset, images, near=is_compared)
    is_drawn = not dataset.split("val") or bool(config.limit or config.fraction)
    dataset, separated = split_for_training(inspection, val_fraction=config.val_fraction, seed=config.split_seed)
    if config.limit or config.fraction:
        num_train = len(dataset.split("train"))
        limit = config.limit
        if limit is None:
            fewest = fewest_train(dataset, seed=config.split_seed)
            limit = max(fewest, round((config.fraction or 1) * num_train))
        dataset = limit_train(dataset, limit, seed=config.split_seed)
    findings = find_problems(inspection, training=separated)
    warnings = _warnings(findings, len(skipped))
    used = images.take(readable.positions_of(dataset.packed))
    fingerprint = dataset.fingerprint(used.digests)
    checked = _checked(inspection, len(skipped))
    wide = WideImages.among(images)
    used_images = UsedImages.of(dataset.items, used)
    return Prepared(
        dataset, tuple(skipped), checked, warnings, fingerprint, tuple(findings), wide, used_images, is_drawn
    )


def _prepare_again(found: ResumedData) -> Prepared:
    renamed = f", {found.num_renamed:,} of them under other names" if found.num_renamed else ""
    return Prepared(
        found.dataset,
        (),
        f"the same images as when the run began{renamed}",
        (),
        found.dataset.fingerprint(ScannedImages.of(found.images).digests),
        wide=WideImages.among(found.images),
        used_images=UsedImages.of(found.dataset.items, found.images),
    )


def _checked(inspection: Inspection, num_skipped: int) -> str:
    num_copies = inspection.exact.num_extra
    facts = [
        f"{num_skipped:,} skipped" if num_skipped else "all readable",
        f"copies: {num_copies:,}" if num_copies else "",
        f"look-alikes: {len(inspection.near):,}" if inspection.near else "",
    ]
    return ", ".join(filter(None, facts))


def _warnings(findings: Sequence[Finding], num_skipped: int) -> tuple[str, ...]:
    left_out = [f"unreadable images are skipped: {num_skipped:,}; the run's skipped.csv lists them"]
    problems = [problem for problem in findings if problem.code not in _HANDLED]
    return tuple(left_out[: min(1, num_skipped)]) + tuple(
        problem.message if problem.code == "note" else f"{problem.message}: {problem.fix}" for problem in problems
    )
