"""From DATA to a data set: one module per kind of source."""
