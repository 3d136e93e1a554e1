"""Commands of ``benchmarks.stress``: processes of narrow networks that are started quickly, limited, and killed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .processes import COMMAND

REPOSITORY = Path(__file__).parents[1]
#: A process that has imported everything and runs the command as often as it is told to, each time in a child. A child
#: has no thread pools of its parent, and so cannot pass through the end of the interpreter.
SERVER = """
import json, os, resource, signal, sys, traceback
import sklearn.metrics, torch, torch._dynamo, torchvision
import matplotlib.pyplot
from resnet_cli.cli import main
from resnet_cli.cli import predict, evaluate, export, finetune, inspect, progress
from resnet_cli.commands import predict, evaluate, export, finetune, inspect, studies
torch.set_num_threads(1)
answers = os.fdopen(os.dup(1), "w")
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        os.chdir(job["cwd"])
        os.environ.update(job["env"])
        opened = [os.open(job["stdin"], os.O_RDONLY)]
        opened += [os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666) for name in ("stdout", "stderr")]
        for number, handle in enumerate(opened):
            os.dup2(handle, number)
            os.close(handle)
        sys.stdin = open(0, closefd=False)
        if job["largest_file"] is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest_file"],) * 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = job["argv"]
        code = 1
        # The other end learns the number of the process once there is something to disturb.
        print(os.getpid(), file=answers, flush=True)
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)
"""


def narrow_environment(scratch: Path) -> dict[str, str]:
    """The environment of a command with narrow networks and one thread, without a network."""
    paths = [str(REPOSITORY / "benchmarks" / "narrow"), str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": "1",
        "RESNET_CLI_OFFLINE": "1",
        "RESNET_CLI_CACHE": str(scratch / "cache"),
        "TORCH_HOME": str(scratch / "torch"),
        "NO_COLOR": "1",
    }


class Command:
    """A command that runs.

    Args:
        words: Its words, without ``resnet-cli``.
        folder: Where it runs; stdout and stderr become files in it.
        name: What these files are named after.
        env: Its environment.
        server: Process that forks it; None: it is started as a shell would do it.
        largest_file: Limit of the size of a file, in bytes.
        stdout: Where stdout goes; None for the file.
    """

    def __init__(
        self,
        words: Sequence[str],
        folder: Path,
        *,
        name: str,
        env: Mapping[str, str],
        server: Server | None = None,
        largest_file: int | None = None,
        stdout: Path | None = None,
    ) -> None:
        self.words = list(words)
        logs = folder / "logs"
        logs.mkdir(exist_ok=True)
        self.stdout, self.stderr = stdout or logs / f"{name}.out", logs / f"{name}.err"
        self._server = server
        self._process: subprocess.Popen[bytes] | None = None
        if server is not None:
            self.pid = server.start(
                argv=["resnet-cli", *words],
                cwd=str(folder),
                env=dict(env),
                stdin=os.devnull,
                stdout=str(self.stdout),
                stderr=str(self.stderr),
                largest_file=largest_file,
            )
            return

        def limit() -> None:
            import resource

            if largest_file is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

        with self.stdout.open("wb") as out, self.stderr.open("wb") as err:
            self._process = subprocess.Popen(
                [COMMAND, *words],
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                preexec_fn=limit,
            )
        self.pid = self._process.pid

    def wait(self) -> int:
        """Waits for its end; returns its exit code, or the negative number of the signal that killed it."""
        if self._process is not None:
            return self._process.wait()
        assert self._server is not None
        return self._server.wait()

    def send(self, number: int) -> None:
        """Sends a signal unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def errors(self) -> str:
        """What it printed on stderr."""
        return self.stderr.read_text(encoding="utf-8", errors="replace")


class Server:
    """Forks one command after another.

    Args:
        env: Environment of the server.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, **job: Any) -> int:
        """Starts a command; returns its process id."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def wait(self) -> int:
        """Waits for the command's end; returns its exit code."""
        assert self._process.stdout
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """Ends the server."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()
