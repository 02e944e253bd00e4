"""Weights of loss terms: adaptive weight, schedule over epochs."""

from dataclasses import dataclass

import torch
from torch import Tensor


def adaptive_weight(energy: Tensor, weight: float | Tensor) -> Tensor:
    """weight · energy / |energy.detach()|, elementwise; 0 where the energy is 0 (CoLo-CAM, Eq. 5).

    The value is ±weight for any energy; the gradient is that of the energy divided by its
    magnitude. Means over videos are taken afterwards.

    Args:
        energy: any shape.
        weight: λ_c, a number or a scalar.

    Returns:
        tensor of the shape of `energy`.
    """
    magnitude = energy.detach().abs()
    return torch.where(
        magnitude == 0, 0.0, weight * energy / magnitude.masked_fill(magnitude == 0, 1)
    )


@dataclass(frozen=True)
class Schedule:
    """Weight of a loss term over the epochs.

    Attributes:
        weight: weight after the ramp; 0 disables the term.
        first_epoch: first epoch with the term, counted from 0.
        last_epoch: last epoch with the term; None: the last of the training.
        ramp: epochs over which the weight grows linearly from 0; 0: no ramp.
    """

    weight: float
    first_epoch: int = 0
    last_epoch: int | None = None
    ramp: float = 0.0

    def at(self, epoch: float) -> float:
        """Weight at `epoch`, fractional within an epoch; 0 before the first and after the last."""
        after_last = self.last_epoch is not None and epoch >= self.last_epoch + 1
        if epoch < self.first_epoch or after_last:
            return 0.0
        if self.ramp <= 0:
            return self.weight
        return self.weight * min(1.0, (epoch - self.first_epoch) / self.ramp)
