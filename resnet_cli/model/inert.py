"""The types of plain data that a checkpoint may contain besides tensors; none of them is imported or called.

``torch.load(weights_only=True)`` refuses a file that names anything but tensors, even a NumPy number in its log. Here,
a placeholder that ignores its content takes the place of each name in a list; only the ``argparse.Namespace`` of a
training script is real, since it says which architecture was trained. A file that names anything else is refused.
"""

from __future__ import annotations

import argparse
from collections import OrderedDict
from typing import Any


class Ignored:
    """Placeholder for an object that is not needed: it accepts any arguments and keeps nothing."""

    def __new__(cls, *_: Any, **__: Any) -> Ignored:
        """An object without content."""
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        """Ignores the state."""


class MakesDict:
    """Placeholder for subclasses of dict: it makes an OrderedDict, the only kind that torch's reader fills."""

    def __new__(cls, *_: Any, **__: Any) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        """An empty OrderedDict."""
        return OrderedDict()


#: Names of the constructors of dict-like types. Source: the checkpoints that Lightning and PyTorch's scripts write.
_DICTS = (
    "collections.defaultdict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "yacs.config.CfgNode",
    "detectron2.config.config.CfgNode",
    "fvcore.common.config.CfgNode",
    "mmengine.config.config.ConfigDict",
    "mmcv.utils.config.ConfigDict",
    "addict.addict.Dict",
    "easydict.EasyDict",
)
#: Names of types of plain data, and of the functions that their pickles name. Nothing of this is executed.
_DATA = (
    *(f"builtins.{name}" for name in ("dict", "list", "tuple", "int", "float", "bool", "str", "bytes", "frozenset")),
    *("builtins.range", "builtins.slice", "builtins.getattr", "builtins.object"),
    *("copyreg._reconstructor", "typing.Any", "typing.Union", "types.SimpleNamespace"),
    *(f"{where}.multiarray.{name}" for where in ("numpy.core", "numpy._core") for name in ("scalar", "_reconstruct")),
    *(f"{where}.numeric._frombuffer" for where in ("numpy.core", "numpy._core")),
    *("numpy.ndarray", "numpy.dtype"),
    *(f"numpy.{kind}{bits}" for kind, sizes in (("float", (16, 32, 64)), ("int", (8, 16, 32, 64)),
                                                ("uint", (8, 16, 32, 64))) for bits in sizes),
    *(f"numpy.{name}" for name in ("bool_", "bool", "str_", "longlong", "ulonglong")),
    *(f"{where}.{name}" for where in ("pathlib", "pathlib._local") for name in
      ("Path", "PurePath", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")),
    *(f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
    *("decimal.Decimal", "fractions.Fraction", "uuid.UUID", "torch.torch_version.TorchVersion"),
    *(f"omegaconf.{name}" for name in ("dictconfig.DictConfig", "listconfig.ListConfig", "base.ContainerMetadata",
      "base.Metadata", "base.Container", "base.Node", "nodes.AnyNode", "nodes.StringNode", "nodes.IntegerNode",
      "nodes.FloatNode", "nodes.BooleanNode", "nodes.EnumNode", "nodes.PathNode", "nodes.UnionNode")),
    *("mmengine.logging.history_buffer.HistoryBuffer", "mmengine.config.config.Config", "mmcv.utils.config.Config"),
    *(f"{where}.callbacks.{name}" for where in ("pytorch_lightning", "lightning.pytorch") for name in
      ("model_checkpoint.ModelCheckpoint", "early_stopping.EarlyStopping")),
)  # fmt: skip

#: Argument of ``torch.serialization.safe_globals``: what takes the place of each name in a file.
ALLOWED: list[Any] = [
    argparse.Namespace,
    *((MakesDict, name) for name in _DICTS),
    *((Ignored, name) for name in _DATA),
]
