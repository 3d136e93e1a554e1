"""Linear heads on features: fitting them, and their probabilities."""
