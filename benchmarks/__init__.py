"""Measurements: ``python -m benchmarks`` runs all of them, ``python -m benchmarks.NAME`` one; pytest collects none."""

# Before any library that would report something about the machine.
import resnet_cli  # noqa: F401
