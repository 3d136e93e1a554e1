"""Progress of the calls of the Python API."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def shown_events(progress: bool) -> Iterator[Callable[[Any], None]]:
    """What a call passes its events to.

    Args:
        progress: Whether to draw them: as bars in a notebook, otherwise as a command does. If not, they are ignored.
    """
    if not progress:
        yield lambda event: None
        return
    # A terminal's libraries are only imported for this.
    from resnet_cli.cli.notebook import progress_view

    with progress_view() as view:
        yield view
