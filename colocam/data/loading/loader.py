"""Data loader of training batches: whole sequences, as many of every shot per epoch."""

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import FrameType
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from colocam.data.loading.cache import FrameCache
from colocam.data.loading.seed_maps import SeedMaps
from colocam.data.loading.sequence_dataset import (
    SequenceDataset,
    SequenceSettings,
    collate_sequences,
)
from colocam.data.loading.transforms import Crop, augmented
from colocam.data.records import Shot
from colocam.runtime.console import print_error
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of

CPU = torch.device("cpu")
_GRACE_SECONDS = 3.0  # in which a run that is being terminated can complete its step


@dataclass(frozen=True)
class SequenceBatch:
    """Batch of whole sequences, concatenated along the first dimension.

    Attributes:
        images: (B, 3, S, S) uint8, channels-last.
        labels: (B,) class of the video of each frame.
        sequence: (B,) integers 0…G−1: sequence of each frame.
        num_sequences: G.
        anchors: (G,) index in the batch of the anchor frame of each sequence (see
            `colocam.data.loading.sampling.anchor_index`).
        maps: (B, S, S) float32 in [0, 1], stored maps of the frames with the same crop and flip;
            None without stored maps.
        names: names of the B frames, for messages.
        unreadable: names of the frames that cannot be decoded and are skipped.
        blank: whether no frame can be decoded; the batch is then one black frame, to be ignored.
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
    """Batch in host memory, before cropping.

    Attributes:
        whole: the batch with resized frames (B, 3, R, R) and maps (B, R, R).
        crops: crops of the G sequences.
        lengths: number of frames of each sequence.
    """

    whole: SequenceBatch
    crops: tuple[Crop, ...]
    lengths: tuple[int, ...]

    def on(self, device: torch.device) -> SequenceBatch:
        """Copies the batch to `device`, then crops and flips it there; does not synchronize."""
        whole = self.whole
        images = whole.images.to(device, non_blocking=True)
        maps = None if whole.maps is None else whole.maps.to(device, non_blocking=True)
        return replace(
            whole,
            images=augmented(images, self.crops, self.lengths),
            labels=whole.labels.to(device, non_blocking=True),
            sequence=whole.sequence.to(device, non_blocking=True),
            anchors=whole.anchors.to(device, non_blocking=True),
            maps=None if maps is None else augmented(maps, self.crops, self.lengths),
        )


class EpochOrder(Sampler[list[tuple[int, int]]]):
    """Batch sampler of one rank: every shot once per epoch or more often, in random order.

    An item is (draw, shot); the draws of a shot have different numbers in all epochs. The shots are
    drawn once, then a second time in another order, and so on, without a break between batches.

    A batch is distributed over the ranks by whole sequences. If the last batch has fewer sequences
    than there are ranks, it is filled up from the beginning of the order.

    Args:
        num_shots: number of shots.
        per_batch: number of sequences per batch, over all ranks; at least one per rank is used.
        seed: seed of the order, together with the epoch.
        rank: rank of this process.
        world: number of ranks.
        least_batches: if one draw of every shot makes fewer batches, an epoch has this number of
            them: the shots are drawn several times, in the last round not all of them.

    Attributes:
        draws: number of times that a shot is drawn per epoch, at most.
        per_epoch: number of sequences of an epoch, at most.
        epoch: number of the epoch to iterate over.
        first: number of its first batch.
    """

    def __init__(
        self,
        num_shots: int,
        per_batch: int,
        seed: int,
        rank: int,
        world: int,
        least_batches: int = 1,
    ) -> None:
        self.num_shots, self.per_batch, self.seed = num_shots, max(per_batch, world), seed
        self.rank, self.world = rank, world
        # The fewest draws with more sequences than least_batches − 1 batches hold.
        self.draws = (least_batches - 1) * self.per_batch // max(1, num_shots) + 1
        self.per_epoch = num_shots if self.draws == 1 else least_batches * self.per_batch
        self.epoch = self.first = 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = self._order()
        for start in range(self.first * self.per_batch, len(order), self.per_batch):
            batch = order[start : start + self.per_batch]
            missing = max(0, self.world - len(batch))
            batch += [order[number % len(order)] for number in range(missing)]
            yield batch[self.rank :: self.world]

    def _order(self) -> list[tuple[int, int]]:
        """All items of the epoch in order."""
        items = []
        for draw in range(self.epoch * self.draws, (self.epoch + 1) * self.draws):
            shots = np.random.default_rng([self.seed, draw]).permutation(self.num_shots)
            items += [(draw, int(shot)) for shot in shots]
        return items[: self.per_epoch]

    def __len__(self) -> int:
        return self.batches_per_epoch - self.first

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches of a whole epoch."""
        return -(-min(self.per_epoch, self.draws * self.num_shots) // self.per_batch)


def full_batch(frames: int, batch_size: int, rank: int = 0, world: int = 1) -> int:
    """Frames of a rank's batch in which no shot is short and no frame unreadable.

    Args:
        frames: per sequence.
        batch_size: number of frames per batch, over all ranks.
        rank: of this process.
        world: number of ranks.
    """
    return frames * len(range(rank, max(1, batch_size // frames, world), world))


class SequenceLoader:
    """Loader of batches of whole sequences, as many sequences of every shot per epoch.

    Args:
        shots: training shots.
        settings: settings of frame sampling and augmentation.
        batch_size: number of frames per batch, over all ranks; a batch has
            `batch_size // settings.frames` sequences, at least one per rank.
        workers: number of worker processes; 0: frames are decoded in this process.
        device: device of the batches, on which they are cropped and flipped.
        maps: stored maps; every frame that can be drawn needs one (see `SeedMaps.check`).
        rank: rank of this process.
        world: number of ranks.
        cache: cache of resized frames, which does not change the batches; None: frames are decoded
            at every draw.
        warn: called with each warning about the cache, one line; None: prints it to stderr.
        least_batches: if one draw of every shot makes fewer batches, an epoch has this number of
            them, with other frames at each draw of a shot.

    Attributes:
        full_batch: frames of a batch of this rank, unless a shot is short or a frame unreadable.
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
        least_batches: int = 1,
    ) -> None:
        per_batch = max(1, batch_size // settings.frames)
        self.order = EpochOrder(len(shots), per_batch, settings.seed, rank, world, least_batches)
        self.loader: DataLoader | None = DataLoader(
            SequenceDataset(shots, settings, maps, cache),
            batch_sampler=self.order,
            collate_fn=partial(collate_sequences, settings=settings, has_maps=maps is not None),
            num_workers=workers,
            pin_memory=device.type == "cuda",  # for asynchronous copies
            persistent_workers=workers > 0,
            worker_init_fn=_init_worker,
            generator=torch.Generator(),  # otherwise every epoch draws from torch's global one
        )
        self.full_batch = full_batch(settings.frames, batch_size, rank, world)
        self.device = device
        self.warn, self._warned = warn or _print_warning, set[str]()

    def __len__(self) -> int:
        """Number of batches per epoch."""
        return self.order.batches_per_epoch

    def epoch(self, epoch: int, first: int = 0) -> Iterator[SequenceBatch]:
        """Iterates over the batches of an epoch; they depend only on the seed and the epoch.

        Args:
            epoch: number of the epoch.
            first: number of the first batch.

        Raises:
            UserError: the stored map of a frame is missing or invalid.
        """
        return (batch.on(self.device) for batch in self.drawn(epoch, first))

    def drawn(self, epoch: int, first: int = 0) -> Iterator[DrawnBatch]:
        """Iterates over the same batches as `epoch`, in host memory and before cropping."""
        if self.loader is None:
            raise RuntimeError("the loader is closed")
        self.order.epoch, self.order.first = epoch, first
        damaged: dict[str, None] = {}  # an ordered set
        with _one_opencv_thread():
            batches = iter(self.loader)  # starts the worker processes
        for batch in batches:
            if isinstance(batch, UserError):
                raise batch
            warnings = batch.pop("warnings")
            damaged |= dict.fromkeys(name for one in warnings for name in one.damaged)
            self._warn_once(line for one in warnings for line in one.disabled)
            yield _drawn_batch(batch)
        if damaged:
            self.warn(
                f"{count_of(len(damaged), 'damaged file')} of the frame cache decoded again "
                f"(first: {next(iter(damaged))})"
            )

    def _warn_once(self, lines: Iterable[str]) -> None:
        """Reports new warnings; every worker process produces the same ones."""
        for line in lines:
            if line not in self._warned:
                self._warned.add(line)
                self.warn(line)

    def close(self) -> None:
        """Ends the worker processes; no batches can be loaded afterwards.

        If this is left to garbage collection, torch may take 10 s to end them.
        """
        self.loader = None


def _print_warning(line: str) -> None:
    print_error(f"warning: {line}")


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """Context whose forks use one thread of OpenCV; they are as many as they should be.

    The number is set here and not in the fork: where this process has used several threads,
    `cv2.setNumThreads` in a fork would wait for threads that do not exist there.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _init_worker(_: int) -> None:
    """Initializes a worker process: signals are left to the main process.

    The main process can then complete its step on a signal. Ctrl-C is sent to all processes of a
    terminal and is ignored here. SIGTERM may also be sent to all processes of a job, and a second
    time by a launcher that forwards it; but torch also sends it to end a worker process that does
    not respond. The first one is therefore ignored, and the second one ends the process a few
    seconds later.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: signal.signal(number, _end_soon))


def _end_soon(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, _GRACE_SECONDS)  # SIGALRM ends the process


def _drawn_batch(fields: dict[str, Any]) -> DrawnBatch:
    """Converts the result of `collate_sequences`; all tensors are pinned if its images are."""
    pinned = fields["images"].is_pinned()
    crops, lengths = fields.pop("crops"), fields.pop("lengths")
    for name in ("labels", "sequence", "anchors"):
        tensor = torch.from_numpy(fields[name])
        fields[name] = tensor.pin_memory() if pinned else tensor
    return DrawnBatch(SequenceBatch(**fields), crops, lengths)
