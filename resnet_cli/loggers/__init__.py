"""Experiment trackers: each logs a training through its events, beside the run folder and never in its way."""
