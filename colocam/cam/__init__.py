"""Class activation maps (CAMs), their normalization, and temporal max pooling."""

from colocam.cam.activation import ActivationMap, Method
from colocam.cam.normalized import normalized_map
from colocam.cam.temporal import temporal_max

__all__ = ["ActivationMap", "Method", "normalized_map", "temporal_max"]
