"""The data sets of the registry."""
