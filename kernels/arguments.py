"""Checks of the operators' arguments; every ValueError starts with the argument's name.

Shapes and types are always checked. Checks of content read the data, which synchronizes with a GPU:
they are skipped for the Triton backend on a GPU, where values that are not finite or out of range
make the result NaN.
"""

import importlib.util
import numbers
import os

import torch
from torch import Tensor

METHODS = ("permutohedral", "grid", "dense", "permutohedral-published")
BACKENDS = ("auto", "triton", "torch")
FORMS = ("association", "cut")
LATTICE_DIMENSIONS = (1, 5)
SIGMAS = (1e-3, 1e5)
"""Smallest and largest sigma. Below, coordinates in units of sigma lose the cell they are in to
float32's rounding; above, the Gaussian is constant over all colours and positions."""
LARGEST_FEATURE = 1e6
"""Largest coordinate of a lattice in units of sigma, for the same reason."""
TRITON = importlib.util.find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Check that value is one of the allowed words."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}: choose one of {', '.join(allowed)}")


def choose_backend(backend: str, method: str, dtype: torch.dtype, tensor: Tensor) -> str:
    """Resolve "auto" to "triton" or "torch".

    "auto" is "triton" on a GPU for supported methods and dtypes, else "torch".
    """
    check_choice("backend", backend, BACKENDS)
    if backend == "torch":
        return backend
    reason = _why_not_triton(method, dtype, tensor)
    if backend == "auto":
        return "torch" if reason or not tensor.is_cuda else "triton"
    if reason:
        raise ValueError(f"backend 'triton' {reason}: use 'auto' or 'torch'")
    return backend


def _why_not_triton(method: str, dtype: torch.dtype, tensor: Tensor) -> str | None:
    if not TRITON:
        return "is not available in this installation"
    if method == "dense":
        return "has no method 'dense'"
    if dtype == torch.float64:
        return "computes in float32, not float64"
    if not tensor.is_cuda and not INTERPRETED:
        return f"needs a GPU (or TRITON_INTERPRET=1), not {tensor.device}"
    return None


def check_sigma(name: str, sigma: float) -> None:
    """Check that sigma is a number in `SIGMAS`."""
    _check_number(name, sigma)
    if not SIGMAS[0] <= sigma <= SIGMAS[1]:
        raise ValueError(f"{name} is {sigma}: it must be in [{SIGMAS[0]:g}, {SIGMAS[1]:g}]")


def check_color_sigma(sigma: float | None, features: Tensor | None) -> None:
    """Check sigma_rgb of `crf_energy`; None is for features without colour."""
    if sigma is not None:
        check_sigma("sigma_rgb", sigma)
    elif features is None:
        raise ValueError("sigma_rgb is None: without features it must be a number")


def check_feature_limit(limit: float) -> None:
    """Check that the limit of features is a positive number, at most `LARGEST_FEATURE`."""
    _check_number("feature_limit", limit)
    if not 0 < limit <= LARGEST_FEATURE:
        raise ValueError(f"feature_limit is {limit}: it must be in (0, {LARGEST_FEATURE:g}]")


def _check_number(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError(f"{name} must be a number, not {type(value).__name__}")


def check_num_groups(num_groups: int) -> None:
    """Check that num_groups is an int of at least 1."""
    if isinstance(num_groups, bool) or not isinstance(num_groups, numbers.Integral):
        raise ValueError(f"num_groups must be an int, not {type(num_groups).__name__}")
    if num_groups < 1:
        raise ValueError(f"num_groups is {num_groups}: it must be at least 1")


def check_tensor(name: str, tensor: Tensor, dimensions: int, shape: str) -> None:
    """Check for a tensor with this number of dimensions."""
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name} must be a tensor {shape}, not {type(tensor).__name__}")
    if tensor.ndim != dimensions:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}: it must be {shape}")


def check_float(name: str, tensor: Tensor) -> None:
    """Check for a floating-point dtype."""
    if not tensor.is_floating_point():
        raise ValueError(f"{name} is {tensor.dtype}: it must be floating point")


def check_device(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    """Check that both tensors are on the same device."""
    if tensor.device != other.device:
        raise ValueError(f"{name} is on {tensor.device}, {other_name} on {other.device}")


def check_finite(name: str, tensor: Tensor) -> None:
    """Check for NaN and infinity."""
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise ValueError(f"{name} has NaN or infinite entries")


def check_group(group: Tensor, length: int, like_name: str, like: Tensor) -> None:
    """Check for integer group ids of shape (length,)."""
    check_tensor("group", group, 1, f"({length},)")
    if len(group) != length:
        raise ValueError(f"group has {len(group)} entries, {like_name} has {length}")
    if group.is_floating_point() or group.is_complex() or group.dtype == torch.bool:
        raise ValueError(f"group is {group.dtype}: it must hold integers")
    check_device("group", group, like_name, like)


def check_filter(values: Tensor, features: Tensor, method: str) -> None:
    """Check shapes and types of the tensors of `gaussian_filter`."""
    check_tensor("values", values, 2, "(P, C)")
    check_tensor("features", features, 2, "(P, d)")
    check_float("values", values)
    check_float("features", features)
    if len(values) != len(features):
        raise ValueError(f"features has {len(features)} rows, values has {len(values)}")
    check_device("features", features, "values", values)
    d = features.shape[1]
    low, high = {"grid": (3, 3), "dense": (1, d)}.get(method, LATTICE_DIMENSIONS)
    if not low <= d <= high:
        allowed = f"{low}" if low == high else f"{low}...{high}"
        raise ValueError(f"features has {d} columns: method {method!r} takes {allowed}")


def check_images(images: Tensor) -> None:
    """Check for (B, 3, H, W), uint8 or float."""
    check_tensor("images", images, 4, "(B, 3, H, W)")
    if images.shape[1] != 3:
        raise ValueError(f"images has shape {tuple(images.shape)}: it must be (B, 3, H, W)")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise ValueError(f"images is {images.dtype}: it must be uint8 or floating point")


def check_energy(images: Tensor, probs: Tensor) -> None:
    """Check shapes and types of the tensors of `crf_energy`."""
    check_images(images)
    check_tensor("probs", probs, 4, "(B, K, H, W)")
    check_float("probs", probs)
    if probs.shape[1] < 2:
        raise ValueError(f"probs has {probs.shape[1]} map(s) a frame: it must have at least 2")
    if probs.shape[0] != images.shape[0] or probs.shape[2:] != images.shape[2:]:
        raise ValueError(
            f"probs has shape {tuple(probs.shape)}, images {tuple(images.shape)}: "
            "frames, height and width must agree"
        )
    check_device("probs", probs, "images", images)


def check_energy_features(features: Tensor, images: Tensor, method: str, others: int) -> None:
    """Check shape and type of the features of `crf_energy`, beside `others` dimensions."""
    check_tensor("features", features, 4, "(B, D, H, W)")
    check_float("features", features)
    if features.shape[0] != images.shape[0] or features.shape[2:] != images.shape[2:]:
        raise ValueError(
            f"features has shape {tuple(features.shape)}, images {tuple(images.shape)}: "
            "frames, height and width must agree"
        )
    check_device("features", features, "images", images)
    if method == "grid":
        raise ValueError("features must be None with method 'grid', which uses colour only")
    most = LATTICE_DIMENSIONS[1] - others
    if features.shape[1] < 1 or (method != "dense" and features.shape[1] > most):
        raise ValueError(
            f"features has {features.shape[1]} channels: method {method!r} takes at most {most} "
            f"beside {others} of colour and position"
        )


def check_filter_content(
    values: Tensor, features: Tensor, group: Tensor, num_groups: int, method: str, backend: str
) -> None:
    """Check the content of `gaussian_filter`'s tensors; skipped for Triton on a GPU."""
    if values.is_cuda and backend == "triton":
        return
    check_group_range(group, num_groups)
    check_finite("values", values)
    check_finite("features", features)
    if method.startswith("permutohedral") and len(features):
        largest = float(features.abs().max())
        if largest > LARGEST_FEATURE:
            raise ValueError(
                f"features has the entry {largest:g}: with method {method!r} they must be in "
                f"±{LARGEST_FEATURE:g}, in units of sigma; raise sigma, or subtract the mean"
            )


def check_energy_content(
    images: Tensor,
    probs: Tensor,
    group: Tensor,
    num_groups: int,
    backend: str,
    features: Tensor | None = None,
) -> None:
    """Check the content of `crf_energy`'s tensors; skipped for Triton on a GPU."""
    if probs.is_cuda and backend == "triton":
        return
    check_group_range(group, num_groups)
    if images.dtype != torch.uint8:
        check_finite("images", images)
        if images.numel() and (float(images.min()) < 0 or float(images.max()) > 255):
            raise ValueError("images has colours outside 0...255")
    check_finite("probs", probs)
    if features is not None:
        check_finite("features", features)


def check_group_range(group: Tensor, num_groups: int) -> None:
    """Check for group ids 0...num_groups-1."""
    if len(group) and (int(group.min()) < 0 or int(group.max()) >= num_groups):
        raise ValueError(f"group has ids outside 0...{num_groups - 1}")
