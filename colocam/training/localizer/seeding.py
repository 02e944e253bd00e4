"""Seeds of the decoder, drawn from CAMs of a frozen classifier or from stored maps."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from colocam.cam import ActivationMap, normalized_map, temporal_max
from colocam.data.loading.loader import SequenceBatch
from colocam.losses.total import REFERENCE_SIDE
from colocam.models import Localizer
from colocam.seeds import sample_seeds
from colocam.training.run import Run


class Seeding:
    """Draws the seeds of whole batches, on the device and without synchronization.

    Args:
        run: environment; its configuration has the settings.
        model: classifier whose features the step computes.
        teacher: another classifier whose CAMs are used, for an additional pass of its encoder;
            None: `model`.
    """

    def __init__(self, run: Run, model: Localizer, teacher: Localizer | None) -> None:
        config = run.config
        self.config, self.teacher, self.autocast = config, teacher, run.autocast
        self.generator = torch.Generator(run.device).manual_seed(config.seed)
        self.pixels = max(1, round(config.seed_pixels * (config.crop / REFERENCE_SIDE) ** 2))
        self.cam = ActivationMap(
            teacher or model, config.cam, config.cam_layer, generator=self.generator
        )

    def begin(self, step: int, rank: int) -> None:
        """Seeds the generator of a step from the run's seed, the step and the rank.

        The generator therefore needs no place in the training state.

        Args:
            step: number of the step in the run.
            rank: of this process.
        """
        words = np.random.SeedSequence([self.config.seed, step, rank]).generate_state(1, np.uint64)
        self.generator.manual_seed(int(words[0] >> np.uint64(1)))

    @torch.no_grad()
    def maps(self, batch: SequenceBatch, images: Tensor, features: Sequence[Tensor]) -> Tensor:
        """Returns the maps that the seeds are drawn from.

        Args:
            batch: of B frames.
            images: (B, 3, H, W), the batch's frames, normalized.
            features: feature maps of `model`, shallow to deep.

        Returns:
            (B, H, W) in [0, 1]; TCAM: (G, H, W), of the frame that each sequence was drawn for.
        """
        maps = batch.maps
        if maps is None:
            maps = self.cam(images, batch.labels, self._cam_features(images, features))
        maps = normalized_map(maps, (images.shape[2], images.shape[3]))
        if self.config.method == "tcam":
            maps = temporal_max(maps, batch.sequence, self.config.frames)[batch.anchors]
        return maps

    @torch.no_grad()
    def draw(self, maps: Tensor) -> Tensor:
        """Draws pseudo-labels (B, H, W) uint8 from maps (B, H, W); see `colocam.seeds`."""
        config = self.config
        return sample_seeds(
            maps,
            config.seed_scheme,
            self.pixels,
            config.seed_foreground_share,
            config.seed_background_share,
            self.generator,
            region=config.seed_region,
            box=config.seed_box == "on",
        )

    def _cam_features(self, images: Tensor, features: Sequence[Tensor]) -> Sequence[Tensor] | None:
        """Feature maps of the network whose CAMs are used; None: `ActivationMap` computes them."""
        if self.teacher is None:
            return features
        if self.cam.needs_images:
            return None
        with self.autocast():
            return self.teacher.encoder(images)
