"""Formats that programs write: WebDataset, saved data sets, and formats that are refused by name."""
