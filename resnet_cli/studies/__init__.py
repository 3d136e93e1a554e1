"""Studies of a data set and a model: label audit, learning curve, robustness."""
