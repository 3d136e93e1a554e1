"""Measures resnet-cli: one command for every benchmark in this folder, with one table and a JSON file.

    RESNET_CLI_ASSETS=... python -m benchmarks --quick|--full [--only NAME,...] [--json FILE]
    RESNET_CLI_ASSETS=... python -m benchmarks --gpu|--peers [--quick] [--only NAME,...] [--json FILE]
    python -m benchmarks --docs FILE

--quick takes ten minutes or more on two cores, and its figures are rough. --full takes hours and can be done in pieces:
an existing FILE keeps the figures that are not measured again. --peers installs the other libraries first, each into
its own virtual environment. --docs writes the figures of a FILE into docs/benchmarks.md, and those of the engines into
README.md and docs/export.md.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnet_cli.system.paths import cache_dir, write_text

from . import engine_table, figures, suite
from .setting import Setting, find_assets
from .table import Row, head, print_head


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, or writes the figures of a file into docs/benchmarks.md."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=f"NAME is one of: {', '.join(suite.NAMES)}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="few images: whether everything runs, and roughly how well")
    size.add_argument("--full", action="store_true", help="everything on the CPU")
    parser.add_argument("--gpu", action="store_true", help="training and inference on a GPU")
    parser.add_argument(
        "--peers", action="store_true", help="also ultralytics, timm, fastai and others, for comparison"
    )
    parser.add_argument("--only", type=_names, default=(), metavar="NAME,...", help="only these benchmarks")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures to FILE, and keep its other figures"
    )
    parser.add_argument(
        "--docs", type=Path, metavar="FILE", help="measure nothing; write FILE's figures into the pages of docs"
    )
    parser.add_argument(
        "--peers-dir", type=Path, default=cache_dir() / "benchmark-peers", help="folder of their virtual environments"
    )
    parser.add_argument("--device", default="cuda", help="device for --gpu")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.docs:
            write_pages(figures.read(chosen.docs))
            return
        if not (chosen.quick or chosen.full or chosen.gpu or chosen.peers):
            parser.error("one of --quick, --full, --gpu, --peers or --docs says what to do")
        wanted: dict[suite.Group, bool] = {"gpu": chosen.gpu, "peers": chosen.peers}
        groups = [group for group, is_wanted in wanted.items() if is_wanted]
        measurements = suite.choose(groups or ["cpu"], quick=chosen.quick, only=chosen.only)
        known = figures.read(chosen.json) if chosen.json else {}
    except (figures.FiguresError, ValueError) as error:
        parser.error(str(error))
    run(measurements, known, chosen)


def write_pages(found: dict[str, Any]) -> None:
    """Writes figures into the pages that show them."""
    write_text(figures.PAGE, figures.update(figures.PAGE.read_text(encoding="utf-8"), found))
    if entry := found.get(engine_table.NAME):
        for page, is_short in engine_table.PAGES.items():
            write_text(page, engine_table.update(page.read_text(encoding="utf-8"), entry, is_short=is_short))


def run(measurements: Sequence[suite.Measurement], known: dict[str, Any], chosen: argparse.Namespace) -> None:
    """Measures one after another; the file is rewritten after every row, since a peer takes a quarter of an hour."""
    report: Path | None = chosen.json.absolute() if chosen.json else None
    assets, peers_dir = find_assets(), chosen.peers_dir.absolute()
    print_head(head(chosen.gpu))
    done: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name).resolve()
        setting = Setting(assets, scratch, chosen.quick, peers_dir, chosen.device)
        # Studies of the same frozen features share them; a measurement with a cold cache makes its own.
        os.environ["RESNET_CLI_CACHE"] = str(scratch / "cache")
        for measurement in measurements:
            about, began = head(measurement.group == "gpu"), time.perf_counter()
            mode = {"cpu": "--full", "gpu": "--gpu", "peers": "--peers"}[measurement.group]
            if chosen.quick:
                mode = "--quick" if measurement.group == "cpu" else f"{mode} --quick"
            rows = []
            print(f"\n{measurement.name}", flush=True)
            for row in suite.measure(measurement, setting):
                print(row, flush=True)
                rows.append(row)
                known = known | {measurement.name: figures.to_entry(about, mode, time.perf_counter() - began, rows)}
                if report:
                    figures.write(report, known)
            done += rows
    print()
    print_head(head(chosen.gpu))
    print("\n".join(map(str, done)))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


if __name__ == "__main__":
    main()
