"""A model as an ONNX graph, written node by node."""
