"""From a DATA spec to a data set: one module per kind of source."""
