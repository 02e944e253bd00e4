"""Choice of one connected region per image, from labels, in tensor operations.

Labels are (B, P) integers: the index in the image of the first pixel of each pixel's region, P
outside the mask. Sums are integers, so that every device chooses the same region.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def labels_in_image(labels: Tensor) -> Tensor:
    """Labels (B, H, W), which are indices in the batch or B·H·W outside → (B, P)."""
    outside = labels.numel()
    labels = labels.flatten(1)
    batch, pixels = labels.shape
    first = torch.arange(batch, device=labels.device)[:, None] * pixels
    return torch.where(labels < outside, labels - first, pixels).long()


def largest_label(labels: Tensor) -> Tensor:
    """Label of the region with the most pixels, the first one of equals: (B,); 0 without any."""
    return _sums(labels).argmax(1)


def densest_label(labels: Tensor, cams: Tensor, least_share: float = 0.05) -> Tensor:
    """Label of the region with the largest mean CAM among those of at least `least_share`: (B,).

    If every region is smaller, of the largest; the first one of equals.

    Args:
        labels: (B, P).
        cams: (B, H, W) in [0, 1].
        least_share: smallest area of a region, as a share of the image.
    """
    sizes = _sums(labels)  # (B, P) area of the region whose first pixel this is, else 0
    weights = (cams.float() * 2**20).round().long().flatten(1)
    mean = _sums(labels, weights) / sizes.clamp(min=1).double()
    large = (sizes > 0) & (sizes.double() / labels.shape[1] >= least_share)
    densest = mean.masked_fill(~large, -torch.inf).argmax(1)
    return torch.where(large.any(1), densest, sizes.argmax(1))


def _sums(labels: Tensor, values: Tensor | None = None) -> Tensor:
    """Sum of integer values (None: ones) over the pixels of each label 0…P−1: (B, P)."""
    values = torch.ones_like(labels) if values is None else values
    sums = F.pad(torch.zeros_like(labels), (0, 1))  # the last one is for pixels outside the mask
    return sums.scatter_add_(1, labels, values)[:, :-1]
