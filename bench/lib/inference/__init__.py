"""Inference benchmark: timed passes and table."""
