"""Triton backend of the public operators: one filtering, no synchronization with the host.

Only `gaussian_filter` with method "grid" synchronizes: it reads the range of the features.
"""

import torch
from torch import Tensor

from colocam.kernels.color_grid.grid_triton import (
    LevelGrid,
    NodeGrid,
    grid_for_features,
    grid_for_images,
)
from colocam.kernels.energy_triton import energy_from_filtered
from colocam.kernels.launch import Points
from colocam.kernels.permutohedral.geometry import stencil_of
from colocam.kernels.permutohedral.lattice_triton import TritonLattice


def filtered_values(
    values: Tensor, features: Tensor, group: Tensor, num_groups: int, method: str
) -> Tensor:
    """`gaussian_filter` of values (P, C), features (P, d) float32 → (P, C)."""
    count, d = features.shape
    group = group.contiguous()  # kernels assume stride 1
    points = Points(features.view(count, d, 1, 1), group, num_groups, colors=False)
    built: NodeGrid | TritonLattice
    if method == "grid":
        built = grid_for_features(points)
    else:
        stencil, ring = stencil_of(method, d)
        built = TritonLattice(points, [1.0] * d, xy=False, stencil=stencil, ring=ring)
    return built.apply(values[:, :, None, None]).flatten(1)


def energy_and_half_grad(
    images: Tensor,
    probs: Tensor,
    group: Tensor,
    num_groups: int,
    sigma_rgb: float | None,
    sigma_xy: float | None,
    form: str,
    method: str,
    features: Tensor | None = None,
    feature_extent: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Energies (G,) of probs (B, K, H, W) float32, and half their derivative (B, K, H, W)."""
    if images.dtype != torch.uint8:
        images = images.to(torch.float32)
    sigmas = [] if sigma_rgb is None else [sigma_rgb] * 3
    if features is not None:
        sigmas += [1.0] * features.shape[1]
        features = features.float()
        images = features if sigma_rgb is None else torch.cat([images.float(), features], 1)
    group = group.contiguous()  # kernels assume stride 1
    colors = sigma_rgb is not None
    points = Points(images, group, num_groups, colors=colors, feature_extent=feature_extent)
    built: LevelGrid | NodeGrid | TritonLattice
    if method == "grid":
        built = grid_for_images(points, sigmas[0])
    else:
        sigmas += [] if sigma_xy is None else [sigma_xy] * 2
        stencil, ring = stencil_of(method, len(sigmas))
        xy = sigma_xy is not None
        built = TritonLattice(points, sigmas, xy=xy, stencil=stencil, ring=ring)
    filtered = built.apply(probs, largest=1.0)
    return energy_from_filtered(filtered, probs, group, num_groups, form)
