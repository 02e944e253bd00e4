"""Losses of the decoder: the four terms of CoLo-CAM, Eq. 5, one file each, and their sum."""

from colocam.losses.frame_weights import TagWeighting, tag_weights
from colocam.losses.joint_crf import JointCRF
from colocam.losses.partial_cross_entropy import partial_cross_entropy
from colocam.losses.size_barrier import barrier_sharpness, log_barrier, size_barrier
from colocam.losses.spatial_crf import SpatialCRF
from colocam.losses.total import Counts, LocalizerLoss, LossSettings
from colocam.losses.weighting import Schedule, adaptive_weight

__all__ = [
    "Counts",
    "JointCRF",
    "LocalizerLoss",
    "LossSettings",
    "Schedule",
    "SpatialCRF",
    "TagWeighting",
    "adaptive_weight",
    "barrier_sharpness",
    "log_barrier",
    "partial_cross_entropy",
    "size_barrier",
    "tag_weights",
]
