"""Every exported graph uses only what engines read alike: no branch, no default, no type that some of them lack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, shape_inference
from support.synthetic_models import images, made_up_model

from resnet_cli.engines import int8
from resnet_cli.exported.metadata import HEATMAP, IMAGES, NOVELTY, PROBS
from resnet_cli.exporting.onnx_writer.file import take_images, to_onnx

pytest_plugins = ["support.narrow_network"]

#: The operators of the network, with every output. Only the tests' narrow network has a BatchNorm that is not folded.
NETWORK = {
    "BatchNormalization",
    *("Add", "ArgMax", "Cast", "Conv", "Div", "Flatten", "Gather", "Gemm", "GlobalAveragePool", "MatMul", "Max"),
    *("MaxPool", "Mul", "ReduceMean", "ReduceSum", "Relu", "Sigmoid", "Sign", "Softmax", "Sqrt", "Sub", "TopK"),
    "Unsqueeze",
}
#: What the preprocessing needs besides: arithmetic and the movement of data, and no resize.
GEOMETRY = {
    *("Abs", "And", "Clip", "Concat", "Expand", "Floor", "Greater", "Less", "Min", "Neg", "Not", "Range", "Round"),
    *("ScatterElements", "Shape", "Slice", "Split", "Transpose", "Where"),
}
INT8 = {"Concat", "DequantizeLinear", "Pad", "QuantizeLinear", "Split"}
#: Attributes whose defaults depend on the weights or on the version of the operator.
GIVEN = {
    "Conv": {"kernel_shape", "strides", "dilations", "pads", "group"},
    "MaxPool": {"kernel_shape", "strides", "pads"},
    "Softmax": {"axis"},
    "Flatten": {"axis"},
    "ArgMax": {"axis"},
    "TopK": {"axis", "largest", "sorted"},
    "Split": {"axis"},
    "Concat": {"axis"},
}
NUMBERS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.UINT8, TensorProto.BOOL}


def laws_of(proto: onnx.ModelProto, operators: set[str], numbers: set[int]) -> None:
    graph = shape_inference.infer_shapes(proto).graph
    assert {node.op_type for node in graph.node} <= operators
    assert {node.domain for node in graph.node} <= {"", "ai.onnx"}
    for node in graph.node:
        given = {attribute.name for attribute in node.attribute}
        assert given >= GIVEN.get(node.op_type, set()), node.name
        # A branch or a loop would be a graph in an attribute.
        assert not any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
    kinds = {info.type.WhichOneof("value") for info in [*graph.value_info, *graph.input, *graph.output]}
    assert kinds == {"tensor_type"}
    used = {info.type.tensor_type.elem_type for info in [*graph.value_info, *graph.input, *graph.output]}
    assert used | {constant.data_type for constant in graph.initializer} <= numbers


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("hidden", [(), (16,)], ids=["linear", "mlp"])
def test_a_graph_uses_only_operators_and_types_that_engines_read_alike(fit: str, hidden: tuple[int, ...]) -> None:
    model = made_up_model(hidden)
    proto = to_onnx(model)
    # The memory of training images is float16, and converted at once.
    laws_of(proto, NETWORK, NUMBERS | {TensorProto.FLOAT16})
    preprocess = model.preprocess.with_fit(fit)  # type: ignore[arg-type]
    laws_of(take_images(proto, preprocess), NETWORK | GEOMETRY, NUMBERS | {TensorProto.FLOAT16})


@pytest.mark.usefixtures("narrow")
def test_a_quantized_graph_adds_only_the_operators_of_quantization() -> None:
    model = made_up_model()
    squares = [model.preprocess(image) for image in images()]
    made = int8.quantize(to_onnx(model, precision="int8"), squares, model.preprocess, images=IMAGES)
    laws_of(made, NETWORK | INT8, NUMBERS | {TensorProto.INT8, TensorProto.INT32})


@pytest.mark.usefixtures("narrow")
def test_every_output_but_the_probabilities_can_be_left_out() -> None:
    model = made_up_model()
    for novelty, heat in ((False, False), (True, False), (False, True)):
        proto = to_onnx(model, with_novelty=novelty, with_heat=heat)
        names = [output.name for output in proto.graph.output]
        assert names == [PROBS] + [NOVELTY] * novelty + [HEATMAP] * heat
        operators = {node.op_type for node in proto.graph.node}
        assert ("Sqrt" in operators, "ArgMax" in operators) == (novelty, heat)


@pytest.mark.usefixtures("narrow")
def test_opencv_reads_a_file_that_takes_tensors_and_answers_as_the_model_does(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = made_up_model()
    path = tmp_path / "model.tensor.onnx"
    path.write_bytes(to_onnx(model, with_heat=False).SerializeToString())
    side = model.preprocess.crop_size
    square = np.random.default_rng(0).normal(size=(1, 3, side, side)).astype(np.float32)
    expected = onnxruntime.InferenceSession(path).run([PROBS, NOVELTY], {IMAGES: square})
    net = cv2.dnn.readNetFromONNX(str(path))
    net.setInput(square)
    for one, other in zip(net.forward([PROBS, NOVELTY]), expected, strict=True):
        np.testing.assert_allclose(one.reshape(-1), other.reshape(-1), atol=1e-4)
