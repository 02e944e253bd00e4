"""Frozen encoder of stage 2: normalization included, weights in the type of mixed precision."""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from colocam.models.base import Encoder
from colocam.runtime.device import Autocast

_Module = TypeVar("_Module", bound=nn.Module)


class FrozenEncoder(nn.Module):
    """Normalizes and encodes frames; the weights do not change any more.

    In mixed precision the weights of convolutions and linear layers are rounded once, and not in
    every step: the result is that of autocast.

    Args:
        encoder: on its device, in eval mode.
        autocast: mixed precision.
    """

    def __init__(self, encoder: Encoder, autocast: Autocast) -> None:
        super().__init__()
        self.autocast = autocast
        if autocast.dtype != torch.float32:
            encoder = _rounded(encoder, autocast.dtype)
        self.encoder = encoder

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Encodes frames (B, 3, H, W) uint8.

        Returns:
            the normalized frames (B, 3, H, W) float32, and the encoder's maps.
        """
        normalized = self.encoder.normalized(images)
        with self.autocast():
            return normalized, self.encoder(normalized)


def _rounded(module: _Module, dtype: torch.dtype) -> _Module:
    """A module with rounded weights, which shares all other tensors with the given one.

    Weights with a gain are standardized before they are used, in float32, and stay as they are.
    """
    clone = copy.copy(module)
    clone._modules = {
        name: None if child is None else _rounded(child, dtype)
        for name, child in module._modules.items()
    }
    if isinstance(module, nn.Conv2d | nn.Linear) and not hasattr(module, "gain"):
        clone._parameters = {
            name: None
            if parameter is None
            else nn.Parameter(parameter.detach().to(dtype), requires_grad=False)
            for name, parameter in module._parameters.items()
        }
    return clone
