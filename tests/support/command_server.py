"""A process that has imported everything, and is the command as often as it is asked to, each time in a child.

Networks are narrow. The import of torch takes most of the time of so small a command.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.running import ASKED_HERE, NARROW, command_environment

_SERVER = f"""{NARROW}{ASKED_HERE}
import importlib, json, os, signal
import onnxruntime, sklearn.datasets, sklearn.metrics, torch, torch._dynamo
from resnet_cli.cli import main
from resnet_cli.commands import evaluate, evaluation_report, export, finetune, predict, serve
from resnet_cli.engine_predictor import EnginePredictor
from resnet_cli.predictor import TorchPredictor
from resnet_cli.training import report, resume, seeds
torch.set_num_threads(1)
stop_at = ""

def stop():
    global stop_at
    stop_at = ""
    os.kill(os.getpid(), signal.SIGSTOP)

for module, view in (("progress", "ProgressView"), ("predict", "PredictView")):
    found = getattr(importlib.import_module("resnet_cli.cli." + module), view)
    def show(self, event, show=found.__call__):
        show(self, event)
        if stop_at and stop_at in (type(event).__name__, getattr(event, "task", "")):
            stop()
    found.__call__ = show

for kind in (TorchPredictor, EnginePredictor):
    def first(self, inputs, compute=kind.predict):
        if stop_at == "first batch":
            stop()
        return compute(self, inputs)
    kind.predict = first

def run(request):
    global stop_at
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv, stop_at = request["arguments"], request["stop_at"]
    code = 1
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

children = set()
for line in sys.stdin:
    request = json.loads(line)
    if "wait" in request:
        _, status = os.waitpid(request["wait"], os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            children.discard(request["wait"])
        print(json.dumps(None if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)), flush=True)
        continue
    child = os.fork()
    if child == 0:
        run(request)
    children.add(child)
    print(child, flush=True)
# What a failed test has left, perhaps stopped.
for child in children:
    os.kill(child, signal.SIGKILL)
"""


class Command:
    """One command in a process of its own.

    Args:
        server: Its parent.
        pid: Its process id.
        log: Path of its output, without the suffix.
    """

    def __init__(self, server: CommandServer, pid: int, log: str) -> None:
        self._server, self.pid, self._log = server, pid, log

    @property
    def stdout(self) -> str:
        return Path(f"{self._log}.stdout").read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return Path(f"{self._log}.stderr").read_text(encoding="utf-8")

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int | None:
        """Waits until it ends, and returns its exit code (negative: the signal), or until it stops: None."""
        code: int | None = self._server.ask({"wait": self.pid})
        return code

    def finish(self) -> int:
        """Lets a process that stopped itself continue to its end; returns the exit code."""
        self.send_signal(signal.SIGCONT)
        code = self.wait()
        assert code is not None and "Traceback" not in self.stderr, self.stderr
        return code


class CommandServer:
    """Starts commands.

    Args:
        process: The process that starts them.
        logs: An empty folder.
    """

    def __init__(self, process: subprocess.Popen[str], logs: Path) -> None:
        self._process, self._logs = process, logs
        self._num = 0

    def ask(self, request: object) -> int | None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: int | None = json.loads(self._process.stdout.readline())
        return answer

    def start(self, *arguments: object, stop_at: str = "") -> Command:
        """Starts the command in the current folder, with the current environment.

        Args:
            *arguments: Its arguments.
            stop_at: Name of the event or task where the process stops itself, as SIGSTOP would; ``first batch`` stops
                it before the first forward pass of a model. Empty: nowhere.
        """
        self._num += 1
        log = str(self._logs / str(self._num))
        words = ["resnet-cli", *map(str, arguments)]
        request = {"arguments": words, "stop_at": stop_at, "folder": os.getcwd(), "environment": command_environment()}
        pid = self.ask(request | {"stdout": f"{log}.stdout", "stderr": f"{log}.stderr"})
        assert pid is not None
        return Command(self, pid, log)

    def stopped(self, at: str, *arguments: object) -> Command:
        """Starts the command and waits until it has stopped itself."""
        command = self.start(*arguments, stop_at=at)
        assert command.wait() is None, command.stderr
        return command


@pytest.fixture(scope="module")
def commands() -> Iterator[CommandServer]:
    with (
        tempfile.TemporaryDirectory() as logs,
        subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            env=command_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        yield CommandServer(process, Path(logs))
        assert process.stdin
        process.stdin.close()
