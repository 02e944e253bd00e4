"""Principal components of a sequence's feature maps, as features of the joint CRF.

Pixels of like colour are bound by the published joint term also where they belong to different
things. What a trained encoder sees tells them apart: a few principal components of one of its maps
are further features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

ROUNDS = 10  # of orthogonal iteration
LARGEST = 4.0  # largest component, in standard deviations


@torch.no_grad()
def principal_features(
    maps: Tensor,
    sequence: Tensor,
    num_sequences: int,
    size: tuple[int, int],
    sigma: float,
    count: int = 2,
) -> Tensor:
    """Leading principal components of each sequence's feature vectors, whitened and upsampled.

    Components are uncorrelated and have variance 1 over the sequence's places before upsampling.
    They are limited to ±4. Computed by orthogonal iteration, without synchronization.

    Args:
        maps: (B, C, h, w) float; values that are not finite count as 0.
        sequence: (B,) integers 0…G−1, the sequence of each frame.
        num_sequences: G.
        size: (H, W) of the frames.
        sigma: bandwidth, in standard deviations of a component.
        count: number of components.

    Returns:
        (B, count, H, W) float32, in units of `sigma`; 0 for a component without variance.
    """
    frames, _, height, width = maps.shape
    vectors = maps.float().nan_to_num(0.0, 0.0, 0.0).flatten(2)  # (B, C, P)
    present = torch.zeros(num_sequences, device=maps.device).index_add(
        0, sequence, torch.ones(frames, device=maps.device)
    )
    places = (present * height * width).clamp(min=1)[:, None]  # (G, 1)
    mean = _sums(vectors.sum(2), sequence, num_sequences) / places  # (G, C)
    vectors = vectors - mean[sequence][:, :, None]
    products = _sums(vectors @ vectors.mT, sequence, num_sequences)
    covariance = products / places[:, :, None]  # (G, C, C)
    axes = _leading_axes(covariance, count)  # (G, C, count)
    components = axes[sequence].mT @ vectors  # (B, count, P)
    components = F.interpolate(
        components.view(frames, count, height, width), size, mode="bilinear", align_corners=False
    )
    return components.clamp(-LARGEST, LARGEST) / sigma


def _sums(values: Tensor, sequence: Tensor, num_sequences: int) -> Tensor:
    """Sums over the frames of each sequence: (B, ...) → (G, ...)."""
    return values.new_zeros(num_sequences, *values.shape[1:]).index_add(0, sequence, values)


def _leading_axes(covariance: Tensor, count: int) -> Tensor:
    """Basis of the leading eigenvectors' space, in which the covariance is 1: (G, C, count).

    Distances between whitened vectors do not depend on the basis of that space, so that
    the eigenvectors themselves are not needed.
    """
    channels = covariance.shape[1]
    trace = covariance.diagonal(dim1=1, dim2=2).sum(1).clamp(min=1e-12)[:, None, None]
    power = covariance / trace
    power = power @ power  # two rounds in one
    number = torch.arange(1, channels * count + 1, device=covariance.device, dtype=torch.float32)
    start = (number.square() * 1.2).sin().view(channels, count)  # no direction in particular
    axes = start.expand(len(covariance), channels, count)
    for _ in range(ROUNDS):
        axes = _orthonormal(power @ axes, None)
    return _orthonormal(axes, covariance)


def _orthonormal(axes: Tensor, metric: Tensor | None) -> Tensor:
    """Gram–Schmidt in the inner product xᵀ M y; vectors that depend on others become 0."""
    done: list[Tensor] = []
    for vector in axes.unbind(2):  # (G, C)
        before = _inner(vector, vector, metric)
        for other in done:
            vector = vector - _inner(vector, other, metric)[:, None] * other
        square = _inner(vector, vector, metric)
        independent = square > 1e-10 * before
        scale = torch.where(independent, square.clamp(min=1e-30).rsqrt(), 0.0)
        done.append(vector * scale[:, None])
    return torch.stack(done, 2)


def _inner(a: Tensor, b: Tensor, metric: Tensor | None) -> Tensor:
    """Inner products (G,) of vectors (G, C)."""
    return (a * (b if metric is None else (metric @ b[:, :, None])[:, :, 0])).sum(1)
