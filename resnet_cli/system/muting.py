"""Hides what libraries print, warn of and log while they load or convert a model."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import warnings
from collections.abc import Iterator

#: The file descriptors of a process.
STDOUT, STDERR = 1, 2


@contextlib.contextmanager
def muted(*descriptors: int) -> Iterator[None]:
    """Discards what is written to file descriptors, past Python's ``sys.stdout`` and ``sys.stderr``.

    Args:
        descriptors: :data:`STDOUT`, :data:`STDERR`, or both; none stands for both.
    """
    hidden = descriptors or (STDOUT, STDERR)
    kept, nothing = [os.dup(descriptor) for descriptor in hidden], os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in hidden:
            os.dup2(nothing, descriptor)
        yield
    finally:
        # What C has printed into a pipe or file is still in its buffer, and would be written after this block.
        with contextlib.suppress(OSError, AttributeError, TypeError):
            ctypes.CDLL(None).fflush(None)
        for descriptor, copy in zip(hidden, kept, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(nothing)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Discards warnings and log messages of Python code; errors are raised in any case."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
