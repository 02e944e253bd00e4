"""Dataset of training sequences: drawing, decoding and collating, usually in worker processes.

The dataset returns one sequence of a shot for an item (draw, shot). Frames are resized here;
`DrawnBatch` crops them on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from colocam.data.decoding.resizing import resized_map
from colocam.data.loading.cache import CacheWarnings, FrameCache, read_resized
from colocam.data.loading.sampling import (
    Direction,
    Sampling,
    anchor_index,
    frame_window,
    sample_frames,
)
from colocam.data.loading.seed_maps import SeedMaps
from colocam.data.loading.transforms import Crop
from colocam.data.records import Shot
from colocam.data.shots.shots import position_in_video
from colocam.runtime.errors import UserError


@dataclass(frozen=True)
class SequenceSettings:
    """Settings of frame sampling and augmentation.

    Attributes:
        frames: n, number of frames of a sequence.
        sampling: "adjacent", "interval" or "gaussian" (see `sample_frames`).
        frame_limit: share in (0, 1] of a shot's frames, around its middle, that may be drawn.
        resize: side of the resized frames, pixels.
        crop: side of the random crop of a resized frame, pixels.
        seed: seed of all random draws, together with the draw and the shot.
        direction: side of the anchor frame on which its neighbours are: "before", "after" or "both"
            (see `anchor_index`).
    """

    frames: int
    sampling: Sampling
    frame_limit: float
    resize: int
    crop: int
    seed: int
    direction: Direction = "before"


class SequenceItem(NamedTuple):
    """Sequence of one shot, not cropped yet.

    Attributes:
        frames: (R, R, 3) uint8 arrays of the frames that can be decoded.
        maps: (R, R) float32 stored maps of these frames; empty without stored maps.
        crop: crop and flip of the sequence.
        label: index of the class.
        anchor: index in `frames` of the anchor frame.
        names: names of these frames, for messages.
        unreadable: names of the frames that cannot be decoded.
        warnings: warnings of the frame cache.
    """

    frames: list[np.ndarray]
    maps: list[np.ndarray]
    crop: Crop
    label: int
    anchor: int
    names: list[str]
    unreadable: list[str]
    warnings: CacheWarnings = CacheWarnings()


class SequenceDataset(Dataset[SequenceItem | UserError]):
    """Map-style dataset; an item is (number of the draw, index of the shot).

    Args:
        shots: training shots.
        settings: settings of frame sampling and augmentation.
        maps: stored maps; None: sequences have no maps.
        cache: cache of resized frames; None: frames are decoded at every draw.
    """

    def __init__(
        self,
        shots: Sequence[Shot],
        settings: SequenceSettings,
        maps: SeedMaps | None,
        cache: FrameCache | None,
    ) -> None:
        self.shots, self.settings, self.maps, self.cache = shots, settings, maps, cache

    def __getitem__(self, item: tuple[int, int]) -> SequenceItem | UserError:
        try:
            return self._draw(item)
        except UserError as error:  # raised in a worker process, its message has a traceback
            return error

    def _draw(self, item: tuple[int, int]) -> SequenceItem:
        settings, shot = self.settings, self.shots[item[1]]
        rng = np.random.default_rng([settings.seed, *item])
        indices = sample_frames(
            len(shot.frames), settings.frames, settings.sampling, rng, settings.frame_limit
        )
        crop = Crop.draw(settings.resize, settings.crop, rng)
        frames, maps, names, unreadable = [], [], [], []
        for index, frame in zip(indices, self._read(shot, indices), strict=True):
            video, number = position_in_video(shot.frames, index)
            name = f"{video.name} frame {number}"
            if frame is None:
                unreadable.append(name)
                continue
            names.append(name)
            frames.append(frame)
            if self.maps is not None:
                maps.append(resized_map(self.maps.read(shot.frames, index), settings.resize))
        anchor = anchor_index(len(frames), settings.direction)
        warnings = CacheWarnings() if self.cache is None else self.cache.pop_warnings()
        return SequenceItem(frames, maps, crop, shot.label, anchor, names, unreadable, warnings)

    def _read(self, shot: Shot, indices: list[int]) -> list[np.ndarray | None]:
        """Returns resized frames of a shot; None for those that cannot be decoded."""
        settings = self.settings
        if self.cache is None:
            return read_resized(shot.frames, indices, settings.resize)
        window = frame_window(len(shot.frames), settings.frame_limit)
        return self.cache.read(shot.frames, indices, window, settings.resize)


def collate_sequences(
    items: list[SequenceItem | UserError], settings: SequenceSettings, has_maps: bool
) -> dict[str, Any] | UserError:
    """Collates sequences to the fields of a `DrawnBatch`.

    Small fields are arrays, which are pickled: passing a tensor in shared memory between processes
    takes a connection each, longer than reading the frames.

    Args:
        items: sequences, or the errors that their drawing raised.
        settings: settings of frame sampling and augmentation.
        has_maps: whether sequences have stored maps.

    Returns:
        The fields of the batch and of its crops, and `warnings`, a list of `CacheWarnings`; the
        first error if there is one. Sequences without frames are dropped; without any frame, the
        batch is a black frame.
    """
    sequences: list[SequenceItem] = []
    for item in items:
        if isinstance(item, UserError):
            return item
        sequences.append(item)
    kept = [item for item in sequences if item.frames]
    if blank := not kept:
        kept = [_black_frame(settings, has_maps)]
    frames = [frame for item in kept for frame in item.frames]
    maps = [values for item in kept for values in item.maps]
    counts = np.array([len(item.frames) for item in kept])
    labels = np.array([item.label for item in kept])
    anchors = np.array([item.anchor for item in kept])
    return {
        "images": _stack(frames).permute(0, 3, 1, 2),  # (B, 3, R, R), channels-last
        "labels": labels.repeat(counts),
        "sequence": np.arange(len(kept)).repeat(counts),
        "num_sequences": len(kept),
        "anchors": counts.cumsum() - counts + anchors,
        "maps": _stack(maps) if maps else None,  # (B, R, R)
        "names": tuple(name for item in kept for name in item.names),
        "unreadable": tuple(name for item in sequences for name in item.unreadable),
        "blank": blank,
        "crops": tuple(item.crop for item in kept),
        "lengths": tuple(counts.tolist()),
        "warnings": [item.warnings for item in sequences if any(item.warnings)],
    }


def _black_frame(settings: SequenceSettings, has_maps: bool) -> SequenceItem:
    """Returns a sequence of one black frame."""
    square = (settings.resize, settings.resize)
    maps = [np.zeros(square, np.float32)] if has_maps else []
    crop = Crop(0, 0, settings.crop, False)
    return SequenceItem([np.zeros((*square, 3), np.uint8)], maps, crop, 0, 0, ["a black frame"], [])


def _stack(arrays: list[np.ndarray]) -> Tensor:
    """Stacks arrays of one shape; in a worker process torch allocates shared memory for them."""
    return default_collate([torch.from_numpy(array) for array in arrays])
