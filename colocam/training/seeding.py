"""Where the decoder's seeds come from: CAMs of a frozen classifier, or stored maps."""

from collections.abc import Sequence

import torch
from torch import Tensor

from colocam.cam import ActivationMap, normalized_map, temporal_max
from colocam.losses.total import REFERENCE_SIDE
from colocam.model import Localizer
from colocam.seeds import sample_seeds
from colocam.training.run import Run
from colocam.video.batches import SequenceBatch


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

    @torch.no_grad()
    def __call__(self, batch: SequenceBatch, images: Tensor, features: Sequence[Tensor]) -> Tensor:
        """Pseudo-labels of the frames that are trained on.

        Args:
            batch: of B frames.
            images: (B, 3, H, W), the batch's frames, normalized.
            features: `model`'s maps of them.

        Returns:
            (B, H, W) uint8; TCAM: (G, H, W), of the frame that each sequence was drawn for.
        """
        config = self.config
        maps = batch.maps
        if maps is None:
            maps = self.cam(images, batch.labels, self._of_teacher(images, features))
        maps = normalized_map(maps, (images.shape[2], images.shape[3]))
        if config.method == "tcam":
            maps = temporal_max(maps, batch.sequence, config.frames)[batch.anchors]
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
