"""The network and its weights, the model file, novelty and thresholds."""
