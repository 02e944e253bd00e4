"""The activation maps, each a function of activations and of a class score's gradient there.

A is an activation map (B, C, h, w), S the score of a class before softmax, g = ∂S/∂A, and Σ over
places runs over the h·w places of a map. Nothing here is normalized.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gradient:
    """g as a product of two factors: one that factors is never multiplied out unless it must be.

    By autograd `channel` is all of g. At the last feature map it is the weight row of the class and
    `place` says how the pooling depends on each place of the class map: 1/(h·w) for an average.

    Attributes:
        channel: (B, M, C, h, w), or (B, M, C, 1, 1): the same at every place.
        place: (B, M, h, w) not negative, or (1, 1, 1, 1); the same at every place if `channel`
            is not.
    """

    channel: Tensor
    place: Tensor

    def dense(self) -> Tensor:
        """The product: (B, M, C, h, w), or (B, M, C, 1, 1) if it is the same at every place."""
        return self.channel * self.place[:, :, None]


def cam(activations: Tensor, gradient: Gradient) -> Tensor:
    """CAM (Zhou et al. 2016, Eq. 2): Σ_k w_k A_k with w the weight row of the class; no ReLU.

    Args:
        activations: (B, C, h, w) last feature map.
        gradient: factored, of M classes.

    Returns:
        (B, M, h, w); may be negative.
    """
    return _weighted_sum(gradient.channel[..., 0, 0], activations)


def gradcam(activations: Tensor, gradient: Gradient) -> Tensor:
    """GradCAM (Selvaraju et al. 2017, Eq. 1 and 2): ReLU(Σ_k α_k A_k), α_k the mean of g_k.

    At the last map it is ReLU(CAM) over h·w, whatever the pooling.

    Args and result as in `cam`; the result is not negative.
    """
    # One of the two factors is the same at every place: the mean of the product is theirs.
    means = gradient.channel.mean((3, 4)) * gradient.place.mean((2, 3))[..., None]
    return _weighted_sum(means, activations).relu()


def xgradcam(activations: Tensor, gradient: Gradient) -> Tensor:
    """XGradCAM (Fu et al. 2020): ReLU(Σ_k α_k A_k), α_k = Σ g_k A_k / Σ A_k over places.

    It differs from GradCAM in α alone. At the last map with an average as pooling g is the same at
    every place and both coincide. A channel that sums to 0 gets α = 0.

    Args and result as in `gradcam`.
    """
    total = activations.sum((2, 3))[:, None]  # (B, 1, C)
    aligned = torch.einsum(
        "bmij,bcij,bmcij->bmc", gradient.place, activations, gradient.channel
    )  # in this order: what factors is summed over the places first
    return _weighted_sum(_over(aligned, total), activations).relu()


def layercam(activations: Tensor, gradient: Gradient) -> Tensor:
    """LayerCAM (Jiang et al. 2021): ReLU(Σ_k ReLU(g_k) ∘ A_k), place by place.

    The scaling by tanh (Eq. 9), with which that paper fuses shallow layers, is left out.

    Args and result as in `gradcam`.
    """
    positive = gradient.channel.relu()
    maps = torch.einsum("bmcij,bcij->bmij", positive, activations)
    return (maps * gradient.place).relu()


def gradcam_plus_plus(
    activations: Tensor, gradient: Gradient, curvature: Gradient | None = None
) -> Tensor:
    """GradCAM++ (Chattopadhay et al. 2018): ReLU(Σ_k w_k A_k), w_k = Σ α_k ReLU(g_k) over places.

    α = g² / (2 g² + g³ Σ A) (Eq. 19), with Σ A over all places of the channel: the score whose
    derivatives these are is exp(S), and the network between A and S is taken as piecewise linear,
    so that they are exp(S)·g, exp(S)·g², exp(S)·g³. The ReLU on g and on the map are the paper's;
    its factor exp(S), one number a map, is left out. g² is cancelled: that needs no constant
    against division by zero as packages have it (1e-6 is far more than g² at a last feature map).
    Meant for maps that are not negative, where the denominator is at least 2; elsewhere it may
    pass through 0, where it is set to 1.

    Args:
        activations: (B, C, h, w).
        gradient: of M classes.
        curvature: third over second derivative, if that is not the gradient itself.

    Returns:
        (B, M, h, w), not negative.
    """
    height, width = activations.shape[2:]
    total = activations.sum((2, 3))[:, None, :, None, None]  # (B, 1, C, 1, 1)
    slope = gradient.dense()
    denominator = 2 + total * (slope if curvature is None else curvature.dense())
    # A mean, for what is the same at every place stands there once.
    means = (slope.relu() / denominator.masked_fill(denominator == 0, 1)).mean((3, 4))
    return _weighted_sum(means * (height * width), activations).relu()


def moments(gradients: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """What Smooth-GradCAM++ (Omeiza et al. 2019) takes from noisy images.

    GradCAM++ with the derivatives D¹ = g, D² = g², D³ = g³ averaged over the noisy images before
    they enter α = D² / (2 D² + D³ Σ A) and w = Σ α ReLU(D¹); A is that of the image without noise.
    The paper prints D¹ as α's numerator; with one image and no noise that would not be
    GradCAM++, so D² stands here, as in TorchCAM. exp(S) is left out of every image's derivatives.

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
    return first / count, _over(third, second)


Formula = Callable[[Tensor, Gradient], Tensor]


def _weighted_sum(weights: Tensor, activations: Tensor) -> Tensor:
    return torch.einsum("bmc,bcij->bmij", weights, activations)


def _over(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, 0 where the denominator is 0."""
    empty = denominator == 0
    return (numerator / denominator.masked_fill(empty, 1)).masked_fill(empty, 0)
