"""Inference benchmark: timed passes, table."""
