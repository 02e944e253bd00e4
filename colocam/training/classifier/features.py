"""Features of the frozen encoder, computed once for all epochs of stage 1 that trains the head."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import TimeRemainingColumn
from torch import Tensor

from colocam.data.loading.loader import SequenceBatch, SequenceLoader
from colocam.models.base import Encoder
from colocam.runtime.console import progress_bar


@dataclass(frozen=True)
class FeatureBatch:
    """Batch of pooled features.

    Attributes:
        features: (B, C, 1, 1) float32, means of the encoder's last map over the frame.
        labels: (B,) class of the video of each frame.
        names: names of the B frames, for messages.
        unreadable: names of the frames that cannot be decoded and are skipped.
        blank: whether the batch has no frame; it then has one of zeros, to be ignored.
    """

    features: Tensor
    labels: Tensor
    names: tuple[str, ...]
    unreadable: tuple[str, ...] = ()
    blank: bool = False


class FeatureLoader:
    """Loader of pooled features, of the draws of one epoch of a frame loader.

    The features are computed when the first batch is needed; every epoch has them in another order.
    Crops and flips are thus those of one epoch: a longer one has more of them.

    Args:
        loader: of the frames, a frame per sequence; closed when the features are computed.
        encoder: in eval mode, on the loader's device.
        autocast: creates the context of mixed precision.
        seed: of the order of the features, together with the epoch.
        console: shows the progress.
    """

    def __init__(
        self,
        loader: SequenceLoader,
        encoder: Encoder,
        autocast: Callable[[], torch.autocast],
        seed: int,
        console: Console,
    ) -> None:
        self.loader, self.encoder, self.autocast = loader, encoder, autocast
        self.seed, self.console = seed, console
        self._all: FeatureBatch | None = None

    def __len__(self) -> int:
        """Number of batches per epoch."""
        return len(self.loader)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[FeatureBatch]:
        """Iterates over the batches of an epoch; they depend only on the seed and the epoch.

        Args:
            epoch: number of the epoch.
            first: number of the first batch.
        """
        unreadable: tuple[str, ...] = ()
        if self._all is None:
            self._all = self._compute()
            unreadable = self._all.unreadable
        everything = self._all
        order = np.random.default_rng([self.seed, epoch]).permutation(len(everything.names))
        for places in np.array_split(order, len(self))[first:]:
            yield _batch(everything, places, unreadable)
            unreadable = ()

    def close(self) -> None:
        """Ends the worker processes of the frame loader."""
        self.loader.close()

    def _compute(self) -> FeatureBatch:
        """Features of all frames of the frame loader's first epoch, as one batch."""
        parts: list[tuple[Tensor, SequenceBatch]] = []
        with progress_bar(self.console, TimeRemainingColumn()) as progress:
            bar = progress.add_task("features", total=len(self.loader))
            for batch in self.loader.epoch(0):
                parts.append((self._pooled(batch.images), batch))
                progress.advance(bar)
        self.loader.close()
        unreadable = tuple(name for _, batch in parts for name in batch.unreadable)
        kept = [(features, batch) for features, batch in parts if not batch.blank]
        if not kept:
            return FeatureBatch(parts[0][0], parts[0][1].labels, (), unreadable, True)
        return FeatureBatch(
            torch.cat([features for features, _ in kept]),
            torch.cat([batch.labels for _, batch in kept]),
            tuple(name for _, batch in kept for name in batch.names),
            unreadable,
        )

    @torch.no_grad()
    def _pooled(self, images: Tensor) -> Tensor:
        """Frames (B, 3, S, S) uint8 to pooled features (B, C, 1, 1)."""
        with self.autocast():
            last = self.encoder(self.encoder.normalized(images))[-1]
        return last.float().mean((2, 3), keepdim=True)


def _batch(
    everything: FeatureBatch, places: NDArray[np.int64], unreadable: tuple[str, ...]
) -> FeatureBatch:
    """The features at some places; at none, a blank batch."""
    if not len(places):
        return FeatureBatch(
            torch.zeros_like(everything.features[:1]), everything.labels[:1], (), unreadable, True
        )
    chosen = torch.as_tensor(places, device=everything.labels.device)
    names = tuple(everything.names[place] for place in places.tolist())
    return FeatureBatch(everything.features[chosen], everything.labels[chosen], names, unreadable)
