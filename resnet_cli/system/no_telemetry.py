"""Switches off the telemetry of libraries: resnet-cli sends nothing that its user did not ask for.

The package runs :func:`switch_off` before anything else of it is imported, so every process that uses it is covered:
commands, processes of a distributed training, Ray workers, and programs that import it. This module therefore imports
only the standard library. A user's own setting is replaced: none of these variables can ask for less than this.
"""

from __future__ import annotations

import os
import sys
from typing import Any

#: The switches that are environment variables. Libraries read them when they are imported.
VARIABLES = {
    # From version 1.29 on, importing it on Linux writes a device ID into the user's cache folder and, seconds later,
    # sends a description of the process. ``disable_telemetry_events()`` does not stop that any more.
    # Source: onnxruntime/core/platform/posix/telemetry_1ds.cc
    "ORT_DISABLE_TELEMETRY": "1",
    # Also removes the versions of other libraries from the user agent.
    # Source: https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # The Hub's transfers, which have a setting of their own.
    "HF_XET_TELEMETRY_ENABLED": "0",
    # Source: https://docs.ray.io/en/latest/cluster/usage-stats.html
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_PROMPT_ENABLED": "0",
    # Each use of its client, from version 3.2 on. Source: mlflow/telemetry/utils.py
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Its own crashes, to Sentry. Source: https://docs.wandb.ai/models/track/environment-variables
    "WANDB_ERROR_REPORTING": "false",
}
#: Packages that only report. OpenVINO has no switch that a program can set: it sends an event when it is imported, and
#: writes a client ID into the user's home. It works without this package.
#: Source: openvino/tools/ovc/telemetry_utils.py, which then uses ``telemetry_stub``.
_BLOCKED = ("openvino_telemetry",)


def switch_off() -> None:
    """Sets the switches for this process and those that it starts.

    A library that was imported before has read its variables already.
    """
    os.environ.update(VARIABLES)
    modules: dict[str, Any] = sys.modules
    for name in _BLOCKED:
        # An import of a module that is None fails as if it were not installed.
        modules.setdefault(name, None)


def import_onnxruntime() -> Any:
    """Imports ONNX Runtime and switches off its telemetry.

    On Windows, and where a program imported it before this package, its own function is the switch.
    """
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime
