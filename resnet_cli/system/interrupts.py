"""Ctrl-C and SIGTERM during work that must end cleanly: the current step is finished and saved first."""

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
    """The first signal received; None so far."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None


@contextlib.contextmanager
def deferred_stop() -> Iterator[StopRequest]:
    """Records the first SIGINT or SIGTERM instead of raising; a second one raises Interrupted at once.

    Only the main thread can do that; in other threads (a notebook's worker), signals are handled as before. A signal
    that the parent process has set to be ignored stays ignored, as with ``nohup`` and in the background of a script.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:
        if request.signal is not None:
            raise Interrupted("stopped at once; what was saved before is kept", signal=number)
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
        # It arrived when there was nothing left to stop: it is delivered now.
        signal.raise_signal(request.signal)
