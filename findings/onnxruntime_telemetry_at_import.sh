#!/usr/bin/env bash
# onnxruntime 1.32.0, Linux (since 1.29).
# One would guess: a library that runs a model on the CPU sends nothing; where it has telemetry,
#   onnxruntime.disable_telemetry_events(), called right after the import, switches it off.
# Seen: the import alone writes a device ID into the user's cache folder and queues an event about the process, with the
#   path of Python in it; about nine seconds later a server's name is looked up, even where no session was created.
#   disable_telemetry_events() prevents neither. ORT_DISABLE_TELEMETRY=1 does, but only if it is set before the
#   import: afterwards it has no effect. Where CI=true is set nothing is written, so a test in CI sees nothing.
# Why a user of this field meets it: every server and batch job that runs an .onnx file does this, also in an offline or
#   restricted environment, where the look-ups show up in the logs of a firewall. This script needs no network, and ends
#   before anything would be sent.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "onnxruntime==1.32.0" 2>/dev/null
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import os
import sqlite3
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

print(f"onnxruntime {version('onnxruntime')}, Python {sys.version.split()[0]}")
SIGNS_OF_CI = {"CI", "TF_BUILD", "GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL", "BUILDKITE", "CIRCLECI",
               "CODEBUILD_BUILD_ID", "BITBUCKET_BUILD_NUMBER", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS"}
seen = {}


def run(name, code, **more):
    home = Path(f"home{len(seen)}")
    home.mkdir()
    environment = {key: value for key, value in os.environ.items() if key not in SIGNS_OF_CI}
    environment |= {"HOME": str(home.resolve()), "XDG_CACHE_HOME": str(home.resolve())}
    subprocess.run([sys.executable, "-c", code], env=environment | more, check=True)
    files = sorted(path.name for path in home.rglob("*") if path.is_file())
    events = b""
    for path in home.rglob("*.db"):
        rows = sqlite3.connect(path).execute("SELECT * FROM events").fetchall()
        events = b"".join(value for row in rows for value in row if isinstance(value, bytes))
    seen[name] = (files, b"ProcessInfo" in events and sys.executable.encode() in events)
    print(f"{name}: files {files}, an event with the path of Python: {seen[name][1]}")


run("imported", "import onnxruntime")
run("disabled by its function", "import onnxruntime; onnxruntime.disable_telemetry_events()")
run("variable after the import", "import os, onnxruntime; os.environ['ORT_DISABLE_TELEMETRY'] = '1'")
run("variable before the import", "import os; os.environ['ORT_DISABLE_TELEMETRY'] = '1'; import onnxruntime")
run("in CI", "import onnxruntime", CI="true")
reports = (["deviceid", "onnxruntime.db"], True)
expected = dict.fromkeys(["imported", "disabled by its function", "variable after the import"], reports)
expected |= dict.fromkeys(["variable before the import", "in CI"], ([], False))
if seen != expected:
    sys.exit(f"the behavior has changed; expected {expected}")
PYTHON
