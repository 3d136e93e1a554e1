"""The process that carries out commands for the page, and says as JSON lines what happens.

It is a process of its own so that whatever ends it is shown and survived. It reads calls, one per line, and ``stop``;
the end of its input means that the server is gone, and stops a command as Ctrl-C does.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, TextIO

from resnet_cli.errors import Interrupted, ResnetCliError
from resnet_cli.studio.calls import Call

#: Least time between two messages about the same progress, in seconds.
EVERY_S = 0.1
#: The line that stops the current command.
STOP = "stop"


def main() -> None:
    """Imports what takes seconds, and carries out calls until there are no more."""
    # What a library prints must not end up between the messages.
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    # Where the studio runs in the background of a script, SIGINT is ignored, and so it would be here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    orders = Orders()
    threading.Thread(target=orders.listen, daemon=True).start()
    _import_commands()
    orders.is_ready = True
    sender = Sender(messages)
    while True:
        # A stop that comes when a call has just ended stops nothing.
        with contextlib.suppress(KeyboardInterrupt):
            line = orders.next()
            if line is None:
                return
            if orders.is_canceled:
                orders.is_canceled = False
                sender.send(end="stopped", message="")
            else:
                call, folder = Call.from_json(line)
                try:
                    os.chdir(folder)
                except OSError as error:
                    sender.send(end="failed", message=f"{folder} cannot be opened: {error.strerror}", code="disk")
                else:
                    carry_out(call, sender)
            orders.num_done += 1


class Orders:
    """What the server writes: calls, one at a time, and ``stop``.

    Attributes:
        is_ready: Whether commands can be interrupted: imports must not be, since half of a library is of no use.
        is_canceled: Whether the next call was stopped before it began.
        num_done: Number of calls that are over.
    """

    def __init__(self) -> None:
        self.is_ready = self.is_canceled = False
        self.num_done = self._num_given = 0
        self._calls: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def next(self) -> str | None:
        """The next call; None if the server is gone."""
        return self._calls.get()

    def listen(self) -> None:
        """Reads what the server writes, until its end."""
        for line in sys.stdin:
            if line.strip() != STOP:
                self._num_given += 1
                self._calls.put(line)
            else:
                self._stop()
        self._calls.put(None)
        self._stop()

    def _stop(self) -> None:
        if self._num_given == self.num_done:
            return
        if self.is_ready:
            _interrupt()
        else:
            self.is_canceled = True


class Sender:
    """Writes messages, and leaves out progress that comes too fast to be seen.

    Args:
        file: Where they are written.
    """

    def __init__(self, file: TextIO) -> None:
        self._file, self._last = file, 0.0

    def send(self, **message: Any) -> None:
        """Writes a message."""
        self._file.write(json.dumps(message) + "\n")
        self._file.flush()

    def on_event(self, event: Any) -> None:
        """Writes an event of a command."""
        from resnet_cli.studio.messages import describe, is_frequent

        now = time.monotonic()
        if is_frequent(event):
            if now - self._last < EVERY_S:
                return
            self._last = now
        if (message := describe(event)) is not None:
            self.send(**message)


def carry_out(call: Call, sender: Sender) -> None:
    """Runs a command; its last message says how it ended."""
    try:
        result = _RUN[call.command](call, sender.on_event)
    except ResnetCliError as error:
        sender.send(end="failed", message=error.message, hint=error.hint, code=error.code)
    except KeyboardInterrupt as interrupt:
        sender.send(end="stopped", message=interrupt.kept if isinstance(interrupt, Interrupted) else "")
    except Exception:  # noqa: BLE001 - the page shows it, and the server continues
        sender.send(end="failed", message="a bug in resnet-cli", hint=traceback.format_exc(), code="bug")
    else:
        sender.send(end="done", result=result)


def _inspect(call: Call, on_event: Callable[[Any], None]) -> dict[str, Any]:
    from resnet_cli.commands.inspect import inspect
    from resnet_cli.config.base import resolve
    from resnet_cli.config.inspect import InspectConfig
    from resnet_cli.studio.messages import inspection_result

    config = resolve(InspectConfig, call.flags).config
    return inspection_result(inspect(call.words[0], config, on_event=on_event))


def _finetune(call: Call, on_event: Callable[[Any], None]) -> dict[str, Any]:
    from resnet_cli.commands.finetune import Finetuned, run_finetune
    from resnet_cli.studio.messages import training_result
    from resnet_cli.training.launch import FinetuneRequest

    request = FinetuneRequest(data=call.words[0], flags=call.flags, resume=call.resume)
    done = run_finetune(request, on_event=on_event)
    assert isinstance(done, Finetuned)
    return training_result(done.results[0])


def _audit(call: Call, on_event: Callable[[Any], None]) -> dict[str, Any]:
    from resnet_cli.commands.studies import run_study
    from resnet_cli.config.base import resolve
    from resnet_cli.config.eval import EvalConfig

    model, data = call.words
    return run_study(model, data, resolve(EvalConfig, call.flags).config, on_event=on_event).to_dict()


def _export(call: Call, on_event: Callable[[Any], None]) -> dict[str, Any]:
    from resnet_cli.commands.export import export
    from resnet_cli.config.base import resolve
    from resnet_cli.config.export import ExportConfig
    from resnet_cli.studio.messages import export_result
    from resnet_cli.system.events import WorkDone

    config = resolve(ExportConfig, call.flags).config
    found = export(call.words[0], config, on_work=lambda *work: on_event(WorkDone(*work)))
    return export_result(found)


_RUN: dict[str, Callable[[Call, Callable[[Any], None]], dict[str, Any]]] = {
    "inspect": _inspect,
    "finetune": _finetune,
    "eval": _audit,
    "export": _export,
}


def _import_commands() -> None:
    import resnet_cli.commands.finetune
    import resnet_cli.commands.inspect  # noqa: F401


def _interrupt() -> None:
    # The signal of the process, not of this thread: it also wakes the main thread where that waits.
    if os.name == "nt":
        signal.raise_signal(signal.SIGINT)
    else:
        os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    main()
