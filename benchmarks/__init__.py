"""Measurements: ``python -m benchmarks`` runs all of them, ``python -m benchmarks.NAME`` one; pytest collects none."""
