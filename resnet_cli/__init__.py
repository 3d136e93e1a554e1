"""ResNet-50 transfer learning: fine-tune, evaluate and predict, from Python or from ``resnet-cli``.

The names below are imported when they are first used: ``import resnet_cli`` alone costs nothing.

    import resnet_cli
    result = resnet_cli.finetune(data="photos", epochs=10)
    model = resnet_cli.load(result.run.path)
    print(model.predict("a.jpg")[0].label)
    resnet_cli.export(model, format="onnx", int8=True)
    for prediction in resnet_cli.predict(model, ["a.jpg", pil_image, array]):
        print(prediction.path, prediction.label, prediction.prob)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnet_cli.version import __version__

if TYPE_CHECKING:
    from resnet_cli.commands.api import evaluate, load, predict
    from resnet_cli.commands.export import export_model as export
    from resnet_cli.commands.finetune import finetune
    from resnet_cli.prediction import Prediction

__all__ = ["Prediction", "__version__", "evaluate", "export", "finetune", "load", "predict"]

#: Name -> the module that has it, and what it is called there.
_HOMES = {
    "Prediction": ("resnet_cli.prediction", "Prediction"),
    "evaluate": ("resnet_cli.commands.api", "evaluate"),
    "export": ("resnet_cli.commands.export", "export_model"),
    "finetune": ("resnet_cli.commands.finetune", "finetune"),
    "load": ("resnet_cli.commands.api", "load"),
    "predict": ("resnet_cli.commands.api", "predict"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'resnet_cli' has no attribute '{name}'")
    import importlib

    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)
