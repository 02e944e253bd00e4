"""U-Net decoder: from the encoder's feature maps back to the size of the frame."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (256, 128, 64, 32, 16)


class Block(nn.Module):
    """Upsample ×2 (nearest), match the skip's size (bilinear), concatenate, twice conv-BN-ReLU."""

    def __init__(self, deep: int, skip: int, width: int) -> None:
        super().__init__()
        self.conv1 = _conv(deep + skip, width)
        self.conv2 = _conv(width, width)

    def forward(self, deep: Tensor, skip: Tensor | None) -> Tensor:
        # Doubling by nearest and halving by bilinear is the identity: do neither.
        if skip is None or skip.shape[-2:] != deep.shape[-2:]:
            deep = F.interpolate(deep, scale_factor=2, mode="nearest")
        if skip is not None:
            if skip.shape[-2:] != deep.shape[-2:]:
                deep = F.interpolate(deep, skip.shape[-2:], mode="bilinear", align_corners=False)
            deep = torch.cat([deep, skip], dim=1)
        return self.conv2(self.conv1(deep))


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Decoder(nn.Module):
    """U-Net decoder of widths 256, 128, 64, 32, 16 (Ronneberger et al. 2015; CoLo-CAM, Sec. 4.1).

    Args:
        channels: the encoder's channels, shallow to deep (five maps, the first at half size).
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        skips = [*reversed(channels[:-1]), 0]
        deeps = [channels[-1], *WIDTHS[:-1]]
        self.blocks = nn.ModuleList(
            Block(deep, skip, width) for deep, skip, width in zip(deeps, skips, WIDTHS, strict=True)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, mode="fan_in", nonlinearity="relu")

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Maps (B, C_k, H_k, W_k), shallow to deep, to (B, 16, 2·H_0, 2·W_0)."""
        x = features[-1]
        skips = [*reversed(features[:-1]), None]
        for block, skip in zip(self.blocks, skips, strict=True):
            x = block(x, skip)
        return x
