"""Commands as a user sees them: each in its own process, with its wall time and its own peak memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

#: The installed command that belongs to this Python.
COMMAND = str(Path(sys.executable).with_name("resnet-cli"))
#: The minimum for any tool: import torch and run the bare network over n images, without decoding any.
BARE = """
import sys, time, torch, torchvision
n, size, dtype = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
net = torchvision.models.resnet50().eval().to(memory_format=torch.channels_last)
x = torch.rand(32, 3, size, size).contiguous(memory_format=torch.channels_last)
with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bf16"):
    done = 0
    while done < n:
        net(x[: n - done])
        done += 32
"""
#: Starts a command. Linux counts the memory of the parent process in the peak of the new one: this one has hardly any.
STARTER = """
import json, os, sys, time
report, *command = sys.argv[1:]
began = time.perf_counter()
_, status, usage = os.wait4(os.posix_spawnp(command[0], command, os.environ), 0)
seconds = time.perf_counter() - began
peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
with open(report, "w") as file:
    json.dump([os.waitstatus_to_exitcode(status), seconds, peak, usage.ru_utime + usage.ru_stime], file)
"""


class CommandError(Exception):
    """A command that failed; the text has its exit code and last lines."""


class Ended(NamedTuple):
    """A command that has ended.

    Attributes:
        seconds: Wall time.
        peak_bytes: Peak memory of the command or of a process that it started.
        stdout: Its output.
        cpu_s: Processor time, since wall time says little on a busy machine.
    """

    seconds: float
    peak_bytes: int
    stdout: str
    cpu_s: float


def run(*command: str, env: dict[str, str]) -> tuple[float, int, str]:
    """Runs a command; returns wall seconds, peak resident bytes and stdout.

    Raises:
        CommandError: It failed.
    """
    return launch(*command, env=env)[:3]


def launch(*command: str, env: dict[str, str], exit_code: int = 0) -> Ended:
    """Runs a command to its end.

    Args:
        *command: Words of the command; ``resnet-cli`` is the one beside this Python, whatever PATH says.
        env: Environment of the process.
        exit_code: Exit code that it must have.

    Raises:
        CommandError: It ended with another exit code.
    """
    command = (COMMAND, *command[1:]) if command[0] == "resnet-cli" else command
    with tempfile.TemporaryDirectory() as name, (Path(name) / "stderr").open("w+") as errors:
        report = Path(name) / "report"
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", STARTER, str(report), *command],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=env,
            text=True,
        )
        errors.seek(0)
        last = " / ".join(errors.read().strip().splitlines()[-3:])
        if done.returncode:
            raise CommandError(f"{' '.join(command[:2])} was not started: {last}")
        code, seconds, peak, cpu_s = json.loads(report.read_text())
    if code != exit_code:
        raise CommandError(f"{' '.join(command[:2])} ended with {code}: {last}")
    return Ended(seconds, peak, done.stdout, cpu_s)


def finetune(data: Path, *arguments: str, env: dict[str, str], out: Path) -> tuple[float, int, dict[str, Any]]:
    """Runs a finetune; returns wall seconds, peak bytes and its summary."""
    seconds, memory, text = run(
        "resnet-cli", "finetune", str(data), "--json", "--quiet", "--out", str(out), *arguments, env=env
    )
    return seconds, memory, json.loads(text)
