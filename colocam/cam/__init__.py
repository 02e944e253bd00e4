"""Activation maps of the frozen classifier."""

from colocam.cam.activation import Method, activation_map, normalized_map

__all__ = ["Method", "activation_map", "normalized_map"]
