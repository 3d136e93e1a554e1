"""Shell completion of values: runs, data sets and files."""

from __future__ import annotations

import glob
import os


def complete_data(incomplete: str) -> list[str]:
    """Names of data sets, and files and folders."""
    from resnet_cli.network.known_sets import DATASETS

    return [name for name in DATASETS if name.startswith(incomplete)] + _files(incomplete)


def complete_model(incomplete: str) -> list[str]:
    """Runs, names of weights, and files and folders."""
    from resnet_cli.network.registry import HUB_WEIGHTS, WEIGHTS

    named = [name for name in (*WEIGHTS, *HUB_WEIGHTS) if name.startswith(incomplete)]
    return _files(incomplete or "runs/") + named


def complete_model_or_data(incomplete: str) -> list[str]:
    """Models, and what DATA can be."""
    return list(dict.fromkeys([*complete_model(incomplete), *complete_data(incomplete)]))


def complete_download(incomplete: str) -> list[str]:
    """Names of weights, data sets and runtimes that can be downloaded."""
    from resnet_cli.network.known_sets import DATASETS
    from resnet_cli.network.registry import HUB_WEIGHTS, WEIGHTS
    from resnet_cli.network.web_runtime import NAME

    return [name for name in (*WEIGHTS, *HUB_WEIGHTS, *DATASETS, NAME) if name.startswith(incomplete)]


def complete_device(incomplete: str) -> list[str]:
    """Devices that torch may have; which of them exist would take seconds to find out."""
    return [name for name in ("auto", "cpu", "cuda", "cuda:0", "cuda:1", "mps", "xpu") if name.startswith(incomplete)]


def complete_run(incomplete: str) -> list[str]:
    """Names of the runs below ``runs``, and folders."""
    from resnet_cli.commands.run_list import run_folders
    from resnet_cli.system.paths import RUNS

    names = [path.relative_to(RUNS).as_posix() for path in run_folders(RUNS)]
    return [name for name in ("latest", *names) if name.startswith(incomplete)] + _files(incomplete)


def _files(incomplete: str) -> list[str]:
    found = glob.glob(glob.escape(incomplete) + "*")
    return sorted(path + os.sep if os.path.isdir(path) else path for path in found)
