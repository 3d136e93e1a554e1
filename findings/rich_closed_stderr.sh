#!/usr/bin/env bash
# rich 15.0.0, Console(stderr=True) whose reader has left.
# One would guess: as with print(..., file=sys.stderr), a BrokenPipeError that the program can catch; or nothing, since
#   messages on stderr are not the result. Stdout is not touched.
# Seen: Console.print raises SystemExit(1), which "except Exception" does not catch, and points the file descriptor of
#   *stdout* to the null device: a program that catches the exit and continues loses everything that it prints afterwards,
#   without an error.
# Why a user of this field meets it: a training draws its progress on stderr; if it is started with "2>&1 >results | head",
#   or from a tool that closes the pipe, it ends in the middle with exit code 1, or its results are lost.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "rich==15.0.0" 2>/dev/null
cd "$folder"
cat >program.py <<'PYTHON'
import sys
from importlib.metadata import version

from rich.console import Console

print(f"rich {version('rich')}", flush=True)
try:
    Console(stderr=True).print("progress")
except Exception as error:
    print("caught", type(error).__name__, flush=True)
except SystemExit as end:
    with open("end.txt", "w") as file:
        file.write(f"SystemExit({end.code})")
    print("the result", flush=True)
PYTHON
cat >run.py <<'PYTHON'
import os
import subprocess
import sys

reader, writer = os.pipe()
os.close(reader)
done = subprocess.run([sys.executable, "program.py"], stdout=subprocess.PIPE, stderr=writer, text=True)
end = open("end.txt").read() if os.path.exists("end.txt") else "no SystemExit"
print(done.stdout.strip(), f"-> {end}, exit code {done.returncode}, the result is", end=" ")
print("printed" if "the result" in done.stdout else "lost")
if end != "SystemExit(1)" or "the result" in done.stdout:
    sys.exit("the behavior has changed")
PYTHON
"$folder/venv/bin/python" run.py
