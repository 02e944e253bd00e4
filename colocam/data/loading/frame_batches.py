"""Batches of single frames for evaluation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from colocam.data.decoding.resizing import resized
from colocam.data.loading.transforms import to_tensor
from colocam.data.records import BoxedFrame


@dataclass(frozen=True)
class FrameBatch:
    """Batch of single frames for evaluation.

    Attributes:
        images: (B, 3, S, S) uint8.
        records: the B records of the frames.
        sizes: (width, height) of each original frame, pixels.
        unreadable: ids of the frames that cannot be decoded and are skipped.
    """

    images: Tensor
    records: tuple[BoxedFrame, ...]
    sizes: tuple[tuple[int, int], ...]
    unreadable: tuple[str, ...]


def frame_batches(
    records: Sequence[BoxedFrame], side: int, batch_size: int, rank: int = 0, world: int = 1
) -> Iterator[FrameBatch]:
    """Reads frames in order, resized to `side`×`side`.

    Args:
        records: the frames.
        side: side of the resized frames, pixels.
        batch_size: number of records of a batch, those of unreadable frames included.
        rank: rank of this process; it reads the batches `rank`, `rank` + `world`, …
        world: number of ranks.

    Yields:
        One batch for every `batch_size` records of this rank.
    """
    for start in range(rank * batch_size, len(records), world * batch_size):
        of_batch = records[start : start + batch_size]
        read = list(zip(of_batch, _read(of_batch), strict=True))
        frames = [frame for _, frame in read if frame is not None]
        images = [resized(frame, side) for frame in frames]
        yield FrameBatch(
            to_tensor(images) if images else torch.empty(0, 3, side, side, dtype=torch.uint8),
            tuple(record for record, frame in read if frame is not None),
            tuple((frame.shape[1], frame.shape[0]) for frame in frames),
            tuple(record.id for record, frame in read if frame is None),
        )


def _read(records: Sequence[BoxedFrame]) -> list[np.ndarray | None]:
    """Decodes the frames of the records; a video file is decoded once for all of its frames."""
    positions: dict[int, list[int]] = {}  # in `records`, of each frame source
    for position, record in enumerate(records):
        positions.setdefault(id(record.frames), []).append(position)
    frames: list[np.ndarray | None] = [None] * len(records)
    for own in positions.values():
        decoded = records[own[0]].frames.read([records[position].index for position in own])
        for position, frame in zip(own, decoded, strict=True):
            frames[position] = frame
    return frames
