"""Plots and reports, drawn from results alone and never from a model."""
