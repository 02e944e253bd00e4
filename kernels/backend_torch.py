"""PyTorch backend of the public operators: the filter of each method, and the energy from it."""

from typing import Protocol

import torch
from torch import Tensor

from colocam.kernels.color_grid.grid_torch import ColorGrid
from colocam.kernels.dense import DensePairs
from colocam.kernels.permutohedral.geometry import stencil_of
from colocam.kernels.permutohedral.lattice_torch import PermutohedralLattice

PART = 2**17  # pixels per thread in one part of an energy on the CPU, so that it fits its cache


class Filter(Protocol):
    """A symmetric linear filter for fixed features, as every method builds one."""

    def apply(self, values: Tensor) -> Tensor:
        """Filter values (C, P) → (C, P)."""


def filtered_values(
    values: Tensor, features: Tensor, group: Tensor, num_groups: int, method: str
) -> Tensor:
    """`gaussian_filter` of values (P, C), features (P, d) of one dtype → (P, C)."""
    return filter_for_features(features, group, num_groups, method).apply(values.T).T


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
) -> tuple[Tensor, Tensor]:
    """Energies (G,) of probs (B, K, H, W), and half their derivative (B, K, H, W).

    Both come from one filtering: as W is symmetric, the derivative of sum_r S_r^T half_grad_r with
    respect to S_r is 2 half_grad_r. In memory the half gradient is contiguous as (K, B, H, W).
    """
    how = (sigma_rgb, sigma_xy, form, method)
    parts = _parts(group, num_groups, probs.shape[2:].numel()) if group.device.type == "cpu" else []
    if len(parts) > 1:
        energy = probs.new_empty(num_groups)
        half_grad = torch.empty_like(probs.transpose(0, 1), memory_format=torch.contiguous_format)
        half_grad = half_grad.transpose(0, 1)
        for groups, chosen in parts:
            energy[groups], half_grad[chosen] = energy_and_half_grad(
                images[chosen], probs[chosen], group[chosen] - groups.start,
                groups.stop - groups.start, *how, None if features is None else features[chosen],
            )  # fmt: skip
        return energy, half_grad
    frames, maps, height, width = probs.shape
    built = filter_for_images(
        images, group, num_groups, sigma_rgb, sigma_xy, method, probs.dtype, features
    )
    values = probs.transpose(0, 1).reshape(maps, frames * height * width)  # (K, P)
    filtered = built.apply(values).contiguous()
    half_grad = -filtered if form == "association" else sum_of_others(filtered)
    product = (values * half_grad).view(maps, frames, height * width)
    # float64: a float32 sum over this many pixels loses digits
    per_frame = product.sum((0, 2), dtype=torch.float64)
    energy = per_frame.new_zeros(num_groups).index_add_(0, group, per_frame)
    return energy.to(probs.dtype), half_grad.view(maps, frames, height, width).transpose(0, 1)


def _parts(group: Tensor, num_groups: int, pixels: int) -> list[tuple[slice, slice]]:
    """Split a batch into parts of consecutive groups, which are independent of each other.

    A part holds at most PART pixels per thread, or a single group.

    Args:
        group: (B,) int64.
        num_groups: number of groups.
        pixels: pixels per frame.

    Returns:
        Slices of groups and of their frames. One part for the whole batch if the frames are not
        sorted by group.
    """
    if (group[1:] < group[:-1]).any():
        return [(slice(0, num_groups), slice(0, len(group)))]
    most = PART * torch.get_num_threads()
    bounds = torch.searchsorted(group, torch.arange(num_groups + 1)).tolist()
    parts, first = [], 0
    for one in range(1, num_groups):
        full = (bounds[one + 1] - bounds[first]) * pixels > most
        if full and bounds[one + 1] > bounds[one] > bounds[first]:
            parts.append((slice(first, one), slice(bounds[first], bounds[one])))
            first = one
    return [*parts, (slice(first, num_groups), slice(bounds[first], bounds[-1]))]


def filter_for_features(
    features: Tensor,
    group: Tensor,
    num_groups: int,
    method: str,
    sigmas: list[float] | None = None,
) -> Filter:
    """The method's filter for features (P, d), group (P,); `sigmas` (d) default to 1."""
    if method == "grid":
        return ColorGrid.from_features(features.T, group, num_groups)
    if method == "dense":
        units = features if sigmas is None else features / features.new_tensor(sigmas)
        return DensePairs(units, group, num_groups)
    stencil, ring = stencil_of(method, features.shape[1])
    return PermutohedralLattice(
        features.T, group, num_groups, sigmas=sigmas, stencil=stencil, ring=ring
    )


def filter_for_images(
    images: Tensor,
    group: Tensor,
    num_groups: int,
    sigma_rgb: float | None,
    sigma_xy: float | None,
    method: str,
    dtype: torch.dtype,
    further: Tensor | None = None,
) -> Filter:
    """The method's filter for images (B, 3, H, W), group (B,), further features (B, D, H, W)."""
    frames, _, height, width = images.shape
    group = group.repeat_interleave(height * width)
    colors = images.transpose(0, 1).reshape(3, frames * height * width)
    if method == "grid":
        assert sigma_rgb is not None
        if images.dtype == torch.uint8:
            return ColorGrid.from_levels(colors, group, num_groups, sigma_rgb)
        if torch.equal(colors, colors.round()):
            return ColorGrid.from_levels(colors.to(torch.uint8), group, num_groups, sigma_rgb)
        return ColorGrid.from_colors(colors.to(dtype), group, num_groups, sigma_rgb)
    parts: list[Tensor] = []
    sigmas: list[float] = []
    if sigma_rgb is not None:
        parts, sigmas = [colors.to(dtype)], [sigma_rgb] * 3
    if further is not None:
        parts.append(further.transpose(0, 1).flatten(1).to(dtype))  # (D, P)
        sigmas += [1.0] * further.shape[1]
    if sigma_xy is not None:
        y = torch.arange(height, dtype=dtype, device=images.device).view(1, -1, 1)
        x = torch.arange(width, dtype=dtype, device=images.device).view(1, 1, -1)
        parts += [axis.expand(frames, height, width).reshape(1, -1) for axis in (x, y)]
        sigmas += [sigma_xy, sigma_xy]
    return filter_for_features(torch.cat(parts).T, group, num_groups, method, sigmas)


def sum_of_others(maps: Tensor) -> Tensor:
    """Sum of all other maps, for each map: (K, P) → (K, P). No subtraction: no cancellation."""
    if len(maps) == 2:
        return maps.flip(0)
    below, above = torch.zeros_like(maps), torch.zeros_like(maps)
    below[1:] = maps[:-1].cumsum(0)
    above[:-1] = maps[1:].flip(0).cumsum(0).flip(0)
    return below + above
