"""Progress of the calls of the Python API."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any


def is_shown(progress: bool | None) -> bool:
    """Whether a call shows its progress: by default in a notebook, where a silent cell looks as if it hung."""
    if progress is not None:
        return progress
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


@contextlib.contextmanager
def shown_events(progress: bool | None) -> Iterator[Callable[[Any], None]]:
    """What a call passes its events to.

    Args:
        progress: Whether to draw them: as bars in a notebook, otherwise as a command does. If not, they are ignored.
            None: in a notebook only.
    """
    if not is_shown(progress):
        yield lambda event: None
        return
    # A terminal's libraries are only imported for this.
    from resnet_cli.cli.notebook import progress_view

    with progress_view() as view:
        yield view
