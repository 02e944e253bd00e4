"""Losses and metrics of a step of stage 2, from the decoder's maps, as one module to compile."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from colocam.losses import Counts, LocalizerLoss
from colocam.training.localizer.collapse import collapse_metrics
from colocam.training.update import nan_if_not_finite


class StepLosses(nn.Module):
    """Terms of Eq. 5, their sum, and the metrics of collapse.

    Args:
        loss: the terms.
    """

    def __init__(self, loss: LocalizerLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(
        self,
        maps: Tensor,
        images: Tensor,
        seeds: Tensor,
        sequence: Tensor,
        num_sequences: int,
        weights: Mapping[str, Tensor],
        counts: Counts,
        frame_weights: Tensor | None,
        features: Tensor | None,
    ) -> dict[str, Tensor]:
        """Computes the losses; values of the maps that are not finite count as 0.

        Args:
            maps: (B, 2, H, W) before softmax.
            images: (B, 3, H, W) uint8.
            seeds: (B, H, W) uint8.
            sequence: (B,) integers 0…G−1.
            num_sequences: G.
            weights: scalars on the CPU, see `LocalizerLoss.weights_at`.
            counts: divisors of the means, over all batches of all ranks.
            frame_weights: (B,), or None.
            features: (B, C, h, w), the encoder's middle map, for the joint term.

        Returns:
            scalars by name; "total" makes all gradients NaN if maps or losses are not finite, or
            if no rank has a frame.
        """
        losses = self.loss.weighted_terms(
            maps.nan_to_num(0.0, 0.0, 0.0), images, seeds, sequence, num_sequences, weights, counts,
            frame_weights, features,
        )  # fmt: skip
        total = losses["total"].masked_fill(counts.present == 0, torch.nan)
        losses["total"] = nan_if_not_finite(total, maps)
        return losses | collapse_metrics(maps, sequence, num_sequences, counts.present)
