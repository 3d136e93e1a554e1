#!/usr/bin/env bash
# mlflow 3.17.2, MlflowClient() in a folder that has an mlruns/ from an older version, without MLFLOW_TRACKING_URI.
# One would guess: MLflow finds the old runs and continues there ("to avoid breaking existing workflows", says the function
#   that looks for them), or begins its new default, a database.
# Seen: because mlruns/ is there, it chooses the folder instead of the database, and then refuses the folder: every call raises
#   MlflowException. The same program works in an empty folder.
# Why a user of this field meets it: after an upgrade, every training script that logs to MLflow in its old project folder fails.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "mlflow==3.17.2" 2>/dev/null
cd "$folder"
MLFLOW_DISABLE_TELEMETRY=true HOME="$folder" "$folder/venv/bin/python" - <<'PYTHON'
import os
import sys

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

seen = []
for name in ("empty", "old"):
    os.makedirs(name)
    os.chdir(name)
    if name == "old":
        os.makedirs("mlruns/0")
        with open("mlruns/0/meta.yaml", "w") as file:
            file.write("artifact_location: file:///tmp\nexperiment_id: '0'\nlifecycle_stage: active\nname: Default\n")
    try:
        client = MlflowClient()
        seen.append(f"works, in {client.tracking_uri.partition(':')[0]}: {len(client.search_experiments())} experiment")
    except MlflowException as error:
        seen.append(f"MlflowException: {str(error)[:74]}")
    print(f"mlflow {mlflow.__version__}, {name} folder: {seen[-1]}")
    os.chdir("..")
if not (seen[0].startswith("works, in sqlite") and "maintenance mode" in seen[1]):
    sys.exit("the behavior has changed; expected a database in the empty folder, and an exception in the old one")
PYTHON
