"""Stage 2: the decoder, over the frozen classifier, with the four terms of Eq. 5."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from colocam.data.loading.loader import SequenceBatch
from colocam.data.loading.transforms import normalized
from colocam.losses import Counts, LocalizerLoss, LossSettings, Schedule, tag_weights
from colocam.models import Localizer
from colocam.models.checkpoint import CheckpointInfo, save_checkpoint
from colocam.training.collapse import remark, sides
from colocam.training.config import PER_FRAME, Config
from colocam.training.progress import Step
from colocam.training.run import Run
from colocam.training.seeding import Seeding
from colocam.training.update import poisoned


def loss_settings(config: Config) -> LossSettings:
    """The weights, schedules and bandwidths that a configuration asks for."""
    schedules = {
        term: Schedule(
            getattr(config, f"{term}_weight"),
            getattr(config, f"{term}_first_epoch"),
            getattr(config, f"{term}_last_epoch"),
            getattr(config, f"{term}_ramp"),
        )
        for term in ("pl", "crf", "asc", "coloc")
    }
    if config.method in PER_FRAME:
        schedules["coloc"] = Schedule(0.0)
    return LossSettings(
        **schedules,
        coloc_adaptive=config.coloc_weighting == "adaptive",
        form=config.energy_form,
        sigma_rgb=config.sigma_rgb,
        sigma_xy=config.sigma_xy,
        spatial_method=config.spatial_method,
        joint_method=config.joint_method,
    )


class Prepared(NamedTuple):
    """A batch on its way to the decoder.

    Attributes:
        features: the encoder's maps of the frames that are trained on.
        images: (B, 3, H, W) uint8, these frames.
        seeds: (B, H, W) uint8, their pseudo-labels.
        sequence: (B,) integers 0…G−1.
        num_sequences: G.
        weight: 1; 0 where a black frame stands for a batch that could not be read.
        frame_weights: (B,) how much each frame counts; None: 1 each.
    """

    features: list[Tensor]
    images: Tensor
    seeds: Tensor
    sequence: Tensor
    num_sequences: int
    weight: float
    frame_weights: Tensor | None


class _Decode(nn.Module):
    """What stage 2 trains, as one module from features to maps."""

    def __init__(self, model: Localizer) -> None:
        super().__init__()
        self.decoder, self.to_maps = model.decoder_modules()
        self.decode = model.decode  # bound: the encoder is no part of this module

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        return self.decode(features, size)


class LocalizerStage:
    """Trains decoder and last convolution of a model; see `colocam.training.loop.Stage`.

    The classifier stays as it is. The CAMs for the seeds come from `teacher`, or from the model
    itself. Leaves `localizer-best` (CorLoc on validation; the last where that has no boxes) and
    `localizer-last` on disk.
    """

    name = "localizer"

    def __init__(self, run: Run, model: Localizer, teacher: Localizer | None = None) -> None:
        config = run.config
        self.run, self.model, self.epochs = run, model, config.epochs
        self.anchors_only = config.method == "tcam"
        self.loss = LocalizerLoss(loss_settings(config), (config.crop, config.crop))
        self.seeding = Seeding(run, model, teacher)
        for module in (*model.classifier_modules(), *([teacher.eval()] if teacher else [])):
            module.requires_grad_(False)
        self.update = run.update(
            [(module, config.lr) for module in model.decoder_modules()], config.decay_every
        )
        self.decode = run.ranks.parallel(_Decode(model))
        lent = config.frames if self.anchors_only else 1  # frames read for one that is trained on
        self.loader = run.loader(config.frames, lent * config.batch_size, run.seed_maps)
        self.best: dict[str, list[float]] = {}

    def train(self) -> None:
        """The frozen classifier's batch norm keeps its statistics."""
        self.model.train()
        for module in self.model.classifier_modules():
            module.eval()

    def step(self, batches: Sequence[SequenceBatch], epoch: float, number: int) -> Step:
        """One SGD step; nothing in it waits for the device.

        Features and seeds of all batches are there before the first is decoded: the means of the
        losses go over all of them. Where no rank has a frame the loss is NaN: no step then.
        """
        ranks = self.run.ranks
        self.update.begin()
        self.seeding.begin(number, ranks.rank)
        prepared = [self.prepare(batch) for batch in batches]
        counts = self.counts(prepared)
        total: dict[str, Tensor] = {}
        for place, one in enumerate(prepared):
            with ranks.gathers_gradients(self.decode, place == len(prepared) - 1):
                maps = self.maps(one)
                losses = self.losses(one, maps, epoch, counts)
                loss = losses["total"].masked_fill(counts.present == 0, torch.nan)
                losses["total"] = poisoned(loss, maps)
                self.update.backward(losses["total"])
            told = sides(maps, one.sequence, one.num_sequences, counts.present)
            losses |= {name: one.weight * value for name, value in told.items()}
            for name, value in losses.items():
                total[name] = total.get(name, 0.0) + value.detach()
        frames = sum(len(one.images) for one in prepared if one.weight > 0)
        return Step(total, self.update.step(), total["total"].isfinite(), frames)

    def prepare(self, batch: SequenceBatch) -> Prepared:
        """Features of the frozen encoder, and seeds from the CAMs that these give."""
        images, features = self.encode(batch)
        seeds = self.seeding.draw(self.seeding.maps(batch, images, features))
        return self.prepared(batch, features, seeds)

    @torch.no_grad()
    def encode(self, batch: SequenceBatch) -> tuple[Tensor, list[Tensor]]:
        """The batch's frames, normalized, and the encoder's maps of them."""
        images = normalized(batch.images).contiguous(memory_format=torch.channels_last)
        with self.run.autocast():
            return images, self.model.encoder(images)

    def prepared(self, batch: SequenceBatch, features: Sequence[Tensor], seeds: Tensor) -> Prepared:
        """What the decoder trains on; of TCAM's sequences the earlier frames lend CAMs only."""
        shown, sequence, labels = batch.images, batch.sequence, batch.labels
        if self.anchors_only:
            features = [level[batch.anchors] for level in features]
            shown, sequence, labels = (x[batch.anchors] for x in (shown, sequence, labels))
        return Prepared(
            list(features), shown, seeds, sequence, batch.num_sequences,
            0.0 if batch.blank else 1.0, self.frame_weights(features, labels),
        )  # fmt: skip

    @torch.no_grad()
    def frame_weights(self, features: Sequence[Tensor], labels: Tensor) -> Tensor | None:
        """How much each frame counts by its tag's probability; None where all count alike."""
        config = self.run.config
        if config.tag_weighting == "off":
            return None
        with self.run.autocast():
            logits = self.model.classify(features)
        return tag_weights(logits, labels, config.tag_weighting, config.tag_threshold)

    def counts(self, prepared: Sequence[Prepared]) -> Counts:
        """What the means of this step's losses go over: all batches of all ranks."""
        counts = torch.stack(
            [
                one.weight
                * torch.stack(
                    Counts.of(one.seeds, one.sequence, one.num_sequences, one.frame_weights)
                )
                for one in prepared
            ]
        )
        return Counts(*self.run.ranks.mean(counts.sum(0)))

    def maps(self, one: Prepared) -> Tensor:
        """Maps (B, 2, H, W) before softmax."""
        with self.run.autocast():
            return self.decode(one.features, one.images.shape[2:]).float()

    def losses(
        self, one: Prepared, maps: Tensor, epoch: float, counts: Counts
    ) -> dict[str, Tensor]:
        """The terms of Eq. 5: scalars by name. Maps that are not finite count as 0 in them."""
        clean = maps.nan_to_num(0.0, 0.0, 0.0)
        losses = self.loss(
            one.images, clean, one.seeds, one.sequence, one.num_sequences, epoch, counts,
            one.frame_weights,
        )  # fmt: skip
        return {name: one.weight * value for name, value in losses.items()}

    def remark(self, means: Mapping[str, float]) -> str | None:
        """Tells of maps that have gone to one side."""
        return remark(means, joint=self.loss.settings.coloc.weight > 0)

    def validate(self, epoch: int, unreadable: set[str]) -> dict[str, float]:
        """CorLoc of the localizer and of its seed CAM, in %; nothing where there are no boxes."""
        run, config = self.run, self.run.config
        result = run.validate(self.model, decode=True)
        unreadable.update(result.unreadable)
        summary, seed_cam = result.localizer.summary(), result.seed_cam.summary()
        scores, threshold, cam_threshold = {}, None, None
        if summary["corloc"]:
            scores = {
                "localization": summary["corloc"]["0.5"],
                "seed_cam": seed_cam["corloc"]["0.5"],
            }
            threshold = result.localizer.best_threshold()
            cam_threshold = result.seed_cam.best_threshold()
        info = CheckpointInfo(
            "localizer", config.encoder, run.data.classes, config.crop, config.cam, epoch, scores,
            cam_threshold=cam_threshold, threshold=threshold, cam_layer=config.cam_layer,
        )  # fmt: skip
        self._keep(info, scores.get("localization", 0.0))
        return scores

    def _keep(self, info: CheckpointInfo, score: float) -> None:
        best = "localizer" not in self.best or [score] >= self.best["localizer"]
        if best:
            self.best["localizer"] = [score]
        if self.run.ranks.main:
            save_checkpoint(self.run.checkpoint("localizer-last"), self.model, info)
        if best and self.run.ranks.main:
            save_checkpoint(self.run.checkpoint("localizer-best"), self.model, info)
