"""How good a model is, how far its probabilities can be trusted, and where it is wrong."""
