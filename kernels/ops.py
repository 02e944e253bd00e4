"""The two doors of the Gaussian filter: arguments are checked, a method chosen, gradients kept.

All arithmetic is float32, whatever autocast says, and float64 where the input is.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from colocam.kernels import checks
from colocam.kernels.color_grid_torch import ColorGrid
from colocam.kernels.dense import DensePairs
from colocam.kernels.lattice import published_stencil
from colocam.kernels.permutohedral_torch import PermutohedralLattice


class Filter(Protocol):
    """A symmetric linear filter, ready for values: what every method builds."""

    def apply(self, values: Tensor) -> Tensor:
        """Filter values (C, P) → (C, P)."""


def gaussian_filter(
    values: Tensor,
    features: Tensor,
    group: Tensor | None = None,
    *,
    num_groups: int | None = None,
    method: str = "permutohedral",
    backend: str = "auto",
) -> Tensor:
    """Sum values over all points of a group, weighted by a Gaussian of their distance.

    out_i = sum_j exp(-|f_i - f_j|^2 / 2) v_j over all j of i's group, i included.

    Args:
        values: (P, C) float. Differentiable, any number of times.
        features: (P, d) float, in units of sigma; d = 1...5 for the lattices, 3 for "grid". They
            get no gradient.
        group: (P,) integers 0...num_groups-1; None: all points are one group.
        num_groups: number of groups; None: the largest id + 1.
        method: "permutohedral" (lattice of Adams et al. 2010), "grid", "dense" (exact, slow), or
            "permutohedral-published" (the lattice as in widely used C++, 20-50 % too small).
        backend: "auto", "torch" or "triton".

    Returns:
        (P, C), of the type of values (float16 and bfloat16: computed in float32, then rounded).

    Raises:
        ValueError: an argument does not fit; the message names it.
    """
    checks.check_choice("method", method, checks.METHODS)
    checks.check_backend(backend)
    checks.check_filter(values, features, method)
    group, num_groups = complete_group(group, num_groups, values)
    with torch.autocast(values.device.type, enabled=False):
        dtype = torch.promote_types(working_type(values), working_type(features))
        with torch.no_grad():
            built = filter_for_features(features.detach().to(dtype), group, num_groups, method)
        out = FilterValues.apply(values.T.to(dtype), built)
        return out.T.to(values.dtype)


def crf_energy(
    images: Tensor,
    probs: Tensor,
    group: Tensor,
    *,
    num_groups: int,
    sigma_rgb: float,
    sigma_xy: float | None = None,
    form: str,
    method: str,
    backend: str = "auto",
) -> Tensor:
    """Energy of a dense CRF in every group of frames (CoLo-CAM, Eq. 2 and 4).

    W_ij = exp(-|c_i - c_j|^2 / 2 sigma_rgb^2 - |p_i - p_j|^2 / 2 sigma_xy^2) over all pairs of
    pixels of a group, i = j included; with S_r the maps of the group:

    - "cut": sum_r S_r^T W (1 - S_r), with 1 - S_r taken as the sum of the other maps (>= 0);
    - "association": -sum_r S_r^T W S_r (<= 0).

    Args:
        images: (B, 3, H, W) uint8, or float 0...255.
        probs: (B, K, H, W) float, K >= 2, summing to 1 over K. Differentiable.
        group: (B,) integers 0...num_groups-1: frames with the same number belong together.
        num_groups: G; a group without frames has energy 0.
        sigma_rgb: in levels of 0...255.
        sigma_xy: in pixels; None: colour only.
        form: "association" or "cut".
        method: as in `gaussian_filter`; "grid" is for colour only.
        backend: "auto", "torch" or "triton".

    Returns:
        (G,) float32, float64 where probs is.

    Raises:
        ValueError: an argument does not fit; the message names it.
    """
    checks.check_choice("form", form, checks.FORMS)
    checks.check_choice("method", method, checks.METHODS)
    checks.check_backend(backend)
    checks.check_sigma("sigma_rgb", sigma_rgb)
    if sigma_xy is not None:
        checks.check_sigma("sigma_xy", sigma_xy)
        if method == "grid":
            raise ValueError("sigma_xy must be None with method 'grid', which knows colour only")
    checks.check_energy(images, probs)
    checks.check_num_groups(num_groups)
    group, num_groups = complete_group(group, num_groups, images)
    with torch.autocast(images.device.type, enabled=False):
        probs = probs.to(working_type(probs))
        with torch.no_grad():
            built = filter_for_images(
                images.detach(), group, num_groups, sigma_rgb, sigma_xy, method, probs.dtype
            )
        return FilterEnergy.apply(probs, built, group, num_groups, form)


def working_type(tensor: Tensor) -> torch.dtype:
    """float64 stays; everything else is computed in float32."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def complete_group(
    group: Tensor | None, num_groups: int | None, like: Tensor
) -> tuple[Tensor, int]:
    """Checked group ids (len(like),) int64, and their number."""
    name = "values" if like.ndim == 2 else "images"
    if num_groups is not None:
        checks.check_num_groups(num_groups)
    if group is None:
        return torch.zeros(len(like), dtype=torch.int64, device=like.device), int(num_groups or 1)
    if num_groups is None:
        checks.check_group(group, len(like), 2**31, name, like)
        num_groups = int(group.max()) + 1 if len(group) else 1
    checks.check_group(group, len(like), num_groups, name, like)
    return group.to(torch.int64), int(num_groups)


def filter_for_features(features: Tensor, group: Tensor, num_groups: int, method: str) -> Filter:
    """The method's filter for features (P, d), group (P,)."""
    if method == "grid":
        return ColorGrid.from_features(features.T, group, num_groups)
    if method == "dense":
        return DensePairs(features, group, num_groups)
    if method == "permutohedral":
        return PermutohedralLattice(features.T, group, num_groups)
    published = published_stencil(features.shape[1])
    return PermutohedralLattice(features.T, group, num_groups, stencil=published, ring=False)


def filter_for_images(
    images: Tensor,
    group: Tensor,
    num_groups: int,
    sigma_rgb: float,
    sigma_xy: float | None,
    method: str,
    dtype: torch.dtype,
) -> Filter:
    """The method's filter for images (B, 3, H, W), group (B,)."""
    frames, _, height, width = images.shape
    group = group.repeat_interleave(height * width)
    colors = images.transpose(0, 1).reshape(3, frames * height * width)
    if method == "grid":
        if images.dtype == torch.uint8:
            return ColorGrid.from_levels(colors, group, num_groups, sigma_rgb)
        if torch.equal(colors, colors.round()):
            return ColorGrid.from_levels(colors.to(torch.uint8), group, num_groups, sigma_rgb)
        return ColorGrid.from_colors(colors.to(dtype), group, num_groups, sigma_rgb)
    features = colors.to(dtype) / sigma_rgb
    if sigma_xy is not None:
        y = torch.arange(height, dtype=dtype, device=images.device).view(1, -1, 1) / sigma_xy
        x = torch.arange(width, dtype=dtype, device=images.device).view(1, 1, -1) / sigma_xy
        place = [axis.expand(frames, height, width).reshape(1, -1) for axis in (x, y)]
        features = torch.cat([features, *place])
    return filter_for_features(features.T, group, num_groups, method)


class FilterValues(torch.autograd.Function):
    """The filter of values (C, P). It is symmetric: its gradient is the filter of the gradient."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor, built: Filter) -> Tensor:
        """Filter once."""
        ctx.built = built
        with torch.autocast(values.device.type, enabled=False):  # backward may run under it
            return built.apply(values)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        """Filter the gradient."""
        return FilterValues.apply(grad, ctx.built), None


class FilterEnergy(torch.autograd.Function):
    """Energy of maps under a symmetric filter; one filtering serves value and gradient."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, probs: Tensor, built: Filter, group: Tensor, num_groups: int, form: str
    ) -> Tensor:
        """probs (B, K, H, W), group (B,) → (G,)."""
        frames, maps, height, width = probs.shape
        values = probs.transpose(0, 1).reshape(maps, frames * height * width)  # (K, P)
        filtered = built.apply(values)
        pull = -filtered if form == "association" else sum_of_others(filtered)
        ctx.save_for_backward(pull, group)
        ctx.shape = probs.shape
        product = (values * pull).view(maps, frames, height * width)
        per_frame = product.sum((0, 2), dtype=torch.float64)  # many terms: float32 is too short
        energy = per_frame.new_zeros(num_groups).index_add_(0, group, per_frame)
        return energy.to(probs.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        """d/dS_r of sum_r S_r^T pull_r is 2 pull_r, W being symmetric."""
        pull, group = ctx.saved_tensors
        frames, maps, height, width = ctx.shape
        pull = pull.view(maps, frames, height, width).transpose(0, 1)
        return pull * (2 * grad[group]).view(-1, 1, 1, 1), None, None, None, None


def sum_of_others(maps: Tensor) -> Tensor:
    """For each map the sum of all others, without subtracting anything: (K, P) → (K, P)."""
    if len(maps) == 2:
        return maps.flip(0)
    below, above = torch.zeros_like(maps), torch.zeros_like(maps)
    below[1:] = maps[:-1].cumsum(0)
    above[:-1] = maps[1:].flip(0).cumsum(0).flip(0)
    return below + above
