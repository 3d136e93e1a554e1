"""The use case of ``inspect``: check every image of a data set, and write a cleaned table and a page about it."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from resnet_cli.config.inspect import InspectConfig
from resnet_cli.data.dataset import Dataset, Item
from resnet_cli.data.inspection.cleaning import clean_table, refuse_unnamed
from resnet_cli.data.inspection.findings import long_report
from resnet_cli.data.inspection.inspect import Inspection, inspect_images
from resnet_cli.data.inspection.pair_search import Table
from resnet_cli.data.inspection.scan import scan
from resnet_cli.data.inspection.scanned import ScannedImages
from resnet_cli.data.sources.opening import open_dataset
from resnet_cli.engines.feature_cache import MAX_SEARCH, find_features
from resnet_cli.errors import ConfigError
from resnet_cli.system.events import Progress, WorkDone
from resnet_cli.system.paths import refuse_existing, write_text
from resnet_cli.text import Summarized, plain

if TYPE_CHECKING:
    from resnet_cli.engines.feature_rows import Features


@dataclasses.dataclass(frozen=True, repr=False)
class InspectResult(Summarized):
    """What ``inspect`` found and wrote.

    Attributes:
        inspection: What was found.
        table: The cleaned table, if one was asked for.
        num_dropped: Number of images that the cleaned table omits.
        html: The page with images, if one was asked for.
    """

    inspection: Inspection
    table: Path | None = None
    num_dropped: int = 0
    html: Path | None = None

    def summary(self) -> dict[str, str]:
        """The number of findings of each kind."""
        found = self.inspection
        written = {name: str(path) for name, path in (("table", self.table), ("page", self.html)) if path}
        return {
            "data": found.dataset.name,
            "images": f"{len(found.images):,}",
            "unreadable": f"{len(found.unreadable):,}",
            "groups of exact duplicates": f"{len(found.exact):,}",
            "pairs of near duplicates": f"{len(found.near):,}",
            "leaks between splits": f"{len(found.leaks):,}",
            "label conflicts": f"{len(found.label_conflicts):,}",
            **written,
        }

    def to_dict(self) -> dict[str, Any]:
        """The object that ``inspect --json`` prints."""
        found: dict[str, Any] = plain(self.report())
        return found

    def report(self) -> dict[str, Any]:
        """As :meth:`to_dict`, except that the elements of long lists are made when they are asked for."""
        return long_report(self.inspection) | {"written": [str(path) for path in (self.table, self.html) if path]}


def inspect(
    data: str, config: InspectConfig, *, on_event: Callable[[WorkDone], None] = lambda _: None
) -> InspectResult:
    """Checks every image of a data set.

    Args:
        data: What the user names: a folder, a table, an archive, a URL or the name of a data set.
        config: How the data is read, and what to write.
        on_event: Called with the progress of downloads, checks, features and comparisons.

    Raises:
        ConfigError: ``--out`` is not the name of a new CSV file.
        DataError: The data cannot be read, or no table can name its images.
        NetworkError: The data or the weights have to be downloaded and cannot be.
        DiskError: A file cannot be written.
    """
    began = time.perf_counter()
    dataset = open_dataset(data, config, on_work=lambda *work: on_event(WorkDone(*work)))
    table = _table_path(dataset, config)
    images = scan(dataset.items, on_progress=lambda *counts: on_event(WorkDone("check", *counts)))
    features = _features(dataset, images, config, on_event)
    inspection = inspect_images(
        dataset, images, features=features, on_progress=lambda *counts: on_event(WorkDone("compare", *counts))
    )
    num_dropped = 0
    if table:
        num_dropped = len(clean_table(inspection, table))
    if config.html:
        from resnet_cli.reporting.inspection_page import inspection_page
        from resnet_cli.reporting.provenance import Provenance

        about = Provenance.now(data=dataset.spec, seconds=time.perf_counter() - began)
        write_text(config.html, inspection_page(inspection, about, folder=config.html.parent))
    return InspectResult(inspection, table, num_dropped, config.html)


def imagenet_features(
    items: Sequence[Item], *, device: str | None = None, offline: bool = False, on_progress: Progress | None = None
) -> Features:
    """Features of images by an ImageNet backbone, computed once and cached.

    Args:
        items: The images.
        device: As for ``--device``; None for auto.
        offline: Never download the weights.
        on_progress: Called with (images done, images in all).

    Returns:
        [n x 2048], on disk.

    Raises:
        NetworkError: No ImageNet weights are on this machine, and they cannot be downloaded.
    """
    from resnet_cli.engines.features import compute_features
    from resnet_cli.model.weights import load_imagenet
    from resnet_cli.system.device import choose_compute

    model = load_imagenet(offline=offline)
    compute = choose_compute(device or "auto")
    return compute_features(model.network, items, model.preprocess, compute, on_progress=on_progress)


def _features(
    dataset: Dataset, images: ScannedImages, config: InspectConfig, on_event: Callable[[WorkDone], None]
) -> Table | None:
    """Features of the readable images; None if they are neither asked for nor cached."""
    good = np.flatnonzero(images.is_readable)
    found: Table | None = None
    if not config.deep:
        found = find_features([row.tobytes() for row in images.digests[good]]) if len(good) <= MAX_SEARCH else None
    elif len(good):
        found = imagenet_features(  # type: ignore[assignment]
            dataset.packed.take(good),
            device=config.device,
            offline=config.offline,
            on_progress=lambda *counts: on_event(WorkDone("features", *counts)),
        )
    return None if found is None else _OfReadable(found, images.is_readable)


class _OfReadable:
    """Features of the readable images by their positions among all.

    Args:
        features: One row for each readable image.
        is_readable: Whether each image is, bool [n].
    """

    def __init__(self, features: Table, is_readable: NDArray[np.bool_]) -> None:
        self._features, self._row_of = features, np.cumsum(is_readable) - 1

    def __len__(self) -> int:
        return len(self._row_of)

    def __getitem__(self, positions: slice | NDArray[np.integer[Any]]) -> NDArray[np.floating[Any]]:
        # A block of a tensor, or of an array.
        return np.asarray(self._features[self._row_of[positions]])


def _table_path(dataset: Dataset, config: InspectConfig) -> Path | None:
    """Where ``--fix`` writes; checked before any image is read."""
    if not config.fix:
        return None
    path = config.out or Path(f"{dataset.name}-clean.csv")
    if path.suffix.lower() != ".csv":
        raise ConfigError(
            f"--out {path}: the table's name must end in .csv", hint=f"--out {shlex.quote(str(path))}.csv"
        )
    refuse_existing(path)
    refuse_unnamed(dataset)
    return path
