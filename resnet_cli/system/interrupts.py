"""Ctrl-C and SIGTERM while an optimizer works: the step ends first, and everything is saved."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from resnet_cli.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """What has been asked for; None so far, or the first signal."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None


@contextlib.contextmanager
def deferred_stop() -> Iterator[StopRequest]:
    """Notes the first SIGINT or SIGTERM instead of raising; a second one raises Interrupted at once.

    Only the main thread can do that; anywhere else (a notebook's worker) signals stay as they are. A signal that the
    parent process has set to be ignored stays ignored, as in ``nohup`` and in the background of a script.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:
        if request.signal is not None:
            raise Interrupted("left at once; what was saved before stands", signal=number)
        request.signal = signal.Signals(number)

    before: dict[signal.Signals, Any] = {
        number: signal.signal(number, note) for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if request.signal is not None:
        # It came when there was nothing more to stop: whoever waits for it gets it now.
        signal.raise_signal(request.signal)
