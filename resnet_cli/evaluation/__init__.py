"""Metrics with confidence intervals, calibration, selective prediction, and comparison of models."""
