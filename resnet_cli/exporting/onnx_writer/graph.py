"""An ONNX graph, written node by node in the order in which it runs."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from resnet_cli.exported.metadata import PRODUCER
from resnet_cli.version import __version__

#: Of the standard operators that our files use; ONNX Runtime reads it since 1.14 (2023).
OPSET = 18
#: Of the container; the one that came with that opset.
IR_VERSION = 8

#: numpy's name -> ONNX's number.
_TYPES = {
    np.dtype(np.float16): TensorProto.FLOAT16,
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float64): TensorProto.DOUBLE,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(np.uint8): TensorProto.UINT8,
    np.dtype(np.int8): TensorProto.INT8,
}
#: A result's name, or a constant.
Operand = str | NDArray[Any] | np.generic


class GraphWriter:
    """Collects nodes and constants.

    Args:
        prefix: Begins the names of the nodes, until :attr:`prefix` is changed: readers of the file see where they are.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        #: Of the layers' weights.
        self.floats: type[np.floating[Any]] = np.float32
        #: Whether the convolutions will be int8; the head's weights are then kept as bytes.
        self.for_int8 = False
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self._numbers = itertools.count()

    def op(self, kind: str, *operands: Operand | None, name: str | None = None, **attributes: Any) -> str:
        """Adds a node with one output.

        Args:
            kind: The operator.
            operands: Results of other nodes or constants; None for one that is left out.
            name: Of the node and of its result; made up where none is given.
            attributes: Of the operator.

        Returns:
            The name of the result.
        """
        return self.op_many(kind, *operands, outputs=1, name=name, **attributes)[0]

    def op_many(
        self, kind: str, *operands: Operand | None, outputs: int, name: str | None = None, **attributes: Any
    ) -> list[str]:
        """Adds a node with several outputs; see :meth:`op`."""
        name = name or self._name(kind.lower())
        inputs = ["" if x is None else x if isinstance(x, str) else self.constant(x) for x in operands]
        results = [name if index == 0 else f"{name}.{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, results, name=name, **attributes))
        return results

    def op_if(self, condition: str, then: Callable[[GraphWriter], str], otherwise: Callable[[GraphWriter], str]) -> str:
        """Adds a node that runs one of two ways to the same float32 result."""
        branches = []
        for name, write in (("then", then), ("else", otherwise)):
            branch = copy.copy(self)
            branch.nodes = []
            result = helper.make_tensor_value_info(write(branch), TensorProto.FLOAT, None)
            branches.append(helper.make_graph(branch.nodes, name, [], [result]))
        return self.op("If", condition, then_branch=branches[0], else_branch=branches[1])

    def cast(self, operand: Operand, dtype: type[np.generic], name: str | None = None) -> str:
        """Adds a change of type."""
        return self.op("Cast", operand, to=_TYPES[np.dtype(dtype)], name=name)

    def constant(self, values: NDArray[Any] | np.generic, name: str | None = None) -> str:
        """Adds a constant; equal small ones are kept once."""
        array = np.asarray(values)
        if name is None:
            shape = "".join(f"[{size}]" for size in array.shape)
            name = f"{self.prefix}{array.dtype}{shape}={array.item()!r}" if array.size == 1 else self._name("constant")
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        return name

    def build(
        self, inputs: dict[str, tuple[type[np.generic], list[int | str]]], outputs: dict[str, list[int | str]]
    ) -> ModelProto:
        """The finished graph, as a model of ours; outputs are float32.

        Args:
            inputs: Name -> type and shape; a text stands for a size that is known when the graph runs.
            outputs: Name -> shape.
        """
        graph = helper.make_graph(
            self.nodes,
            "resnet50",
            [helper.make_tensor_value_info(name, _TYPES[np.dtype(t)], shape) for name, (t, shape) in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            list(self.constants.values()),
        )
        return helper.make_model(
            graph,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name=PRODUCER,
            producer_version=__version__,
        )

    def _name(self, kind: str) -> str:
        return f"{self.prefix}{kind}.{next(self._numbers)}"
