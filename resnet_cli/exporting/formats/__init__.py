"""The formats of ``export``, one module each; only the module of the format asked for is imported."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping

from resnet_cli.exporting.formats.base import Format

#: Value of ``--format`` -> its class, by module.
FORMATS: Mapping[str, str] = {
    "onnx": "onnx:OnnxFormat",
    "pt2": "pt2:Pt2Format",
    "safetensors": "timm:TimmFormat",
    "openvino": "openvino:OpenVinoFormat",
    "litert": "litert:LiteRtFormat",
    "ncnn": "ncnn:NcnnFormat",
    "mnn": "mnn:MnnFormat",
    "executorch": "executorch:ExecuTorchFormat",
    "coreml": "coreml:CoreMlFormat",
    "web": "web:WebFormat",
}


def open_format(name: str) -> Format:
    """The format of a value of ``--format``, for one export."""
    made: Format = pkgutil.resolve_name(f"{__name__}.{FORMATS[name]}")()
    return made
