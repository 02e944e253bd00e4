"""The localizer: classifier (encoder, pooling head) and decoder over the same features."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from colocam.models.decoder import WIDTHS, Decoder
from colocam.models.encoders import ENCODERS
from colocam.models.head import Pooling, PoolingHead
from colocam.models.weights import Weights, load_weights


class Localizer(nn.Module):
    """Classifier g and decoder f of CoLo-CAM (Sec. 3).

    Args:
        encoder: a name in `ENCODERS`.
        num_classes: number of class tags.
        weights: None or "none" (random, downloads nothing), "imagenet" (torchvision's), or the
            path of a torchvision state dict (.safetensors or .pth).
        pooling: how the head pools, "wgap", "gap", "max" or "lse" (see `PoolingHead`).

    Raises:
        ValueError: unknown encoder or pooling.
        UserError: weights that cannot be had or do not fit.
    """

    def __init__(
        self,
        encoder: str = "resnet50",
        num_classes: int = 10,
        weights: Weights = None,
        pooling: Pooling = "wgap",
    ) -> None:
        super().__init__()
        if encoder not in ENCODERS:
            raise ValueError(f"encoder: unknown {encoder!r}; known: {', '.join(ENCODERS)}")
        self.encoder = ENCODERS[encoder][0]()
        load_weights(self.encoder, encoder, weights)
        self.head = PoolingHead(self.encoder.channels[-1], num_classes, pooling)
        self.decoder = Decoder(self.encoder.channels, self.encoder.strides[0], self.encoder.centre)
        self.to_maps = nn.Conv2d(WIDTHS[-1], 2, 3, padding=1)
        self.encoder_name = encoder

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (B, K) and maps (B, 2, H, W) before softmax: background, foreground.

        Args:
            images: (B, 3, H, W) float, normalized as the checkpoint's preprocessing says.
        """
        features = self.encoder(images)
        return self.classify(features), self.decode(features, images.shape[-2:])

    def classify(self, features: Sequence[Tensor]) -> Tensor:
        """Class logits (B, K) of the encoder's features."""
        return self.head(features[-1])

    def decode(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Maps (B, 2, H, W) before softmax, at the frame's `size` (H, W)."""
        maps = self.to_maps(self.decoder(features))
        if maps.shape[-2:] != tuple(size):
            maps = F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)
        return maps

    def classifier_modules(self) -> tuple[nn.Module, ...]:
        """What stage 1 trains and stage 2 freezes."""
        return self.encoder, self.head

    def decoder_modules(self) -> tuple[nn.Module, ...]:
        """What stage 2 trains."""
        return self.decoder, self.to_maps
