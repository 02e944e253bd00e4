"""U-Net decoder: from the encoder's feature maps, however many, to the size of the frame."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (256, 128, 64, 32, 16)


class Block(nn.Module):
    """Decoder block: upsample ×2, resize to the skip's size, concatenate, twice conv-BN-ReLU.

    Upsampling is nearest, resizing bilinear.

    Args:
        deep: input channels, of the deeper map.
        skip: channels of the skip connection; 0: none.
        width: output channels.
        doubles: whether to upsample; False for a deeper map that has the frame's size.
    """

    def __init__(self, deep: int, skip: int, width: int, doubles: bool = True) -> None:
        super().__init__()
        self.doubles = doubles
        self.conv1 = _conv(deep + skip, width)
        self.conv2 = _conv(width, width)

    def forward(self, deep: Tensor, skip: Tensor | None) -> Tensor:
        """Deeper map (B, deep, h, w) and skip (B, skip, h′, w′) to (B, width, h′, w′)."""
        # Nearest upsampling followed by bilinear downsampling is the identity: both are skipped.
        if self.doubles and (skip is None or skip.shape[-2:] != deep.shape[-2:]):
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

    A block for every map but the deepest, with that map as skip connection, then blocks without
    one: as many as reach the frame's size by factors of 2, at least one. Five maps from stride 2
    on, or four from stride 4 on, give five blocks. More blocks, as after a transformer, repeat the
    first width.

    Args:
        channels: of the encoder's maps, shallow to deep.
        first_stride: stride of the shallowest map; 1: the last block does not upsample.
        centre: whether to apply a centre block, twice conv-BN-ReLU on the deepest map at its own
            width, before the first block.

    Attributes:
        width: channels of the output.
    """

    def __init__(
        self, channels: Sequence[int], first_stride: int = 2, centre: bool = False
    ) -> None:
        super().__init__()
        deepest = channels[-1]
        self.centre = nn.Sequential(*(_conv(deepest, deepest) for _ in range(2 * centre)))
        skips = [*reversed(channels[:-1])]
        skips += [0] * max(1, math.ceil(math.log2(first_stride)))
        extra = max(0, len(skips) - len(WIDTHS))
        widths = [*WIDTHS[:1] * extra, *WIDTHS][: len(skips)]
        self.width = widths[-1]
        self.blocks = nn.ModuleList(
            Block(deep, skip, width, doubles=skip > 0 or first_stride > 1)
            for deep, skip, width in zip([deepest, *widths[:-1]], skips, widths, strict=True)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, mode="fan_in", nonlinearity="relu")

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Decodes feature maps.

        Args:
            features: maps (B, C_k, H_k, W_k), shallow to deep.

        Returns:
            (B, width, H, W); H and W are the frame's if its sides are multiples of all strides and
            these are powers of 2, else close to them.
        """
        x = self.centre(features[-1])
        skips = [*reversed(features[:-1])]
        for number, block in enumerate(self.blocks):
            x = block(x, skips[number] if number < len(skips) else None)
        return x
