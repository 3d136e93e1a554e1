"""Inspection of a data set: scan of every image, duplicates, findings, cleaning."""
