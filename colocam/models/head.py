"""Pooling head of the classifier: from the last feature map to class logits."""

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pooling = Literal["wgap", "gap", "max", "lse"]
SHARPNESS = 10.0  # r of "lse": its limit is the mean for r → 0, the maximum for r → ∞


class PoolingHead(nn.Linear):
    """Linear layer and spatial pooling: class maps M_k = Σ_c weight_kc A_c, pooled, plus a bias.

    - "wgap": mean of every feature, then the linear layer (Zhou et al. 2016).
    - "gap": mean of the class maps (Lin et al. 2014). With one linear layer both are the same
      function; "gap" computes the maps first and takes longer.
    - "max": maximum of the class maps (Oquab et al. 2015).
    - "lse": log-mean-exp, (1/r)·log mean exp(r·M), r = 10 (Pinheiro and Collobert 2015).

    Args:
        channels: C of the last feature map.
        num_classes: K.
        pooling: one of the above.

    Attributes:
        weight: (K, C).
        bias: (K,).

    Raises:
        ValueError: unknown pooling.
    """

    def __init__(self, channels: int, num_classes: int, pooling: Pooling = "wgap") -> None:
        if pooling not in get_args(Pooling):
            known = ", ".join(get_args(Pooling))
            raise ValueError(f"pooling: unknown {pooling!r}; known: {known}")
        super().__init__(channels, num_classes)
        self.pooling = pooling

    def forward(self, features: Tensor) -> Tensor:
        """Computes class logits (B, K) from the last feature map (B, C, h, w)."""
        if self.pooling == "wgap":
            return F.linear(features.mean(dim=(2, 3)), self.weight, self.bias)
        maps = self.class_maps(features)
        if self.pooling == "gap":
            scores = maps.mean(dim=(2, 3))
        elif self.pooling == "max":
            scores = maps.amax(dim=(2, 3))
        else:
            positions = maps.shape[2] * maps.shape[3]
            scores = torch.logsumexp(SHARPNESS * maps, dim=(2, 3)) - math.log(positions)
            scores = scores / SHARPNESS
        return scores + self.bias

    def class_maps(self, features: Tensor) -> Tensor:
        """Computes class maps (B, K, h, w) from features (B, C, h, w), without the bias.

        Precision is at least float32, also under autocast: in bfloat16 many positions would share
        the maximum.
        """
        dtype = torch.promote_types(features.dtype, torch.float32)
        with torch.autocast(features.device.type, enabled=False):
            return torch.einsum("kc,bchw->bkhw", self.weight.to(dtype), features.to(dtype))

    def pooling_weights(self, features: Tensor, classes: Tensor) -> Tensor:
        """Returns the derivative of a class score by its class map, d score / d M.

        The gradient of the score of class k by the last feature map is weight[k] ⊗ this. Positions
        that share the maximum share the derivative evenly, as in autograd.

        Args:
            features: (B, C, h, w) last feature map.
            classes: (B, M) integers 0…K−1.

        Returns:
            (B, M, h, w), at least float32, summing to 1 over the positions; for the two averages
            an expanded scalar, read-only.
        """
        height, width = features.shape[-2:]
        if self.pooling in ("wgap", "gap"):
            dtype = torch.promote_types(features.dtype, torch.float32)
            share = features.new_full((), 1 / (height * width), dtype=dtype)
            return share.expand(*classes.shape, height, width)
        chosen = classes[:, :, None, None].expand(-1, -1, height, width)
        maps = self.class_maps(features).gather(1, chosen)
        if self.pooling == "lse":
            return (SHARPNESS * maps).flatten(2).softmax(dim=2).view_as(maps)
        highest = (maps == maps.amax(dim=(2, 3), keepdim=True)).to(maps.dtype)
        return highest / highest.sum(dim=(2, 3), keepdim=True)

    def extra_repr(self) -> str:
        """Returns the arguments, for `print`."""
        return f"{super().extra_repr()}, pooling={self.pooling}"
