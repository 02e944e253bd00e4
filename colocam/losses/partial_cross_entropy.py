"""PL: partial cross-entropy of the maps at the seeds (CoLo-CAM, Eq. 1)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from colocam.seeds import FOREGROUND, IGNORED


def partial_cross_entropy(
    maps: Tensor,
    seeds: Tensor,
    labelled: Tensor | None = None,
    frame_weights: Tensor | None = None,
) -> Tensor:
    """Mean over the labelled pixels of −log S^r(p); 0 where no pixel has a label.

    Args:
        maps: (B, 2, H, W) before softmax.
        seeds: (B, H, W) uint8: 0 background, 1 foreground, 255 ignored.
        labelled: scalar that the sum is divided by, for a mean over several batches; None: the
            labelled pixels of this batch, weighted by their frames.
        frame_weights: (B,), ≥ 0; None: 1 each.

    Returns:
        scalar, float32 or wider.

    Raises:
        ValueError: the shapes of `maps` and `seeds` do not match.
    """
    if maps.shape[1] != 2 or maps.shape[:1] + maps.shape[2:] != seeds.shape:
        raise ValueError(
            f"seeds: expected {(maps.shape[0], *maps.shape[2:])} for maps {tuple(maps.shape)}, "
            f"got {tuple(seeds.shape)}"
        )
    maps = maps if maps.dtype == torch.float64 else maps.float()
    is_labelled = seeds != IGNORED
    # −log softmax of two maps is the softplus of their difference: other map − labelled map.
    difference = torch.where(seeds == FOREGROUND, maps[:, 0] - maps[:, 1], maps[:, 1] - maps[:, 0])
    losses = F.softplus(difference).masked_fill(~is_labelled, 0.0)
    losses = losses.sum((1, 2))  # (B,) in both cases: weights of 1 give the same bits as none
    if frame_weights is not None:
        losses = frame_weights * losses
    if labelled is None:
        labelled = labelled_pixels(seeds, frame_weights)
        labelled = labelled + (labelled == 0)
    return losses.sum() / labelled


def labelled_pixels(seeds: Tensor, frame_weights: Tensor | None = None) -> Tensor:
    """Number of labelled pixels of seeds (B, H, W), weighted by frames (B,): scalar float32."""
    labelled = (seeds != IGNORED).sum((1, 2)).float()  # (B,)
    return (labelled if frame_weights is None else frame_weights * labelled).sum()
