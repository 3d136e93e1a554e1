"""Formats of programs: WebDataset, saved data sets, and formats that are refused by name."""
