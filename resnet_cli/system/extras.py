"""Optional packages: one clear error if one is missing, broken, or of a version that does not work."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec

from resnet_cli.errors import SetupError
from resnet_cli.installation import install_command
from resnet_cli.text import one_line


@contextlib.contextmanager
def optional_import(module: str, *, name: str, purpose: str, hint: str) -> Iterator[None]:
    """Turns the failure of the ``import`` in the block into an error that says what to install.

    Args:
        module: The package, or the module of a package, that the block imports.
        name: Its name in words.
        purpose: What needs it, in words.
        hint: What to do about it, such as :func:`~resnet_cli.installation.install_command` of an extra.

    Raises:
        SetupError: The package is not installed, or cannot be loaded.
    """
    try:
        yield
        if is_folder_without_code(getattr(sys.modules.get(module), "__spec__", None)):
            del sys.modules[module]
            raise ModuleNotFoundError(name=module)
    except Exception as error:
        # Broken packages raise anything: OSError for a shared library, TypeError for another protobuf.
        missing = error.name if isinstance(error, ImportError) else None
        if missing is not None and f"{module}.".startswith(f"{missing}."):
            raise SetupError(f"{purpose} needs {name}, which is not installed", hint=hint) from error
        # A part of it, or a package that it needs.
        raise SetupError(
            f"{purpose}: {name} is installed but cannot be imported: {one_line(error)[:200]}", hint=hint
        ) from error


def is_installed(package: str) -> bool:
    """Whether a package can be imported; it is not imported. A folder without code, as of an export, does not count."""
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:
        # It was put into sys.modules without a specification.
        return sys.modules.get(package) is not None
    return spec is not None and not is_folder_without_code(spec)


def is_folder_without_code(spec: ModuleSpec | None) -> bool:
    """Whether Python would import a mere folder: the current folder may have one with the name of a package."""
    return spec is not None and spec.origin is None and spec.submodule_search_locations is not None


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
    return tuple(map(int, re.findall(r"\d+", version)[:3]))
