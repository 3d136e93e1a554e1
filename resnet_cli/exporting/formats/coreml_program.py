"""The program in a Core ML package, computed by torch: how the package is checked where Core ML does not run."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_cli.errors import ModelError, VerificationError
from resnet_cli.exported.base import ExportedModel
from resnet_cli.exported.coreml import IMAGE, LABEL, check_description, load_tools, open_package
from resnet_cli.exported.metadata import NOVELTY, PROBS, ExportMetadata
from resnet_cli.images import Pixels
from resnet_cli.model.output import ModelOutput
from resnet_cli.system.muting import quiet

#: The inputs of an operator by name: tensors, and constants as Python values.
_Inputs: TypeAlias = Mapping[str, Any]


class CoreMlProgram(ExportedModel):
    """The operators and weights that a package holds, read back from it and computed one by one in float32.

    What a program in float16 rounds is rounded: weights, and the result of each operator.

    Args:
        path: The folder.

    Raises:
        ModelError: The package is damaged.
        VerificationError: It has an operator that is not known here.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(ExportMetadata.read(path), path)
        load_tools("a Core ML folder")
        from coremltools.converters.mil.frontend.milproto.load import load

        package = open_package(path, skip_model_load=True)
        spec = package.get_spec()
        self.has_novelty = NOVELTY in check_description(spec, self)
        with quiet(), contextlib.redirect_stderr(io.StringIO()):
            program = load(spec, specification_version=spec.specificationVersion, file_weights_dir=package.weights_dir)
        (main,) = program.functions.values()
        self._constants: dict[str, Any] = {}
        self._operators = []
        for one in main.operations:
            if one.op_type == "const":
                self._constants[one.outputs[0].name] = _constant(one.outputs[0].val)
            elif one.op_type in OPERATORS:
                self._operators.append(one)
            else:
                raise VerificationError(
                    f"{path}: the Core ML operator {one.op_type} cannot be computed on this machine",
                    hint="please report a bug",
                )

    @torch.no_grad()
    def predict(self, inputs: Sequence[Pixels]) -> ModelOutput:
        """Probabilities, and novelty if the program has it."""
        rows = [self._compute(torch.from_numpy(np.array(square)).permute(2, 0, 1)[None].float()) for square in inputs]
        probs, novelty = (
            torch.cat([row[name] for row in rows]).numpy() if name in rows[0] else None for name in (PROBS, NOVELTY)
        )
        assert probs is not None
        return ModelOutput(probs, novelty)

    def _compute(self, image: Tensor) -> dict[str, Tensor]:
        values: dict[str, Any] = self._constants | {IMAGE: image}
        for one in self._operators:
            given = {
                name: [values[part.name] for part in value] if isinstance(value, list | tuple) else values[value.name]
                for name, value in one.inputs.items()
                if value is not None
            }
            if one.op_type == "classify":
                given["expected"] = self.classes
            for output, value in zip(one.outputs, _as_tuple(OPERATORS[one.op_type](given)), strict=True):
                is_half = output.name != LABEL and str(output.dtype.__name__) == "fp16"
                values[output.name] = value.half().float() if is_half else value
        return values


def _constant(value: Any) -> Any:
    """An array of numbers as a tensor in float32; anything else, such as padding or class names, as a Python value."""
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind == "f":
            return torch.from_numpy(np.array(value, np.float32))
        return value.tolist()
    return value


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _padding(given: _Inputs) -> list[int]:
    """Rows above and below, columns left and right, in the order that :func:`torch.nn.functional.pad` takes."""
    if given["pad_type"] == "valid":
        return [0, 0, 0, 0]
    assert given["pad_type"] == "custom", given["pad_type"]
    top, bottom, left, right = given["pad"]
    return [left, right, top, bottom]


def _conv(given: _Inputs) -> Tensor:
    padded = F.pad(given["x"], _padding(given))
    return F.conv2d(
        padded,
        given["weight"],
        given.get("bias"),
        given["strides"],
        dilation=given["dilations"],
        groups=given["groups"],
    )


def _max_pool(given: _Inputs) -> Tensor:
    assert not given["ceil_mode"]
    return F.max_pool2d(F.pad(given["x"], _padding(given), value=-torch.inf), given["kernel_sizes"], given["strides"])


def _topk(given: _Inputs) -> tuple[Tensor, Tensor]:
    return tuple(given["x"].topk(given["k"], dim=given["axis"], largest=not given["ascending"]))


def _classify(given: _Inputs) -> tuple[str, Tensor]:
    """The class names are part of the operator: they have to be the model's, in its order."""
    if list(given["classes"]) != list(given["expected"]):
        raise ModelError("damaged: the classes of the Core ML program are not the model's")
    probs = given["probabilities"]
    return given["classes"][int(probs.argmax())], probs


#: Operator -> what it computes.
#: Source: https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html
OPERATORS: Mapping[str, Callable[[_Inputs], Any]] = {
    "add": lambda given: given["x"] + given["y"],
    "sub": lambda given: given["x"] - given["y"],
    "mul": lambda given: given["x"] * given["y"],
    "real_div": lambda given: given["x"] / given["y"],
    "maximum": lambda given: torch.maximum(given["x"], given["y"]),
    "relu": lambda given: given["x"].relu(),
    "sqrt": lambda given: given["x"].sqrt(),
    "square": lambda given: given["x"].square(),
    "sigmoid": lambda given: given["x"].sigmoid(),
    "softmax": lambda given: given["x"].softmax(given["axis"]),
    "reduce_mean": lambda given: given["x"].mean(given["axes"], keepdim=given["keep_dims"]),
    "reduce_sum": lambda given: given["x"].sum(given["axes"], keepdim=given["keep_dims"]),
    "linear": lambda given: F.linear(given["x"], given["weight"], given.get("bias")),
    "cast": lambda given: given["x"],
    "conv": _conv,
    "max_pool": _max_pool,
    "topk": _topk,
    "classify": _classify,
}
