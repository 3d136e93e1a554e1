"""Where a page comes from: run, data, date, duration, machine and versions."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import platform
from pathlib import Path

from resnet_cli.network.addresses import redact
from resnet_cli.system.processor import this_processor
from resnet_cli.system.threads import num_threads
from resnet_cli.text import counted, duration
from resnet_cli.version import __version__

#: Packages that affect results, besides this one.
_PACKAGES = ("torch", "onnxruntime", "numpy", "pillow")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a page comes from; every page has it at its foot. Empty fields are not shown.

    Attributes:
        run: Name of the run folder, or of the runs that are compared.
        model: File or name of the model.
        data: The data, as the user named it.
        date: When the results were computed, ``2026-01-31 14:05 +01:00``.
        seconds: How long that took; None if it is not known.
        machine: Processor, cores, and the GPU if one was used. Never the name of the computer.
        versions: Versions of the packages that affect results.
    """

    run: str = ""
    model: str = ""
    data: str = ""
    date: str = ""
    seconds: float | None = None
    machine: str = ""
    versions: str = ""

    @classmethod
    def now(
        cls,
        *,
        run: str = "",
        model: str | Path = "",
        data: str = "",
        seconds: float | None = None,
        device: str = "cpu",
    ) -> Provenance:
        """The provenance of results that have just been computed on this machine.

        Args:
            run: Name of the run folder.
            model: File or name of the model.
            data: The data, as the user named it.
            seconds: How long the work took.
            device: The device of torch that was used, such as ``cuda:0``; a GPU is named beside the processor.
        """
        # The ISO form has no space before the offset, whose sign may be that between the parts of a date.
        date = datetime.datetime.now().astimezone().isoformat(" ", "minutes")
        return cls(
            run=run,
            model=str(model),
            # An address may hold a password, or a signature that opens what it names.
            data=redact(data) if "://" in data else data,
            date=f"{date[:16]} {date[16:]}",
            seconds=seconds,
            machine=", ".join(filter(None, (this_processor().name, counted(num_threads(), "core"), _gpu(device)))),
            versions=_versions(),
        )

    @property
    def facts(self) -> list[tuple[str, str]]:
        """(name, text) of everything that is known."""
        facts = [
            ("Run", self.run),
            ("Model", self.model),
            ("Data", self.data),
            ("Date", self.date),
            ("Duration", "" if self.seconds is None else duration(self.seconds)),
            ("Machine", self.machine),
            ("Versions", self.versions),
        ]
        return [(name, text) for name, text in facts if text]


def _gpu(device: str) -> str:
    if not device.startswith("cuda"):
        return "" if device == "cpu" else device
    # Imported here, since most pages are made without torch.
    import torch

    return torch.cuda.get_device_name(device)


def _versions() -> str:
    found = [f"resnet-cli {__version__}", f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join([*found, f"{platform.system()} {platform.machine()}"])
