"""Official lists of published data sets."""
