"""Versions of installed packages, for formats that work only with some of them."""

from __future__ import annotations

import importlib.metadata
import re

from resnet_cli.errors import SetupError
from resnet_cli.installation import install_command


def require_version(package: str, at_least: str, below: str, *, purpose: str, extra: str) -> None:
    """Refuses a version that was not tested.

    Args:
        package: Name of an installed package.
        at_least: The oldest version that works, such as ``2.14``.
        below: The version from which on nothing is known.
        purpose: What needs it, in words.
        extra: The extra that installs versions that fit each other.

    Raises:
        SetupError: Another version is installed.
    """
    found = importlib.metadata.version(package)
    if not _numbers(at_least) <= _numbers(found) < _numbers(below):
        raise SetupError(
            f"{purpose} works with {package}>={at_least},<{below}, and {package} {found} is installed",
            hint=install_command(extra),
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:2]))
