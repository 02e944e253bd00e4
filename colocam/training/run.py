"""What a run is: its configuration, data, device, ranks, folder."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from colocam.cam import ActivationMap
from colocam.data.loading.cache import FrameCache
from colocam.data.loading.loader import SequenceLoader
from colocam.data.loading.seed_maps import SeedMaps
from colocam.data.loading.sequence_dataset import SequenceSettings
from colocam.data.records import VideoData
from colocam.evaluation.evaluate import Evaluation, evaluate
from colocam.models import Localizer
from colocam.runtime.device import Autocast
from colocam.runtime.distribution import Ranks
from colocam.training.config import Config
from colocam.training.metrics import Metrics
from colocam.training.update import Update


@dataclass(frozen=True)
class Run:
    """A run's surroundings, shared by its stages.

    Attributes:
        config: of the run.
        data: classes, training shots, validation and test frames.
        out: run folder.
        device: where it computes.
        autocast: makes contexts of mixed precision.
        metrics: the log `metrics.jsonl`.
        console: where progress is shown; quiet on all ranks but the main one.
        ranks: the processes of the run.
        seed_maps: stored maps that make the seeds; None: activation maps do.
        cache: keeps resized frames; None: they are decoded at every draw.
    """

    config: Config
    data: VideoData
    out: Path
    device: torch.device
    autocast: Autocast
    metrics: Metrics
    console: Console
    ranks: Ranks
    seed_maps: SeedMaps | None = None
    cache: FrameCache | None = None

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.out / "checkpoints"

    def checkpoint(self, name: str) -> Path:
        """Path of the checkpoint `name`."""
        return self.checkpoints / f"{name}.safetensors"

    def loader(self, frames: int, batch_size: int, maps: SeedMaps | None = None) -> SequenceLoader:
        """This rank's batches of sequences of `frames` frames, drawn from the training shots."""
        config = self.config
        settings = SequenceSettings(
            frames, config.sampling, config.frame_limit, config.resize, config.crop, config.seed,
            config.direction,
        )  # fmt: skip
        return SequenceLoader(
            self.data.train,
            settings,
            batch_size,
            workers=config.workers,
            device=self.device,
            maps=maps,
            rank=self.ranks.rank,
            world=self.ranks.world,
            cache=self.cache,
            warn=self.warn,
        )

    def warn(self, line: str) -> None:
        """Shows a warning."""
        self.console.print(f"warning: {line}", style="yellow", markup=False, soft_wrap=True)

    def update(self, groups: Iterable[tuple[nn.Module, float]], decay_every: int) -> Update:
        """What moves the weights of (module, learning rate), in this run's way."""
        config = self.config
        return Update(
            groups,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            decay_every=decay_every,
            decay=config.decay,
            scaler=self.autocast.scaler(),
        )

    def validate(self, model: Localizer, decode: bool) -> Evaluation:
        """Evaluates `model` on the validation frames, shared by the ranks: a collective.

        Args:
            model: on the run's device.
            decode: the localizer too; off: the classifier and its CAM alone.
        """
        config = self.config
        return evaluate(
            model, self.data.val, self.data.classes, side=config.crop,
            cam=ActivationMap(model, config.cam, config.cam_layer),
            device=self.device, decode=decode, autocast=self.autocast, ranks=self.ranks,
        )  # fmt: skip

    def evaluates_after(self, epoch: int, epochs: int) -> bool:
        """Whether validation follows `epoch` (counted from 0) of `epochs`."""
        return (epoch + 1) % self.config.evaluate_every == 0 or epoch + 1 == epochs
