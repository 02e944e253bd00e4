"""Weights of the terms: adaptive weight and schedule."""

from dataclasses import dataclass

import torch
from torch import Tensor


def adaptive_weight(energy: Tensor, weight: float) -> Tensor:
    """weight · energy / |energy.detach()|, elementwise; 0 where the energy is 0 (CoLo-CAM, Eq. 5).

    The value is ±weight whatever the energy's size; the gradient is that of the energy scaled to
    its size. The mean over videos is taken after it.

    Args:
        energy: any shape.
        weight: λ_c.
    """
    size = energy.detach().abs()
    return torch.where(size == 0, 0.0, weight * energy / size.masked_fill(size == 0, 1))


@dataclass(frozen=True)
class Schedule:
    """Schedule of a term: its weight over the epochs.

    Attributes:
        weight: its weight when fully on; 0 switches the term off.
        first_epoch: first epoch with the term, counted from 0.
        last_epoch: last epoch with the term; None: to the end.
        ramp: epochs over which the weight grows from 0; 0: at once.
    """

    weight: float
    first_epoch: int = 0
    last_epoch: int | None = None
    ramp: float = 0.0

    def at(self, epoch: float) -> float:
        """Weight at `epoch`, which may be fractional within an epoch; 0 when the term is off."""
        after_last = self.last_epoch is not None and epoch >= self.last_epoch + 1
        if epoch < self.first_epoch or after_last:
            return 0.0
        if self.ramp <= 0:
            return self.weight
        return self.weight * min(1.0, (epoch - self.first_epoch) / self.ramp)
