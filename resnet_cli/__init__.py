"""ResNet-50 transfer learning: fine-tune, evaluate and predict, from Python or from ``resnet-cli``.

The names below are imported when they are first used, so ``import resnet_cli`` alone is fast.

    import resnet_cli
    result = resnet_cli.finetune("photos", epochs=10, progress=True)
    print(resnet_cli.evaluate(result))
    for prediction in resnet_cli.predict(result, ["a.jpg", pil_image, array]):
        print(prediction.path, prediction.label, prediction.prob)
    resnet_cli.export(result, format="onnx", int8=True)
    model = resnet_cli.load("runs/latest")
    print(model.predict("a.jpg")[0].label)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnet_cli.system import no_telemetry
from resnet_cli.version import __version__

if TYPE_CHECKING:
    from resnet_cli.api.calls import compare, download, evaluate, export, finetune, inspect, study
    from resnet_cli.api.models import load, predict
    from resnet_cli.prediction import Prediction

# First of all: libraries read these switches when they are imported.
no_telemetry.switch_off()

__all__ = [
    "Prediction",
    "__version__",
    "compare",
    "download",
    "evaluate",
    "export",
    "finetune",
    "inspect",
    "load",
    "predict",
    "study",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'resnet_cli' has no attribute '{name}'")
    import importlib

    home = {"Prediction": "prediction", "load": "api.models", "predict": "api.models"}.get(name, "api.calls")
    return getattr(importlib.import_module(f"resnet_cli.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
