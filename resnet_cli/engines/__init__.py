"""The backbone in each engine, which turns squares into features: torch, ONNX; features, their cache, heat maps."""
