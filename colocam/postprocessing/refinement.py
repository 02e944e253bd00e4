"""Refinement of score maps by the joint CRF over the last frames of a video.

Where the decoder is in doubt, pixels of like colour and features that it is sure of decide.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from colocam.data.shots.detection import is_cut, signature
from colocam.kernels import gaussian_filter
from colocam.losses.principal_features import principal_features

SIGMA_RGB, FEATURE_SIGMA = 15.0, 0.5  # as in training
SHARE = 0.5  # of the mean over like pixels; all of it would lose what the decoder sees


class Refinement:
    """Refined score maps S̃ of a video, the mean of each score and that of all like pixels.

    S̃_i = S_i / 2 + Σ_j W_ij S_j / (2 Σ_j W_ij), over the pixels j of the frame and of the n − 1
    frames before it, with W of the joint CRF by colours and features (`JointCRF`,
    `principal_features`). The sum is one mean-field step of that CRF (Krähenbühl & Koltun, NeurIPS
    2011), normalized. Frames before a cut are not used, nor frames that cannot be decoded.

    Args:
        frames: n ≥ 1, the frame itself included.

    Raises:
        ValueError: `frames` is below 1.
    """

    def __init__(self, frames: int) -> None:
        if frames < 1:
            raise ValueError(f"frames: must be at least 1, got {frames}")
        self.frames = frames
        self._signature: NDArray[np.floating] | None = None
        self._kept: _Frames | None = None  # the last frames

    def next(
        self,
        frames: Sequence[NDArray[np.uint8]],
        images: Tensor,
        features: Tensor,
        maps: Tensor,
    ) -> Tensor:
        """Adds the next B ≥ 1 frames and returns their refined maps.

        Args:
            frames: (H, W, 3) uint8 RGB, in which cuts are detected.
            images: (B, 3, S, S) uint8, the resized frames.
            features: (B, C, h, w), the encoder's middle map.
            maps: (B, S, S) float32 in [0, 1].

        Returns:
            (B, S, S) float32 in [0, 1].
        """
        joined = _Frames(images, features, maps)
        if self._kept is not None:
            joined = _Frames(*map(torch.cat, zip(self._kept, joined, strict=True)))
        count = len(joined.maps)
        windows = self._windows(frames, count - len(maps))
        start = max(windows[-1].start, count - self.frames + 1)
        self._kept = joined.at(slice(start, count))
        return _refined(joined, windows)

    def _windows(self, frames: Sequence[NDArray[np.uint8]], before: int) -> list[range]:
        """For each frame the places of those that it is refined with, itself last."""
        windows, first = [], 0
        for place, frame in enumerate(frames, before):
            last, self._signature = self._signature, signature(frame)
            if last is not None and is_cut(last, self._signature):
                first = place
            windows.append(range(max(first, place - self.frames + 1), place + 1))
        return windows


class _Frames(NamedTuple):
    """Images (F, 3, S, S) uint8, feature maps (F, C, h, w) and score maps (F, S, S) of frames."""

    images: Tensor
    features: Tensor
    maps: Tensor

    def at(self, places: slice | Tensor) -> "_Frames":
        """Some of the frames."""
        return _Frames(*(tensor[places] for tensor in self))


def _refined(frames: _Frames, windows: Sequence[range]) -> Tensor:
    """Refined maps of the last frame of each window; a window is a group of the filter."""
    device, size = frames.maps.device, (frames.maps.shape[1], frames.maps.shape[2])
    places = [place for window in windows for place in window]
    chosen = frames.at(torch.tensor(places, device=device))
    lengths = torch.tensor([len(window) for window in windows], device=device)
    numbers = torch.arange(len(windows), device=device)
    window_of = numbers.repeat_interleave(lengths, output_size=len(places))
    components = principal_features(
        chosen.features, window_of, len(windows), size, FEATURE_SIGMA
    )  # (F, 2, S, S)
    points = torch.cat([chosen.images / SIGMA_RGB, components], 1)
    scores = chosen.maps.flatten()
    filtered = gaussian_filter(
        torch.stack([scores, torch.ones_like(scores)], 1),
        points.permute(0, 2, 3, 1).flatten(0, 2),
        window_of.repeat_interleave(size[0] * size[1], output_size=len(scores)),
        num_groups=len(windows),
    ).view(-1, *size, 2)
    ends = lengths.cumsum(0) - 1
    last = filtered[ends]  # (B, S, S, 2)
    mean = (last[..., 0] / last[..., 1]).clamp(0, 1)
    return (1 - SHARE) * chosen.maps[ends] + SHARE * mean
