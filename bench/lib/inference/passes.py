"""Timed forward passes of inference, by method."""

from collections.abc import Callable
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colocam.cam import ActivationMap, Method, normalized_map
from colocam.models import Localizer

LOCALIZER = "localizer"
CAMS: tuple[Method, ...] = get_args(Method)
METHODS = (LOCALIZER, *CAMS)


class Encode(nn.Module):
    """Encoder and head: normalized frames (B, 3, H, W) to class logits (B, K) and feature maps."""

    def __init__(self, model: Localizer) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Class logits (B, K) and feature maps of the encoder."""
        features = self.model.encoder(images)
        return self.model.classify(features), features


class Score(nn.Module):
    """Decoder and softmax: feature maps to score maps S¹ (B, size, size) float32."""

    def __init__(self, model: Localizer, size: int) -> None:
        super().__init__()
        self.model, self.size = model, (size, size)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Score maps S¹ (B, size, size) float32."""
        return F.softmax(self.model.decode(features, self.size).float(), dim=1)[:, 1]


class Passes:
    """Timed passes, called by name of the method.

    Args:
        model: in eval mode; channels-last.
        size: side of the frames, pixels.
        autocast: creates the context of a pass.
        compiled: whether `Encode`, shared by the CAMs, and `Score` are compiled by torch.compile.
            Normalization of the frames and computation of a CAM from features are not compiled.
    """

    def __init__(
        self, model: Localizer, size: int, autocast: Callable[[], torch.autocast], compiled: bool
    ) -> None:
        self.model, self.size, self.autocast = model, (size, size), autocast
        self.encode: Callable[[Tensor], tuple[Tensor, list[Tensor]]] = Encode(model)
        self.score: Callable[[list[Tensor]], Tensor] = Score(model, size)
        if compiled:
            self.encode = torch.compile(self.encode, dynamic=False)
            self.score = torch.compile(self.score, dynamic=False)
        self.cams: dict[str, ActivationMap] = {cam: ActivationMap(model, cam) for cam in CAMS}

    def __call__(self, method: str, images: Tensor) -> tuple[Tensor, Tensor]:
        """Runs a pass: class logits (B, K), and maps (B, H, W) in [0, 1].

        Maps are score maps S¹, or CAMs of the most probable class.

        Args:
            method: one of `METHODS`.
            images: (B, 3, H, W) uint8, on the model's device.
        """
        inputs = self.model.encoder.normalized(images)
        with self.autocast():
            logits, features = self.encode(inputs)
            if method == LOCALIZER:
                return logits, self.score(features)
            maps = self.cams[method].from_features(features, logits.argmax(1))
            return logits, normalized_map(maps, self.size)
