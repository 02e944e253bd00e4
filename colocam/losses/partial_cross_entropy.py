"""PL: cross-entropy of the maps against the seeds, where there are seeds (CoLo-CAM, Eq. 1)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from colocam.seeds import IGNORED


def partial_cross_entropy(maps: Tensor, seeds: Tensor) -> Tensor:
    """Mean over the labelled pixels of −log S^r(p); 0 where no pixel has a label.

    Args:
        maps: (B, 2, H, W) before softmax.
        seeds: (B, H, W) uint8: 0 background, 1 foreground, 255 ignored.

    Returns:
        scalar, float32 or wider.

    Raises:
        ValueError: the shapes do not belong together.
    """
    if maps.shape[1] != 2 or maps.shape[:1] + maps.shape[2:] != seeds.shape:
        raise ValueError(
            f"seeds: expected {(maps.shape[0], *maps.shape[2:])} for maps {tuple(maps.shape)}, "
            f"got {tuple(seeds.shape)}"
        )
    maps = maps if maps.dtype == torch.float64 else maps.float()
    labels = seeds.long()
    total = F.cross_entropy(maps, labels, ignore_index=IGNORED, reduction="sum")
    return total / (labels != IGNORED).sum().clamp(min=1)
