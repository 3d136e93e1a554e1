"""The libraries of the extra ``formats``."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any

from resnet_cli.errors import ImageError, missing_extra
from resnet_cli.images.formats import Format

#: Between the cause and the command, in the reason of an error.
_NOT_INSTALLED = ", which is not installed: "


def load_library(known: Format, path: str) -> Any:
    """The module that reads a format; see :func:`load_module`."""
    return load_module(known.module, known.package, known.name, path)


def load_module(module: str, package: str, what: str, path: str) -> Any:
    """A module of the extra.

    Args:
        module: Its name.
        package: Name of its package.
        what: What needs it, for the error.
        path: Name of the file in the error.

    Raises:
        ImageError: It is not installed; the cause is a SetupError, since another attempt may succeed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = missing_extra(f"{what} needs {package}{_NOT_INSTALLED.rstrip(': ')}", "formats")
        missing.__cause__ = error
        raise ImageError(path, f"{what} needs {package}{_NOT_INSTALLED}{missing.hint}") from missing


def missing_library_command(reason: str) -> str:
    """The command that installs the missing library because of which an image cannot be read; empty for other reasons.

    Args:
        reason: The reason of an ImageError.
    """
    return reason.partition(_NOT_INSTALLED)[2]


def find_version(package: str) -> str:
    """The version of a package; empty if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
