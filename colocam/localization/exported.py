"""Localizer as one network, from 8-bit frames of any size to score maps and class probabilities."""

import torch
from torch import Tensor, nn

from colocam.models.localizer import Localizer


class ResizedFrames(nn.Module):
    """Resizes frames of any size as `colocam.data.decoding.resizing.resized` does.

    Both sides are resized by a matrix of weights that is computed from the frame's size, columns
    first: bilinear interpolation, antialiased where a side shrinks. Levels differ from those of
    torch's 8-bit kernel, which rounds the weights, by at most 1, or 2 where a side grows.

    Args:
        side: of the resized frames, pixels.
    """

    places: Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        places = torch.arange(side, dtype=torch.float32)[:, None]
        self.register_buffer("places", places, persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 → (N, 3, side, side) float32, integers 0…255."""
        values = frames.permute(0, 3, 1, 2).float()
        rows, columns = (
            torch.arange(count, dtype=torch.float32, device=values.device)
            for count in (frames.shape[1], frames.shape[2])
        )
        values = (values @ self._weights(columns).mT + 0.5).floor()
        return (self._weights(rows) @ values + 0.5).floor().clamp(0, 255)

    def _weights(self, pixels: Tensor) -> Tensor:
        """Weights (side, L) of pixels 0…L − 1."""
        scale = (pixels[-1] + 1) / self.side
        centre = (self.places + 0.5) * scale - 0.5
        weights = (1 - (pixels - centre).abs() / scale.clamp(min=1)).clamp(min=0)
        return weights / weights.sum(1, keepdim=True)


class ExportedLocalizer(nn.Module):
    """Localizer with resizing, normalization and softmax inside.

    Args:
        model: in eval mode.
        side: to which frames are resized, pixels.
    """

    def __init__(self, model: Localizer, side: int) -> None:
        super().__init__()
        self.model, self.resized = model, ResizedFrames(side)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Computes score maps and class probabilities.

        Args:
            frames: (N, H, W, 3) uint8, RGB.

        Returns:
            S¹ (N, side, side) and probabilities (N, K), float32.
        """
        images = self.resized(frames)
        encoder = self.model.encoder
        features = encoder((images / 255 - encoder.mean) / encoder.std)
        maps = self.model.decode(features, images.shape[-2:])
        return maps.softmax(1)[:, 1], self.model.classify(features).softmax(1)
