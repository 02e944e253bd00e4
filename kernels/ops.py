"""Public operators `gaussian_filter` and `crf_energy`, registered with torch.library.

Each is one node for torch.compile. Shapes and types of arguments are always checked; their content
is checked where that does not synchronize with a GPU. All arithmetic is in float32, whatever
autocast says, or in float64 for float64 input.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from colocam.kernels import arguments, backend_torch


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
        features: (P, d) float, in units of sigma; d = 1...5 for the lattices, within ±1e6; 3 for
            "grid". Not differentiable.
        group: (P,) integers 0...num_groups-1; None: all points form one group.
        num_groups: number of groups; None: the largest id + 1.
        method: "permutohedral" (lattice of Adams et al. 2010), "grid", "dense" (exact, slow), or
            "permutohedral-published" (the lattice of widely used C++ code, results 20-50 % too
            small).
        backend: "auto" (Triton kernels on a GPU where they support the input, else PyTorch),
            "torch" or "triton".

    Returns:
        (P, C), of the dtype of values (float16 and bfloat16: computed in float32, then rounded).

    Raises:
        ValueError: an argument is invalid; the message starts with its name.
    """
    arguments.check_choice("method", method, arguments.METHODS)
    arguments.check_filter(values, features, method)
    group, num_groups = complete_group(group, num_groups, values)
    dtype = torch.promote_types(working_type(values), working_type(features))
    backend = arguments.choose_backend(backend, method, dtype, values)
    out = filter_values(
        values.to(dtype), features.detach().to(dtype), group, num_groups, method, backend
    )
    return out.to(values.dtype)


def crf_energy(
    images: Tensor,
    probs: Tensor,
    group: Tensor,
    *,
    num_groups: int,
    sigma_rgb: float | None,
    sigma_xy: float | None = None,
    features: Tensor | None = None,
    feature_limit: float = 16.0,
    form: str,
    method: str,
    backend: str = "auto",
) -> Tensor:
    """Energy of a dense CRF over each group of frames (CoLo-CAM, Eq. 2 and 4).

    W_ij = exp(-|c_i - c_j|^2 / 2 sigma_rgb^2 - |p_i - p_j|^2 / 2 sigma_xy^2 - |f_i - f_j|^2 / 2)
    over all pairs of pixels of a group, i = j included, of colours c, positions p and features f;
    with S_r the maps of the group:

    - "cut": sum_r S_r^T W (1 - S_r), 1 - S_r computed as the sum of the other maps (>= 0);
    - "association": -sum_r S_r^T W S_r (<= 0).

    Args:
        images: (B, 3, H, W) uint8, or float 0...255.
        probs: (B, K, H, W) float in 0...1, K >= 2, summing to 1 over K. Differentiable. The Triton
            backend returns NaN for groups with values that are far outside.
        group: (B,) integers 0...num_groups-1: frames with the same number form one group.
        num_groups: G; a group without frames has energy 0.
        sigma_rgb: in levels of 0...255; 0.001 to 100000; None: colour plays no part, and features
            are needed.
        sigma_xy: in pixels, 0.001 to 100000; None: position plays no part.
        features: (B, D, H, W) float, further features of the pixels, in units of their sigma; None:
            none. Not differentiable. The lattices take at most five dimensions in all.
        feature_limit: features are limited to ± this value; the tables of the lattice on a GPU grow
            with it.
        form: "association" or "cut".
        method: as in `gaussian_filter`; "grid" is for colour only.
        backend: as in `gaussian_filter`.

    Returns:
        (G,) float32, or float64 for float64 probs.

    Raises:
        ValueError: an argument is invalid; the message starts with its name.
    """
    arguments.check_choice("form", form, arguments.FORMS)
    arguments.check_choice("method", method, arguments.METHODS)
    arguments.check_color_sigma(sigma_rgb, features)
    if sigma_xy is not None:
        arguments.check_sigma("sigma_xy", sigma_xy)
        if method == "grid":
            raise ValueError("sigma_xy must be None with method 'grid', which uses colour only")
    arguments.check_energy(images, probs)
    if features is not None:
        arguments.check_energy_features(
            features, images, method, 3 * (sigma_rgb is not None) + 2 * (sigma_xy is not None)
        )
        arguments.check_feature_limit(feature_limit)
        # from 0 on, as colours and positions
        features = features.detach().clamp(-feature_limit, feature_limit) + feature_limit
    arguments.check_num_groups(num_groups)
    group, num_groups = complete_group(group, num_groups, images)
    probs = probs.to(working_type(probs))
    backend = arguments.choose_backend(backend, method, probs.dtype, probs)
    sigma_rgb = None if sigma_rgb is None else float(sigma_rgb)
    sigma_xy = None if sigma_xy is None else float(sigma_xy)
    if (
        backend == "triton"
        and method == "grid"
        and sigma_rgb is not None
        and _on_nodes(images, probs, group, num_groups, sigma_rgb)
    ):
        return energy_on_nodes(images.detach(), probs, group, num_groups, sigma_rgb, form)[0]
    energy, _ = energy_and_half_grad(
        images.detach(), probs, group, num_groups, sigma_rgb, sigma_xy, form, method, backend,
        features, 2 * float(feature_limit),
    )  # fmt: skip
    return energy


def working_type(tensor: Tensor) -> torch.dtype:
    """dtype of the arithmetic: float64 for float64, else float32."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def complete_group(
    group: Tensor | None, num_groups: int | None, like: Tensor
) -> tuple[Tensor, int]:
    """Checked group ids (len(like),) int64, and the number of groups."""
    name = "values" if like.ndim == 2 else "images"
    if num_groups is not None:
        arguments.check_num_groups(num_groups)
    if group is None:
        return torch.zeros(len(like), dtype=torch.int64, device=like.device), int(num_groups or 1)
    if num_groups is None:
        arguments.check_group(group, len(like), name, like)
        num_groups = int(group.max()) + 1 if len(group) else 1
    arguments.check_group(group, len(like), name, like)
    return group.to(torch.int64), int(num_groups)


@contextmanager
def working_on(tensor: Tensor) -> Iterator[None]:
    """Context with the tensor's device as the current one, and with autocast disabled.

    Triton launches on the current device; autocast would round intermediate results.
    """
    with torch.cuda.device_of(tensor), torch.autocast(tensor.device.type, enabled=False):
        yield


@torch.library.custom_op("colocam::filter_values", mutates_args=())
def filter_values(
    values: Tensor, features: Tensor, group: Tensor, num_groups: int, method: str, backend: str
) -> Tensor:
    """`gaussian_filter` of values (P, C), features (P, d) of one dtype → (P, C)."""
    arguments.check_filter_content(values, features, group, num_groups, method, backend)
    with working_on(values):
        if backend == "triton":
            from colocam.kernels import backend_triton

            return backend_triton.filtered_values(values, features, group, num_groups, method)
        out = backend_torch.filtered_values(values, features, group, num_groups, method)
        return out.contiguous()


@filter_values.register_fake
def _(
    values: Tensor, features: Tensor, group: Tensor, num_groups: int, method: str, backend: str
) -> Tensor:
    return values.new_empty(values.shape)


def _save_features(ctx: Any, inputs: tuple, output: Tensor) -> None:
    _, features, group, *ctx.rest = inputs
    ctx.save_for_backward(features, group)


def _filter_gradient(ctx: Any, grad: Tensor) -> tuple:
    """Gradient of values: the filtered gradient, as the filter is symmetric."""
    features, group = ctx.saved_tensors
    return filter_values(grad, features, group, *ctx.rest), None, None, None, None, None


filter_values.register_autograd(_filter_gradient, setup_context=_save_features)


@torch.library.custom_op("colocam::energy_and_half_grad", mutates_args=())
def energy_and_half_grad(
    images: Tensor,
    probs: Tensor,
    group: Tensor,
    num_groups: int,
    sigma_rgb: float | None,
    sigma_xy: float | None,
    form: str,
    method: str,
    backend: str,
    features: Tensor | None = None,
    feature_extent: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Energies (G,) of probs (B, K, H, W), and half their derivative (B, K, H, W).

    Features are from 0 to feature_extent.
    """
    arguments.check_energy_content(images, probs, group, num_groups, backend, features)
    operands = (images, probs, group, num_groups, sigma_rgb, sigma_xy, form, method, features)
    with working_on(probs):
        if backend == "triton":
            from colocam.kernels import backend_triton

            return backend_triton.energy_and_half_grad(*operands, feature_extent)
        return backend_torch.energy_and_half_grad(*operands)


@energy_and_half_grad.register_fake
def _(
    images: Tensor,
    probs: Tensor,
    group: Tensor,
    num_groups: int,
    sigma_rgb: float | None,
    sigma_xy: float | None,
    form: str,
    method: str,
    backend: str,
    features: Tensor | None = None,
    feature_extent: float = 0.0,
) -> tuple[Tensor, Tensor]:
    frames, maps, height, width = probs.shape
    if backend == "triton":
        return probs.new_empty(num_groups), probs.new_empty(probs.shape)
    half_grad = probs.new_empty(maps, frames, height, width).transpose(0, 1)
    return probs.new_empty(num_groups), half_grad


def _save_half_grad(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)  # the half gradient has no gradient of its own
    ctx.save_for_backward(output[1], inputs[2])
    ctx.backend = inputs[8]


def _energy_gradient(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple:
    none = (None,) * 9
    if grad is None:
        return None, None, *none
    half_grad, group = ctx.saved_tensors
    return None, gradient_of_probs(half_grad, grad, group, ctx.backend), *none


energy_and_half_grad.register_autograd(_energy_gradient, setup_context=_save_half_grad)


@torch.library.custom_op("colocam::gradient_of_probs", mutates_args=())
def gradient_of_probs(half_grad: Tensor, grad: Tensor, group: Tensor, backend: str) -> Tensor:
    """Gradient of probs: half_grad (B, K, H, W), grad (G,), group (B,) → (B, K, H, W).

    An operator of its own without a derivative: a second derivative of the energy would need
    another filtering, so that requesting it raises an error instead of returning a wrong result.
    """
    if backend == "triton":
        from colocam.kernels import energy_triton

        with torch.cuda.device_of(half_grad):
            return energy_triton.scaled_half_grad(half_grad, grad, group)
    number = group.clamp(0, len(grad) - 1)  # half_grad is NaN where a group does not exist
    return half_grad * (2 * grad[number]).view(-1, 1, 1, 1)


@gradient_of_probs.register_fake
def _(half_grad: Tensor, grad: Tensor, group: Tensor, backend: str) -> Tensor:
    return torch.empty_like(half_grad)


def _on_nodes(images: Tensor, probs: Tensor, group: Tensor, num_groups: int, sigma: float) -> bool:
    """Whether `energy_on_nodes` can compute an energy on colour alone."""
    from colocam.kernels.color_grid.energy_triton import MAPS, EnergyOnNodes

    if images.dtype != torch.uint8 or probs.shape[1] != MAPS or not probs.numel():
        return False
    return EnergyOnNodes(images, group, num_groups, sigma, "association").fits()


@torch.library.custom_op("colocam::energy_on_nodes", mutates_args=())
def energy_on_nodes(
    images: Tensor, probs: Tensor, group: Tensor, num_groups: int, sigma: float, form: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Energies (G,) by `EnergyOnNodes`, and what their gradient needs."""
    from colocam.kernels.color_grid.energy_triton import EnergyOnNodes

    arguments.check_energy_content(images, probs, group, num_groups, "triton", None)
    with working_on(probs):
        # kernels assume that groups have stride 1
        energy = EnergyOnNodes(images, group.contiguous(), num_groups, sigma, form)
        return energy.forward(probs)


@energy_on_nodes.register_fake
def _(
    images: Tensor, probs: Tensor, group: Tensor, num_groups: int, sigma: float, form: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    from colocam.kernels.color_grid.energy_triton import EnergyOnNodes

    energy = EnergyOnNodes(images, group, num_groups, sigma, form)
    *kept, nodes = energy.shapes()
    state, cell_list, color_of = (probs.new_empty(shape, dtype=torch.int32) for shape in kept)
    return probs.new_empty(num_groups), state, cell_list, color_of, probs.new_empty(nodes)


def _save_nodes(ctx: Any, inputs: tuple, output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)  # what the gradient needs has no gradient of its own
    ctx.mark_non_differentiable(*output[1:])
    images, _, group, *ctx.rest = inputs
    ctx.save_for_backward(images, group, *output[1:])


def _nodes_gradient(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple:
    none = (None,) * 4
    if grad is None:
        return None, None, *none
    images, group, *kept = ctx.saved_tensors
    return None, gradient_from_nodes(grad, images, group, *kept, *ctx.rest), *none


energy_on_nodes.register_autograd(_nodes_gradient, setup_context=_save_nodes)


@torch.library.custom_op("colocam::gradient_from_nodes", mutates_args=())
def gradient_from_nodes(
    grad: Tensor,
    images: Tensor,
    group: Tensor,
    state: Tensor,
    cell_list: Tensor,
    color_of: Tensor,
    nodes: Tensor,
    num_groups: int,
    sigma: float,
    form: str,
) -> Tensor:
    """Gradient of probs from grad (G,) and what `energy_on_nodes` returned → (B, 2, H, W).

    Without a derivative, as `gradient_of_probs`.
    """
    from colocam.kernels.color_grid.energy_triton import EnergyOnNodes

    with working_on(grad):
        energy = EnergyOnNodes(images, group.contiguous(), num_groups, sigma, form)
        return energy.gradient(grad, state, cell_list, color_of, nodes)


@gradient_from_nodes.register_fake
def _(grad: Tensor, images: Tensor, *kept: Any) -> Tensor:
    frames, _, height, width = images.shape
    return grad.new_empty(frames, 2, height, width)
