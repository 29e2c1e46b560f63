"""Tracking: a run's mirror in Weights & Biases."""
