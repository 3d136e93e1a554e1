"""What a data set looks like: every image scanned, duplicates, findings, cleaning."""
