"""What inference does with a batch of frames, by method: the passes that are measured."""

from collections.abc import Callable
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colocam.cam import ActivationMap, Method, normalized_map
from colocam.data.loading.transforms import normalized
from colocam.models import Localizer

LOCALIZER = "localizer"
METHODS = (LOCALIZER, *get_args(Method))


class Encode(nn.Module):
    """Normalized frames (B, 3, H, W) to class logits (B, K) and the encoder's maps."""

    def __init__(self, model: Localizer) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """As the class says."""
        features = self.model.encoder(images)
        return self.model.classify(features), features


class Score(nn.Module):
    """The encoder's maps to score maps S¹ (B, size, size) float32."""

    def __init__(self, model: Localizer, size: int) -> None:
        super().__init__()
        self.model, self.size = model, (size, size)

    def forward(self, features: list[Tensor]) -> Tensor:
        """As the class says."""
        return F.softmax(self.model.decode(features, self.size).float(), dim=1)[:, 1]


class Passes:
    """The passes that are measured, by name.

    Args:
        model: in eval mode; channels-last.
        size: of the frames, pixels.
        autocast: makes the context of a pass.
        compiled: by torch.compile, in two parts, of which the CAMs share the first: encoder and
            head; decoder and softmax. Neither what normalizes the frames is compiled, nor what a
            CAM does behind the encoder.
    """

    def __init__(
        self, model: Localizer, size: int, autocast: Callable[[], torch.autocast], compiled: bool
    ) -> None:
        self.size, self.autocast = (size, size), autocast
        self.encode: nn.Module = Encode(model)
        self.score: nn.Module = Score(model, size)
        if compiled:
            self.encode = torch.compile(self.encode, dynamic=False)
            self.score = torch.compile(self.score, dynamic=False)
        self.cams = {method: ActivationMap(model, method) for method in METHODS[1:]}

    def __call__(self, method: str, images: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (B, K), and score maps or CAMs (B, H, W) in [0, 1].

        Args:
            method: one of `METHODS`.
            images: (B, 3, H, W) uint8, on the model's device.
        """
        inputs = normalized(images).contiguous(memory_format=torch.channels_last)
        with self.autocast():
            logits, features = self.encode(inputs)
            if method == LOCALIZER:
                return logits, self.score(features)
            maps = self.cams[method].from_features(features, logits.argmax(1))
            return logits, normalized_map(maps, self.size)
