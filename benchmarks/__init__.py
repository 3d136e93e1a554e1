"""Measurements: ``python -m benchmarks``, or one by its own name; nothing here is collected by pytest."""
