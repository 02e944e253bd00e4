"""Where the decoder's seeds come from: CAMs of a frozen classifier, or stored maps."""

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
    """Draws the seeds of a batch. All of it stays on the device, whole batches at once.

    Args:
        run: its configuration says how.
        model: the classifier whose features the step computes anyway.
        teacher: another classifier to take the CAMs from; None: `model` itself. Costs a pass of
            its encoder.
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
        """Before the batches of a step: what it draws depends on the seed, the step and the rank.

        So nothing of it has to be kept to go on later, or elsewhere.
        """
        words = np.random.SeedSequence([self.config.seed, step, rank]).generate_state(1, np.uint64)
        self.generator.manual_seed(int(words[0] >> np.uint64(1)))

    @torch.no_grad()
    def maps(self, batch: SequenceBatch, images: Tensor, features: Sequence[Tensor]) -> Tensor:
        """The maps that the seeds are drawn from.

        Args:
            batch: of B frames.
            images: (B, 3, H, W), the batch's frames, normalized.
            features: `model`'s maps of them.

        Returns:
            (B, H, W) in [0, 1]; TCAM: (G, H, W), of the frame that each sequence was drawn for.
        """
        maps = batch.maps
        if maps is None:
            maps = self.cam(images, batch.labels, self._of_teacher(images, features))
        maps = normalized_map(maps, (images.shape[2], images.shape[3]))
        if self.config.method == "tcam":
            maps = temporal_max(maps, batch.sequence, self.config.frames)[batch.anchors]
        return maps

    @torch.no_grad()
    def draw(self, maps: Tensor) -> Tensor:
        """Pseudo-labels (B, H, W) uint8 of maps (B, H, W)."""
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

    def _of_teacher(self, images: Tensor, features: Sequence[Tensor]) -> Sequence[Tensor] | None:
        """The maps of the network that the CAMs are taken from; None: it runs by itself."""
        if self.teacher is None:
            return features
        if self.cam.needs_images:
            return None
        with self.autocast():
            return self.teacher.encoder(images)
