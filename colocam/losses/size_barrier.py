"""ASC: absolute size constraint, an extended log barrier on both areas (CoLo-CAM, Eq. 3)."""

import math

import torch
from torch import Tensor


def log_barrier(constraint: Tensor, z: float | Tensor) -> Tensor:
    """Extended log barrier of the constraint f ≤ 0 (Kervadec et al. 2019), elementwise.

    −(1/z)·log(−f) where f ≤ −1/z², else z·f − (1/z)·log(1/z²) + 1/z.

    Args:
        constraint: f, any shape.
        z: sharpness, > 0; a number or a scalar.

    Returns:
        tensor of the shape of `constraint`.
    """
    # On the constraint's device: of a scalar on the CPU, torch.where would wait for the copy.
    bound = torch.zeros_like(constraint) - 1 / z**2
    inside = constraint <= bound
    barrier = -torch.log(-torch.where(inside, constraint, bound)) / z
    log_z = z.log() if isinstance(z, Tensor) else math.log(z)
    line = z * constraint + 2 * log_z / z + 1 / z
    return torch.where(inside, barrier, line)


def size_barrier(
    probs: Tensor,
    z: float | Tensor,
    frames: Tensor | None = None,
    frame_weights: Tensor | None = None,
) -> Tensor:
    """Log barrier of f = −area, averaged over the two maps and over frames.

    Args:
        probs: (B, 2, H, W) maps after softmax; an area is their sum over pixels.
        z: sharpness of the barrier, see `barrier_sharpness`; a number or a scalar.
        frames: scalar that the sum over frames is divided by, for a mean over several batches;
            None: the sum of the frame weights.
        frame_weights: (B,), ≥ 0; None: 1 each.

    Returns:
        scalar.

    Raises:
        ValueError: z is a number and not positive.
    """
    if not isinstance(z, Tensor) and z <= 0:
        raise ValueError(f"z: must be positive, got {z}")
    probs = probs if probs.dtype == torch.float64 else probs.float()
    barrier = log_barrier(-probs.sum((2, 3)), z).mean(1)  # (B,)
    if frame_weights is None:
        return barrier.mean() if frames is None else barrier.sum() / frames
    return (frame_weights * barrier).sum() / (frame_weights.sum() if frames is None else frames)


def barrier_sharpness(
    epoch: int, first: float = 1.0, growth: float = 1.01, last: float = 10.0
) -> float:
    """Sharpness z at an epoch (from 0): `first` times `growth` per epoch, at most `last`."""
    return min(last, first * growth**epoch)
