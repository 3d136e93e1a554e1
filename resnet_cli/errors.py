"""Every error a user can cause or meet, each with its exit code.

The tree (exit code in brackets; the codes are a stable contract):

    ResnetCliError
    ├── ConfigError         [2]  an invalid flag, YAML key or combination of them
    │   └── UnreachableTarget [2]  a share of errors that no threshold can guarantee
    ├── DataError           [3]  a data set that cannot be used
    │   └── ImageError      [3]  one image that cannot be read
    ├── ModelError          [3]  a weights or model file that cannot be used
    ├── SetupError          [4]  a device, library or system part that is missing
    ├── NetworkError        [5]  a download that failed or delivered the wrong bytes
    ├── DiskError           [6]  a folder or file that cannot be written
    ├── DivergedError       [7]  the loss is no longer a finite number
    ├── MemoryExhausted     [8]  the device has no room for this batch
    ├── UntrustedFileError  [9]  a file that would run code when loaded
    └── VerificationError  [10]  a result below the required value

0 is success, 1 a bug in this package (with its traceback), 130 Ctrl-C and 143 SIGTERM (Interrupted says what is saved).
"""

from __future__ import annotations

from typing import ClassVar


class ResnetCliError(Exception):
    """What failed, the value that made it fail, and what to type next.

    Args:
        message: One sentence with the cause and its value.
        hint: The solution, as a command to type if there is one.
    """

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(ResnetCliError):
    """An invalid flag, YAML key or combination of them."""

    exit_code = 2
    code = "config"


class UnreachableTarget(ConfigError):
    """A share of errors, or a precision or recall, that no threshold can guarantee."""


class DataError(ResnetCliError):
    """A data set that cannot be used as it is."""

    exit_code = 3
    code = "data"


class ImageError(DataError):
    """One image that cannot be read; ``reason`` says why, ``path`` names the file."""

    code = "image"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class ModelError(ResnetCliError):
    """A weights or model file that is damaged or has another architecture."""

    exit_code = 3
    code = "model"


class SetupError(ResnetCliError):
    """A device, library or part of the system that is needed but missing."""

    exit_code = 4
    code = "setup"


class NetworkError(ResnetCliError):
    """A download that failed, was forbidden, or delivered the wrong bytes."""

    exit_code = 5
    code = "network"


class DiskError(ResnetCliError):
    """A folder or file that cannot be written."""

    exit_code = 6
    code = "disk"


class DivergedError(ResnetCliError):
    """The training loss is no longer finite."""

    exit_code = 7
    code = "diverged"


class MemoryExhausted(ResnetCliError):
    """The device has not enough memory for one batch."""

    exit_code = 8
    code = "memory"


class UntrustedFileError(ResnetCliError):
    """A file that could run code when it is loaded; it is refused."""

    exit_code = 9
    code = "untrusted"


class VerificationError(ResnetCliError):
    """A result is below the required value."""

    exit_code = 10
    code = "verification"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM.

    Args:
        kept: A sentence about what was saved and where; empty if nothing was saved.
        signal: Number of the signal; None for Ctrl-C.
    """

    def __init__(self, kept: str, *, signal: int | None = None) -> None:
        super().__init__(kept)
        self.kept = kept
        self.signal = signal
        self.exit_code = 128 + (signal or 2)


def missing_extra(what: str, extra: str) -> SetupError:
    """The error for an optional dependency that is not installed."""
    from resnet_cli.installation import install_command

    return SetupError(what, hint=install_command(extra))
