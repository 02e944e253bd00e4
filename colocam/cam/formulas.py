"""CAM formulas: maps as functions of activations and the gradient of a class score.

A is an activation map (B, C, h, w), S the score of a class before softmax, g = ∂S/∂A, and Σ over
positions runs over the h·w positions of a map. Maps are not normalized.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gradient:
    """Gradient g as a product of two factors, which is multiplied out only where necessary.

    From autograd, `channel` is g and `spatial` is 1. At the last feature map `channel` is the
    weight row of the class, and `spatial` the derivative of the pooling at each position of the
    class map (1/(h·w) for an average).

    Attributes:
        channel: (B, M, C, h, w), or (B, M, C, 1, 1) if constant over positions.
        spatial: (B, M, h, w), not negative, or (1, 1, 1, 1) if constant over positions; must be
            constant if `channel` is not.
    """

    channel: Tensor
    spatial: Tensor

    def dense(self) -> Tensor:
        """The product: (B, M, C, h, w), or (B, M, C, 1, 1) if constant over positions."""
        return self.channel * self.spatial[:, :, None]


def cam(activations: Tensor, gradient: Gradient) -> Tensor:
    """CAM (Zhou et al. 2016, Eq. 2): Σ_k w_k A_k with w the weight row of the class; no ReLU.

    Args:
        activations: (B, C, h, w) last feature map.
        gradient: of M classes, with `channel` constant over positions.

    Returns:
        (B, M, h, w); may be negative.
    """
    return _weighted_sum(gradient.channel[..., 0, 0], activations)


def gradcam(activations: Tensor, gradient: Gradient) -> Tensor:
    """GradCAM (Selvaraju et al. 2017, Eq. 1 and 2): ReLU(Σ_k α_k A_k), α_k the mean of g_k.

    At the last feature map it equals ReLU(CAM) / (h·w) for every pooling.

    Args and result as in `cam`; the result is not negative.
    """
    # One of the two factors is constant over positions: the mean of the product is theirs.
    means = gradient.channel.mean((3, 4)) * gradient.spatial.mean((2, 3))[..., None]
    return _weighted_sum(means, activations).relu()


def xgradcam(activations: Tensor, gradient: Gradient) -> Tensor:
    """XGradCAM (Fu et al. 2020): ReLU(Σ_k α_k A_k), α_k = Σ g_k A_k / Σ A_k over positions.

    It differs from GradCAM in α only. At the last feature map with average pooling g is constant
    over positions, and both coincide. A channel that sums to 0 gets α = 0.

    Args and result as in `gradcam`.
    """
    total = activations.sum((2, 3))[:, None]  # (B, 1, C)
    aligned = torch.einsum(
        "bmij,bcij,bmcij->bmc", gradient.spatial, activations, gradient.channel
    )  # in this order: factored gradients are summed over positions first
    return _weighted_sum(_divide(aligned, total), activations).relu()


def layercam(activations: Tensor, gradient: Gradient) -> Tensor:
    """LayerCAM (Jiang et al. 2021): ReLU(Σ_k ReLU(g_k) ∘ A_k), elementwise over positions.

    The paper's scaling by tanh (Eq. 9), for the fusion of shallow layers, is not applied.

    Args and result as in `gradcam`.
    """
    positive = gradient.channel.relu()
    maps = torch.einsum("bmcij,bcij->bmij", positive, activations)
    return (maps * gradient.spatial).relu()


def gradcam_plus_plus(
    activations: Tensor, gradient: Gradient, curvature: Gradient | None = None
) -> Tensor:
    """GradCAM++ (Chattopadhay et al. 2018): ReLU(Σ_k w_k A_k), w_k = Σ α_k ReLU(g_k).

    α = g² / (2 g² + g³ Σ A) (Eq. 19), with Σ A over all positions of the channel. The paper takes
    the derivatives of exp(S) and a piecewise linear network between A and S, so that they are
    exp(S)·g, exp(S)·g², exp(S)·g³. The ReLU on g and on the map are the paper's; its factor exp(S),
    one number per map, is omitted. g² is cancelled, so that no constant against division by zero
    is needed (1e-6, as other packages add, is far more than g² at a last feature map). Intended for
    activations that are not negative, where the denominator is at least 2; otherwise a denominator
    of 0 is set to 1.

    Args:
        activations: (B, C, h, w).
        gradient: of M classes.
        curvature: third over second derivative; None: the gradient itself.

    Returns:
        (B, M, h, w), not negative.
    """
    height, width = activations.shape[2:]
    total = activations.sum((2, 3))[:, None, :, None, None]  # (B, 1, C, 1, 1)
    slope = gradient.dense()
    denominator = 2 + total * (slope if curvature is None else curvature.dense())
    # A mean, since a factor that is constant over positions is stored once.
    means = (slope.relu() / denominator.masked_fill(denominator == 0, 1)).mean((3, 4))
    return _weighted_sum(means * (height * width), activations).relu()


def moments(gradients: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Averaged derivatives over noisy images, for Smooth-GradCAM++ (Omeiza et al. 2019).

    Smooth-GradCAM++ is GradCAM++ with the derivatives D¹ = g, D² = g², D³ = g³ averaged over noisy
    images in α = D² / (2 D² + D³ Σ A) and w = Σ α ReLU(D¹); A is that of the image without noise.
    The paper prints D¹ as the numerator of α; with one image and no noise that would not equal
    GradCAM++, so that D² is used here, as in TorchCAM. The factor exp(S) is omitted.

    Args:
        gradients: g of each noisy image, all of one shape.

    Returns:
        D¹ and D³/D² (0 where D² is), of that shape.
    """
    first = second = third = torch.zeros(())
    count = 0
    for gradient in gradients:
        square = gradient**2
        first, second, third = first + gradient, second + square, third + square * gradient
        count += 1
    return first / count, _divide(third, second)


Formula = Callable[[Tensor, Gradient], Tensor]


def _weighted_sum(weights: Tensor, activations: Tensor) -> Tensor:
    return torch.einsum("bmc,bcij->bmij", weights, activations)


def _divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, 0 where the denominator is 0."""
    empty = denominator == 0
    return (numerator / denominator.masked_fill(empty, 1)).masked_fill(empty, 0)
