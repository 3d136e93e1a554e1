"""The network and its weights, the model file, features and their cache, novelty and thresholds, Grad-CAM."""
