"""Localizer: classifier (encoder, pooling head) and decoder over the same features."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colocam.models.decoder import Decoder
from colocam.models.encoders import make_encoder
from colocam.models.head import Pooling, PoolingHead
from colocam.models.weights import Weights, load_weights


class Localizer(nn.Module):
    """Classifier g and decoder f of CoLo-CAM (Sec. 3).

    Args:
        encoder: a name in `ENCODERS`, or "timm:NAME" or "timm:NAME:half" for a timm model
            (extra `timm`, see `TimmEncoder`).
        num_classes: number of class tags.
        weights: None or "none" (random, nothing is downloaded), "imagenet", or the path of a state
            dict of torchvision or timm (.safetensors or .pth).
        pooling: pooling of the head, "wgap", "gap", "max" or "lse" (see `PoolingHead`).

    Raises:
        ValueError: unknown encoder or pooling.
        UserError: timm is not installed or has no such model with feature maps; the weights cannot
            be downloaded or read, or are of another architecture.
    """

    def __init__(
        self,
        encoder: str = "resnet50",
        num_classes: int = 10,
        weights: Weights = None,
        pooling: Pooling = "wgap",
    ) -> None:
        super().__init__()
        self.encoder = make_encoder(encoder)
        load_weights(self.encoder, encoder, weights)
        self.head = PoolingHead(self.encoder.channels[-1], num_classes, pooling)
        self.decoder = Decoder(
            self.encoder.channels[: self.encoder.decoder_maps],
            self.encoder.strides[0],
            self.encoder.centre,
        )
        self.to_maps = nn.Conv2d(self.decoder.width, 2, 3, padding=1)
        self.encoder_name = encoder

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Computes class logits and score maps.

        Args:
            images: (B, 3, H, W) float, normalized by `Encoder.normalized`.

        Returns:
            class logits (B, K), and maps (B, 2, H, W) before softmax: background, foreground.
        """
        features = self.encoder(images)
        return self.classify(features), self.decode(features, images.shape[-2:])

    def classify(self, features: Sequence[Tensor]) -> Tensor:
        """Computes class logits (B, K) from the encoder's features."""
        return self.head(features[-1])

    def decode(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Computes maps (B, 2, H, W) before softmax.

        Args:
            features: the encoder's maps, shallow to deep.
            size: (H, W) of the frame.
        """
        maps = self.to_maps(self.decoder(features[: self.encoder.decoder_maps]))
        if maps.shape[-2:] != tuple(size):
            maps = F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)
        return maps

    def middle_map(self, features: Sequence[Tensor]) -> Tensor:
        """Returns the map in the middle of those that the decoder takes: stride 8 of ResNets."""
        return features[len(features[: self.encoder.decoder_maps]) // 2]

    @torch.no_grad()
    def set_initial_foreground(self, share: float) -> None:
        """Initializes the last convolution so that S¹ is `share` at every pixel of every frame.

        The joint term moves every colour toward its majority label. Of maps with random weights
        that is the same label everywhere, foreground or background by chance, and they can stay
        there. A small share makes it background, which seeds then correct (the same prior as of
        Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, Section 4.1).

        Args:
            share: in (0, 1).
        """
        assert self.to_maps.bias is not None
        half = math.log(share / (1 - share)) / 2
        self.to_maps.weight.zero_()
        self.to_maps.bias.copy_(torch.tensor([-half, half]))

    def classifier_modules(self) -> tuple[nn.Module, ...]:
        """Returns encoder and head, which stage 1 trains and stage 2 freezes."""
        return self.encoder, self.head

    def decoder_modules(self) -> tuple[nn.Module, ...]:
        """Returns decoder and last convolution, which stage 2 trains."""
        return self.decoder, self.to_maps
