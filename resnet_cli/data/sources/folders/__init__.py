"""Folders as classes and splits."""
