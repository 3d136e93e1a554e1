"""``resnet-cli inspect``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_cli.cli import app, output
from resnet_cli.cli.options import DataArgument, JsonFlag, QuietFlag
from resnet_cli.cli.takes import Flags, examples, takes
from resnet_cli.config.base import resolve
from resnet_cli.config.inspect import InspectConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from resnet_cli.data.dataset import Dataset
    from resnet_cli.data.inspection.index import ScannedImage
    from resnet_cli.data.inspection.inspect import Inspection


@app.command(
    epilog=examples(
        "resnet-cli inspect photos/",
        "resnet-cli inspect photos/ --html report.html",
        "resnet-cli inspect labels.csv --fix --out clean.csv",
        docs="data.md",
    )
)
@takes(InspectConfig, omit={"on_bad_image"})
def inspect(
    data: DataArgument,
    *,
    flags: Flags,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Check every image of DATA: unreadable files, duplicates, leaks between splits, sizes, classes."""
    config = resolve(InspectConfig, flags).config
    from resnet_cli.cli.progress import ProgressView
    from resnet_cli.data.inspection.inspect import inspect_images
    from resnet_cli.data.inspection.scan import scan
    from resnet_cli.data.sources.opening import open_dataset
    from resnet_cli.system.events import WorkDone

    with ProgressView(quiet=quiet) as view:
        dataset = open_dataset(data, config, on_work=lambda *work: view(WorkDone(*work)))
        table = _table_path(dataset, config)
        images = scan(dataset.items, on_progress=lambda done, total: view(WorkDone("check", done, total)))
    features = _features(dataset, images, config, quiet=quiet)
    with ProgressView(quiet=quiet) as view:
        inspection = inspect_images(
            dataset, images, features=features, on_progress=lambda *n: view(WorkDone("compare", *n))
        )
    written = _write_files(inspection, table, config.html)
    if as_json:
        from resnet_cli.data.inspection.findings import to_report

        output.show_json(to_report(inspection) | {"written": [path for path, _ in written]})
    elif quiet:
        for path, _ in written:
            output.show_line(path)
    else:
        from resnet_cli.cli.inspection import inspection_tables
        from resnet_cli.cli.tables import files_block

        output.show(*inspection_tables(inspection))
        if written:
            output.show(files_block("Written", written, width=output.stdout().width))


def _features(
    dataset: Dataset, images: list[ScannedImage], config: InspectConfig, *, quiet: bool
) -> NDArray[np.floating[Any]] | None:
    """What a backbone sees in each image, where it is asked for or known already; zeros for unreadable ones."""
    from resnet_cli.model.feature_cache import MAX_SEARCH, find_features

    good = [position for position, image in enumerate(images) if not image.error]
    if not config.deep:
        known = find_features([images[at].sha256 for at in good]) if len(good) <= MAX_SEARCH else None
        return known if known is None else _spread(known, good, len(images))
    if not good:
        return None
    with output.status("loading torch", quiet=quiet):
        from resnet_cli.cli.progress import ProgressView
        from resnet_cli.commands.api import imagenet_features
        from resnet_cli.system.events import WorkDone

    with ProgressView(quiet=quiet) as view:
        found = imagenet_features(
            [dataset.items[position] for position in good],
            device=config.device,
            offline=config.offline,
            on_progress=lambda done, total: view(WorkDone("features", done, total)),
        )
    return _spread(found, good, len(images))


def _spread(found: NDArray[np.floating[Any]], rows: list[int], num_rows: int) -> NDArray[np.floating[Any]]:
    import numpy as np

    features = np.zeros((num_rows, found.shape[1]), dtype=np.float32)
    features[rows] = found
    return features


def _table_path(dataset: Dataset, config: InspectConfig) -> Path | None:
    """Where ``--fix`` writes; what would refuse it is known before any image is looked at."""
    if not config.fix:
        return None
    from resnet_cli.data.inspection.cleaning import refuse_unnamed
    from resnet_cli.errors import ConfigError
    from resnet_cli.system.paths import refuse_existing

    path = config.out or Path(f"{dataset.name}-clean.csv")
    if path.suffix.lower() != ".csv":
        raise ConfigError(f"--out {path}: the table's name must end in .csv", hint=f"--out {path}.csv")
    refuse_existing(path)
    refuse_unnamed(dataset)
    return path


def _write_files(inspection: Inspection, table: Path | None, html: Path | None) -> list[tuple[str, str]]:
    from resnet_cli.system.paths import write_text

    written = []
    if table:
        from resnet_cli.data.inspection.cleaning import clean_table

        text, dropped = clean_table(inspection, table)
        write_text(table, text)
        about = f"{len(inspection.images) - len(dropped):,} images; {len(dropped):,} left out"
        written.append((str(table), f"{about}; next: resnet-cli finetune {shlex.quote(str(table))}"))
    if html:
        from resnet_cli.reporting.inspection_page import inspection_page

        write_text(html, inspection_page(inspection))
        written.append((str(html), "the report with images"))
    return written
