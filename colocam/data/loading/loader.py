"""Batches of whole sequences for training, and of single frames for evaluation."""

import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import FrameType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from colocam.data.loading.cache import CacheNews, FrameCache, read_resized
from colocam.data.loading.sampling import (
    Direction,
    Sampling,
    anchor_place,
    frame_window,
    sample_frames,
)
from colocam.data.loading.seed_maps import SeedMaps
from colocam.data.loading.transforms import Crop, augmented, resized, resized_map, to_tensor
from colocam.data.records import BoxedFrame, Shot
from colocam.data.shots.shots import position_in_video
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of

CPU = torch.device("cpu")
_LAST_SECONDS = 3.0  # in which a run that was asked to stop finishes its step


@dataclass(frozen=True)
class SequenceBatch:
    """Whole sequences, one behind the other.

    Attributes:
        images: (B, 3, S, S) uint8, channels-last.
        labels: (B,) class of each frame's video.
        sequence: (B,) integers 0…G−1: the sequence that each frame belongs to.
        num_sequences: G.
        anchors: (G,) place in the batch of the frame that each sequence was drawn for (see
            `colocam.data.loading.sampling.anchor_place`).
        maps: (B, S, S) float32 in [0, 1], the frames' stored maps, cropped and flipped as the
            frames are; None where there are none.
        names: of the B frames, as a user recognizes them.
        unreadable: names of the frames that could not be decoded and are left out.
        blank: no frame could be decoded, and a black one stands for them; it must not count.
    """

    images: Tensor
    labels: Tensor
    sequence: Tensor
    num_sequences: int
    anchors: Tensor
    maps: Tensor | None
    names: tuple[str, ...]
    unreadable: tuple[str, ...]
    blank: bool = False


@dataclass(frozen=True)
class DrawnBatch:
    """A batch as it was drawn: on the host, and whole yet.

    Attributes:
        whole: the batch, its images (B, 3, R, R) and maps (B, R, R) resized frames.
        crops: of the G sequences.
        lengths: frames of each sequence.
    """

    whole: SequenceBatch
    crops: tuple[Crop, ...]
    lengths: tuple[int, ...]

    def on(self, device: torch.device) -> SequenceBatch:
        """The batch on `device`, cropped and flipped there; nothing waits for the device."""
        moved = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self.whole).items()
            if isinstance(value, Tensor)
        }
        for name in moved.keys() & {"images", "maps"}:
            moved[name] = augmented(moved[name], self.crops, self.lengths)
        return replace(self.whole, **moved)


@dataclass(frozen=True)
class SequenceSettings:
    """How sequences are drawn from shots.

    Attributes:
        frames: n, frames a sequence.
        sampling: "adjacent", "interval" or "gaussian".
        frame_limit: share of a shot's frames, around its middle, that may be drawn.
        resize, crop: side of the resized frame and of the random crop in it, pixels.
        seed: everything is drawn from it, the epoch and the shot.
        direction: where the neighbours of the frame lie that a sequence is drawn for: "before",
            "after" or "both".
    """

    frames: int
    sampling: Sampling
    frame_limit: float
    resize: int
    crop: int
    seed: int
    direction: Direction = "before"


class _Sequence(NamedTuple):
    """One sequence, on its way to a batch; `maps` is empty where there are none.

    Frames and maps are whole yet: the batch is cropped where it is trained on.
    """

    frames: list[np.ndarray]
    maps: list[np.ndarray]
    crop: Crop
    label: int
    anchor: int
    names: list[str]
    unreadable: list[str]
    news: CacheNews = CacheNews()


class _Sequences(Dataset):
    """One sequence of a shot for an item (epoch, shot)."""

    def __init__(
        self,
        shots: Sequence[Shot],
        settings: SequenceSettings,
        maps: SeedMaps | None,
        cache: FrameCache | None,
    ) -> None:
        self.shots, self.settings, self.maps, self.cache = shots, settings, maps, cache

    def __getitem__(self, item: tuple[int, int]) -> _Sequence | UserError:
        try:
            return self._draw(item)
        except UserError as error:  # raised in a worker it would come with a traceback
            return error

    def _draw(self, item: tuple[int, int]) -> _Sequence:
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
        anchor = anchor_place(len(frames), settings.direction)
        news = CacheNews() if self.cache is None else self.cache.news()
        return _Sequence(frames, maps, crop, shot.label, anchor, names, unreadable, news)

    def _read(self, shot: Shot, indices: list[int]) -> list[np.ndarray | None]:
        """Frames of a shot, resized."""
        settings = self.settings
        if self.cache is None:
            return read_resized(shot.frames, indices, settings.resize)
        window = frame_window(len(shot.frames), settings.frame_limit)
        return self.cache.read(shot.frames, indices, window, settings.resize)


class _EpochOrder(Sampler):
    """One rank's batches of items (epoch, shot): every shot once an epoch, in a drawn order.

    A batch is dealt out to the ranks, whole sequences to each. Where the last one has fewer than
    there are ranks, it is filled up from the beginning of the order.
    """

    def __init__(self, shots: int, per_batch: int, seed: int, rank: int, world: int) -> None:
        self.shots, self.per_batch, self.seed = shots, max(per_batch, world), seed
        self.rank, self.world = rank, world
        self.epoch = self.first = 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.shots)
        for start in range(self.first * self.per_batch, self.shots, self.per_batch):
            batch = order[start : start + self.per_batch]
            if len(batch) < self.world:
                batch = np.concatenate([batch, np.resize(order, self.world - len(batch))])
            yield [(self.epoch, int(shot)) for shot in batch[self.rank :: self.world]]

    def __len__(self) -> int:
        return -(-self.shots // self.per_batch) - self.first


class SequenceLoader:
    """Batches of whole sequences, one sequence of every shot an epoch.

    Args:
        shots: to draw from.
        settings: how a sequence is drawn.
        batch_size: frames a batch, over all ranks; it holds `batch_size // frames` sequences, at
            least one a rank.
        workers: processes that decode ahead; 0: decode in this process.
        device: where the batches are wanted; they are cropped and flipped there.
        maps: stored maps that go with the frames; every frame that can be drawn needs one (see
            `SeedMaps.check`).
        rank, world: the part of each batch that is wanted here.
        cache: of resized frames, read and filled; None: every draw decodes. The batches are the
            same.
        warn: is told, in a line, what is wrong with the cache; None: it goes to stderr.
    """

    def __init__(
        self,
        shots: Sequence[Shot],
        settings: SequenceSettings,
        batch_size: int,
        workers: int = 0,
        device: torch.device = CPU,
        maps: SeedMaps | None = None,
        rank: int = 0,
        world: int = 1,
        cache: FrameCache | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        per_batch = max(1, batch_size // settings.frames)
        self.order = _EpochOrder(len(shots), per_batch, settings.seed, rank, world)
        self.loader = DataLoader(
            _Sequences(shots, settings, maps, cache),
            batch_sampler=self.order,
            collate_fn=partial(_collate, settings=settings, stored=maps is not None),
            num_workers=workers,
            pin_memory=device.type == "cuda",  # copies from there do not wait
            persistent_workers=workers > 0,
            worker_init_fn=_leave_signals_to_the_parent,
            generator=torch.Generator(),  # else every epoch would draw from torch's own
        )
        self.device = device
        self.warn, self.told = warn or _warn, set()  # of the warnings that say the cache has ended

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-self.order.shots // self.order.per_batch)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[SequenceBatch]:
        """The batches of one epoch from number `first` on; the same for the same seed and epoch.

        Raises:
            UserError: a frame's stored map is missing or cannot be used.
        """
        return (batch.on(self.device) for batch in self.drawn(epoch, first))

    def drawn(self, epoch: int, first: int = 0) -> Iterator[DrawnBatch]:
        """The same batches, not on the device yet."""
        self.order.epoch, self.order.first = epoch, first
        damaged: dict[str, None] = {}  # a set in order
        for batch in self.loader:
            if isinstance(batch, UserError):
                raise batch
            news = batch.pop("news")
            damaged |= dict.fromkeys(name for one in news for name in one.damaged)
            self._warn_once(line for one in news for line in one.ended)
            yield _drawn_batch(batch)
        if damaged:
            self.warn(
                f"{count_of(len(damaged), 'damaged file')} in the cache of frames, decoded anew "
                f"(first: {next(iter(damaged))})"
            )

    def _warn_once(self, lines: Iterable[str]) -> None:
        """Tells what was not told yet: every process that decodes ahead comes to the same."""
        for line in lines:
            if line not in self.told:
                self.told.add(line)
                self.warn(line)

    def close(self) -> None:
        """Ends the processes that decode ahead; there are no batches after it.

        Left to garbage collection, it may take torch 10 s to end them.
        """
        self.loader = None


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)


def _leave_signals_to_the_parent(_: int) -> None:
    """Ctrl-C reaches all processes of a terminal; the parent still wants the step's frames.

    SIGTERM may come to all processes of a job as well, and once more from a launcher that passes it
    on; but it is also how torch ends a process that does not hear it. So the first one is passed
    over, and the second ends the process when the step should be done.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: signal.signal(number, _end_soon))


def _end_soon(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, _LAST_SECONDS)  # SIGALRM ends the process


def _collate(
    items: list[_Sequence | UserError], settings: SequenceSettings, stored: bool
) -> dict | UserError:
    """The fields of a `DrawnBatch` and the cache's news; the first error where there is one.

    Small ones are arrays, which go through the pipe between processes: handing over a shared tensor
    takes a connection each, longer than reading the frames.
    """
    for item in items:
        if isinstance(item, UserError):
            return item
    kept = [item for item in items if item.frames]
    if blank := not kept:
        square = (settings.resize, settings.resize)
        maps = [np.zeros(square, np.float32)] if stored else []
        crop = Crop(0, 0, settings.crop, False)
        kept = [
            _Sequence([np.zeros((*square, 3), np.uint8)], maps, crop, 0, 0, ["a black frame"], [])
        ]
    frames = [frame for item in kept for frame in item.frames]
    maps = [stored for item in kept for stored in item.maps]
    counts = np.array([len(item.frames) for item in kept])
    labels = np.array([item.label for item in kept])
    places = np.array([item.anchor for item in kept])
    return {
        "images": _stacked(frames).permute(0, 3, 1, 2),
        "labels": labels.repeat(counts),
        "sequence": np.arange(len(kept)).repeat(counts),
        "num_sequences": len(kept),
        "anchors": counts.cumsum() - counts + places,
        "maps": _stacked(maps) if maps else None,
        "names": tuple(name for item in kept for name in item.names),
        "unreadable": tuple(name for item in items for name in item.unreadable),
        "blank": blank,
        "crops": tuple(item.crop for item in kept),
        "lengths": tuple(counts.tolist()),
        "news": [item.news for item in items if any(item.news)],
    }


def _drawn_batch(fields: dict) -> DrawnBatch:
    """The batch of what `_collate` gave, all of it in pinned memory where its images are."""
    pinned = fields["images"].is_pinned()
    crops, lengths = fields.pop("crops"), fields.pop("lengths")
    for name in ("labels", "sequence", "anchors"):
        tensor = torch.from_numpy(fields[name])
        fields[name] = tensor.pin_memory() if pinned else tensor
    return DrawnBatch(SequenceBatch(**fields), crops, lengths)


def _stacked(arrays: list[np.ndarray]) -> Tensor:
    """Arrays of one shape, in a new first dimension; torch puts them into memory that the
    processes share at once, where there are several.
    """
    return default_collate([torch.from_numpy(array) for array in arrays])


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
    records: Sequence[BoxedFrame], side: int, batch_size: int, rank: int = 0, world: int = 1
) -> Iterator[FrameBatch]:
    """Reads frames in order, resized to `side`×`side`, a batch for every `batch_size` records.

    Of several ranks each reads every `world`-th batch, from number `rank` on.
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
