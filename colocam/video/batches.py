"""Batches of whole sequences for training, and of single frames for evaluation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from colocam.video.records import BoxedFrame, Shot
from colocam.video.sampling import Sampling, sample_frames
from colocam.video.transforms import Crop, resized, to_tensor


@dataclass(frozen=True)
class SequenceBatch:
    """Whole sequences, one behind the other.

    Attributes:
        images: (B, 3, S, S) uint8.
        labels: (B,) class of each frame's video.
        sequence: (B,) integers 0…G−1: the sequence that each frame belongs to.
        num_sequences: G.
        unreadable: names of the frames that could not be decoded and are left out.
    """

    images: Tensor
    labels: Tensor
    sequence: Tensor
    num_sequences: int
    unreadable: tuple[str, ...]

    def to(self, device: torch.device) -> "SequenceBatch":
        """The batch on `device`; copies from pinned memory do not wait."""
        images, labels, sequence = (
            tensor.to(device, non_blocking=True)
            for tensor in (self.images, self.labels, self.sequence)
        )
        return SequenceBatch(images, labels, sequence, self.num_sequences, self.unreadable)


@dataclass(frozen=True)
class SequenceSettings:
    """How sequences are drawn from shots.

    Attributes:
        frames: n, frames a sequence.
        sampling: "adjacent", "interval" or "gaussian".
        frame_limit: share of a shot's frames, around its middle, that may be drawn.
        resize, crop: side of the resized frame and of the random crop in it, pixels.
        seed: everything is drawn from it, the epoch and the shot.
    """

    frames: int
    sampling: Sampling
    frame_limit: float
    resize: int
    crop: int
    seed: int


class _Sequences(Dataset):
    """One sequence of a shot for an item (epoch, shot)."""

    def __init__(self, shots: Sequence[Shot], settings: SequenceSettings) -> None:
        self.shots, self.settings = shots, settings

    def __getitem__(self, item: tuple[int, int]) -> tuple[list[np.ndarray], int, list[str]]:
        settings, shot = self.settings, self.shots[item[1]]
        rng = np.random.default_rng([settings.seed, *item])
        indices = sample_frames(
            len(shot.frames), settings.frames, settings.sampling, rng, settings.frame_limit
        )
        crop = Crop.draw(settings.resize, settings.crop, rng)
        frames, unreadable = [], []
        for index, frame in zip(indices, shot.frames.read(indices), strict=True):
            if frame is None:
                unreadable.append(f"{shot.frames.name} frame {index}")
            else:
                frames.append(crop(resized(frame, settings.resize)))
        return frames, shot.label, unreadable


class _EpochOrder(Sampler):
    """Batches of items (epoch, shot): every shot once an epoch, in a drawn order."""

    def __init__(self, shots: int, per_batch: int, seed: int) -> None:
        self.shots, self.per_batch, self.seed, self.epoch = shots, per_batch, seed, 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.shots)
        for start in range(0, self.shots, self.per_batch):
            yield [(self.epoch, int(shot)) for shot in order[start : start + self.per_batch]]

    def __len__(self) -> int:
        return -(-self.shots // self.per_batch)


class SequenceLoader:
    """Batches of whole sequences, one sequence of every shot an epoch.

    Args:
        shots: to draw from.
        settings: how a sequence is drawn.
        batch_size: frames a batch; it holds `batch_size // frames` sequences, at least one.
        workers: processes that decode ahead; 0: decode in this process.
        pin: copy batches to pinned memory, for a GPU.
    """

    def __init__(
        self,
        shots: Sequence[Shot],
        settings: SequenceSettings,
        batch_size: int,
        workers: int = 0,
        pin: bool = False,
    ) -> None:
        self.order = _EpochOrder(len(shots), max(1, batch_size // settings.frames), settings.seed)
        self.loader = DataLoader(
            _Sequences(shots, settings),
            batch_sampler=self.order,
            collate_fn=_collate,
            num_workers=workers,
            pin_memory=pin,
            persistent_workers=workers > 0,
        )

    def __len__(self) -> int:
        return len(self.order)

    def epoch(self, epoch: int) -> Iterator[SequenceBatch]:
        """The batches of one epoch; the same for the same seed and epoch."""
        self.order.epoch = epoch
        for images, labels, sequence, num_sequences, unreadable in self.loader:
            yield SequenceBatch(images, labels, sequence, num_sequences, unreadable)


def _collate(items: list[tuple[list[np.ndarray], int, list[str]]]) -> tuple:
    frames = [frame for item in items for frame in item[0]]
    kept = [(len(item[0]), item[1]) for item in items if item[0]]
    counts = torch.tensor([count for count, _ in kept], dtype=torch.long)
    labels = torch.tensor([label for _, label in kept], dtype=torch.long)
    return (
        to_tensor(frames) if frames else torch.empty(0, 3, 1, 1, dtype=torch.uint8),
        labels.repeat_interleave(counts),
        torch.arange(len(kept)).repeat_interleave(counts),
        len(kept),
        tuple(name for item in items for name in item[2]),
    )


@dataclass(frozen=True)
class FrameBatch:
    """Single frames for evaluation.

    Attributes:
        images: (B, 3, S, S) uint8.
        records: the B records that were read.
        sizes: (width, height) of each original frame.
        unreadable: ids of the frames that could not be decoded and are left out.
    """

    images: Tensor
    records: tuple[BoxedFrame, ...]
    sizes: tuple[tuple[int, int], ...]
    unreadable: tuple[str, ...]


def frame_batches(
    records: Sequence[BoxedFrame], side: int, batch_size: int
) -> Iterator[FrameBatch]:
    """Reads frames in order, resized to `side`×`side`, a batch for every `batch_size` records."""
    for start in range(0, len(records), batch_size):
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
    """The frames of the records; a video file is gone through once for all of its frames."""
    places: dict[int, list[int]] = {}
    for place, record in enumerate(records):
        places.setdefault(id(record.frames), []).append(place)
    frames: list[np.ndarray | None] = [None] * len(records)
    for own in places.values():
        found = records[own[0]].frames.read([records[place].index for place in own])
        for place, frame in zip(own, found, strict=True):
            frames[place] = frame
    return frames
