"""Exported files of every format, opened and run. Only what opens a format imports its runtime."""
