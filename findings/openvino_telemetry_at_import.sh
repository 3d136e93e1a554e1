#!/usr/bin/env bash
# openvino 2026.4.1 with openvino-telemetry 2025.2.0, on which it depends.
# One would guess: `import openvino` sends nothing before the user has agreed; a variable of the environment switches it off.
# Seen: the import writes a client ID into ~/intel and sends an event, without asking. No variable switches it off except
#   those that CI systems set (CI, TF_BUILD, JENKINS_URL), so a test in CI sees nothing. The script opt_in_out does, for a
#   user and a home folder, which a program cannot rely on in a container. Where the package openvino_telemetry cannot be
#   imported, openvino uses a stub and works as before: sys.modules["openvino_telemetry"] = None before the import is enough.
# Why a user of this field meets it: every program that runs a model with OpenVINO does this, also where the network is
#   restricted or the home folder belongs to somebody else. Here a proxy that does not exist keeps the event on this machine.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "openvino==2026.4.1" "openvino-telemetry==2025.2.0" 2>/dev/null
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

print(f"openvino {version('openvino')}, openvino-telemetry {version('openvino-telemetry')}")
closed = "http://127.0.0.1:9"
seen = {}


def run(name, code, **more):
    home = Path(f"home{len(seen)}")
    home.mkdir()
    environment = {key: value for key, value in os.environ.items() if key not in {"CI", "TF_BUILD", "JENKINS_URL"}}
    environment |= {"HOME": str(home.resolve()), "https_proxy": closed, "http_proxy": closed}
    subprocess.run([sys.executable, "-c", code + "; openvino.Core()"], env=environment | more, check=True)
    seen[name] = sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())
    print(f"{name}: {seen[name]}")


run("imported", "import openvino")
run("DO_NOT_TRACK=1", "import openvino", DO_NOT_TRACK="1")
run("in CI", "import openvino", CI="true")
run("without its telemetry", "import sys; sys.modules['openvino_telemetry'] = None; import openvino")
reports = ["intel/openvino_ga_cid", "intel/stats"]
expected = {"imported": reports, "DO_NOT_TRACK=1": reports, "in CI": [], "without its telemetry": []}
if seen != expected:
    sys.exit(f"the behavior has changed; expected {expected}")
PYTHON
