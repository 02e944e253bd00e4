"""Stage 2: the decoder, trained on the frozen classifier's features with the terms of Eq. 5."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from colocam.data.loading.loader import SequenceBatch
from colocam.losses import Counts, LocalizerLoss, LossSettings, Schedule, tag_weights
from colocam.models import Localizer
from colocam.models.checkpoint import CheckpointInfo, save_checkpoint
from colocam.training.config import END_TO_END, PER_FRAME, Config
from colocam.training.localizer.collapse import collapse_warning
from colocam.training.localizer.frozen_encoder import FrozenEncoder
from colocam.training.localizer.seeding import Seeding
from colocam.training.localizer.step_losses import StepLosses
from colocam.training.progress import Step
from colocam.training.run import Run


def loss_settings(config: Config) -> LossSettings:
    """Returns weights, schedules and bandwidths of the loss from a configuration."""
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
    if config.method in END_TO_END:
        schedules["asc"] = Schedule(0.0)
    return LossSettings(
        **schedules,
        coloc_adaptive=config.coloc_weighting == "adaptive",
        form=config.energy_form,
        sigma_rgb=config.sigma_rgb,
        sigma_xy=config.sigma_xy,
        spatial_method=config.spatial_method,
        joint_method=config.joint_method,
        joint_features=config.joint_features,
        feature_sigma=config.joint_feature_sigma,
    )


class Prepared(NamedTuple):
    """Input of the decoder and its loss, for one batch.

    Attributes:
        features: the encoder's maps of the frames that are trained on, shallow to deep; none if
            the encoder is trained too.
        images: (B, 3, H, W) uint8, these frames.
        labels: (B,) class of the video of each frame.
        seeds: (B, H, W) uint8, their pseudo-labels.
        sequence: (B,) integers 0…G−1.
        num_sequences: G.
        weight: 1, or 0 if no frame of the batch could be read (it then has one black frame).
        frame_weights: (B,) weight of each frame; None: 1 each.
    """

    features: list[Tensor]
    images: Tensor
    labels: Tensor
    seeds: Tensor
    sequence: Tensor
    num_sequences: int
    weight: float
    frame_weights: Tensor | None


class _Decode(nn.Module):
    """Decoder and last convolution as one module, for DistributedDataParallel."""

    def __init__(self, model: Localizer) -> None:
        super().__init__()
        self.decoder, self.to_maps = model.decoder_modules()
        self.decode = model.decode  # a bound method: the encoder is not a submodule

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """The encoder's features to maps (B, 2, H, W)."""
        return self.decode(features, size)


class LocalizerStage:
    """Trains decoder and last convolution; see `colocam.training.loop.Stage`.

    The classifier is frozen. Writes the checkpoints `localizer-best` (by CorLoc on validation; the
    last if no validation frame has boxes) and `localizer-last`.

    Args:
        run: environment.
        model: on the run's device.
        teacher: classifier whose CAMs make the seeds; None: that of `model`.
    """

    name = "localizer"
    trains_classifier = False  # see `EndToEndStage`

    def __init__(self, run: Run, model: Localizer, teacher: Localizer | None = None) -> None:
        config = run.config
        self.run, self.model = run, model
        self.epochs, self.evaluate_every = config.epochs, config.evaluate_every
        if config.initial_foreground:
            model.set_initial_foreground(config.initial_foreground)
        self.anchors_only = config.method == "tcam"
        self.loss = LocalizerLoss(loss_settings(config), (config.crop, config.crop))
        self.seeding = Seeding(run, model, teacher)
        if teacher is not None:
            teacher.eval().requires_grad_(False)
        trained = self.choose_trained()
        self.update = run.update(trained, config.decay_every)
        self.network = run.ranks.parallel(self.make_network())
        frames = config.sequence_frames
        read = frames if self.anchors_only else 1  # frames read per frame trained on
        self.loader = run.loader(frames, read * config.batch_size, run.seed_maps)
        self.step_losses = StepLosses(self.loss)
        sequences = self.loader.full_batch // frames
        run.compile(self.step_losses, sequences if self.anchors_only else self.loader.full_batch)
        self.best: dict[str, list[float]] = {}

    def choose_trained(self) -> list[tuple[nn.Module, float]]:
        """Freezes the classifier; returns the modules to train with their learning rates."""
        for module in self.model.classifier_modules():
            module.requires_grad_(False)
        return [(module, self.run.config.lr) for module in self.model.decoder_modules()]

    def make_network(self) -> nn.Module:
        """Returns the trained modules as one, for DistributedDataParallel."""
        return _Decode(self.model)

    def train(self) -> None:
        """Sets the decoder to training mode, and the frozen classifier to eval mode."""
        self.model.train()
        for module in self.model.classifier_modules():
            module.eval()

    def step(self, batches: Sequence[SequenceBatch], epoch: float, number: int) -> Step:
        """Takes an SGD step, without device synchronization.

        Features and seeds of all batches are computed before the first is decoded, because the
        means of the losses are taken over all batches. If no rank has a frame, the loss is NaN and
        the step is skipped.

        Args:
            batches: on the device; their gradients are accumulated.
            epoch: fractional epoch, for the schedules of the losses.
            number: number of the step in the run, for the random draws.
        """
        ranks = self.run.ranks
        self.update.begin()
        self.seeding.begin(number, ranks.rank)
        prepared = [self.prepare(batch) for batch in batches]
        counts = self.counts(prepared)
        total: dict[str, Tensor] = {}
        for index, one in enumerate(prepared):
            with ranks.gathers_gradients(self.network, index == len(prepared) - 1):
                losses = self.forward(one, epoch, counts)
                self.update.backward(losses["total"])
            for name, value in losses.items():
                total[name] = total.get(name, 0.0) + value.detach()
        frames = sum(len(one.images) for one in prepared if one.weight > 0)
        return Step(total, self.update.step(), total["total"].isfinite(), frames)

    def prepare(self, batch: SequenceBatch) -> Prepared:
        """Computes features of the frozen encoder, and draws seeds from their CAMs."""
        images, features = self.encode(batch)
        seeds = self.seeding.draw(self.seeding.maps(batch, images, features))
        return self.prepared(batch, features, seeds)

    @cached_property
    def encoder(self) -> FrozenEncoder:
        """The frozen encoder, as it is at the first step."""
        encoder = FrozenEncoder(self.model.encoder, self.run.autocast)
        self.run.compile(encoder, self.loader.full_batch)
        return encoder

    def encode(self, batch: SequenceBatch) -> tuple[Tensor, list[Tensor]]:
        """Returns the normalized frames (B, 3, H, W), and the encoder's maps of them."""
        images, features = self.encoder(batch.images)
        return images, features

    def prepared(self, batch: SequenceBatch, features: Sequence[Tensor], seeds: Tensor) -> Prepared:
        """Returns the decoder's input; with TCAM only the frames that sequences were drawn for.

        The earlier frames of a TCAM sequence contribute their CAMs only.

        Args:
            batch: of B frames.
            features: the encoder's maps of them.
            seeds: (B, H, W) uint8 pseudo-labels; TCAM: (G, H, W).
        """
        images, sequence, labels = batch.images, batch.sequence, batch.labels
        if self.anchors_only:
            features = [level[batch.anchors] for level in features]
            images, sequence, labels = (x[batch.anchors] for x in (images, sequence, labels))
        return Prepared(
            list(features), images, labels, seeds, sequence, batch.num_sequences,
            0.0 if batch.blank else 1.0, self.frame_weights(features, labels),
        )  # fmt: skip

    @torch.no_grad()
    def frame_weights(self, features: Sequence[Tensor], labels: Tensor) -> Tensor | None:
        """Returns weights (B,) by the probability of each frame's tag; None: 1 each."""
        config = self.run.config
        if config.tag_weighting == "off":
            return None
        with self.run.autocast():
            logits = self.model.classify(features)
        return tag_weights(logits, labels, config.tag_weighting, config.tag_threshold)

    def counts(self, prepared: Sequence[Prepared]) -> Counts:
        """Returns the divisors of this step's losses, over all batches of all ranks."""
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

    def forward(self, one: Prepared, epoch: float, counts: Counts) -> dict[str, Tensor]:
        """Computes the maps of a batch, and from them its losses; see `losses`."""
        return self.losses(one, self.maps(one), epoch, counts)

    def maps(self, one: Prepared) -> Tensor:
        """Returns maps (B, 2, H, W) before softmax, float32."""
        with self.run.autocast():
            return self.network(one.features, one.images.shape[2:]).float()

    def losses(
        self, one: Prepared, maps: Tensor, epoch: float, counts: Counts
    ) -> dict[str, Tensor]:
        """Returns the terms of Eq. 5, their sum and metrics, scalars by name; see `StepLosses`.

        Args:
            one: input of the decoder.
            maps: (B, 2, H, W) before softmax.
            epoch: fractional epoch, for the schedules.
            counts: divisors of the means.
        """
        weights = {
            name: torch.tensor(value)  # as numbers they would be compiled in
            for name, value in self.loss.weights_at(epoch).items()
        }
        losses: dict[str, Tensor] = self.step_losses(
            maps, one.images, one.seeds, one.sequence, one.num_sequences, weights, counts,
            one.frame_weights, self.model.middle_map(one.features) if one.features else None,
        )  # fmt: skip
        if one.weight != 1:
            losses = {name: one.weight * value for name, value in losses.items()}
        return losses

    def warning(self, means: Mapping[str, float]) -> str | None:
        """Returns a warning if the maps have collapsed, else None."""
        return collapse_warning(means, joint=self.loss.settings.coloc.weight > 0)

    def validate(self, epoch: int, unreadable: set[str]) -> dict[str, float]:
        """Evaluates the localizer, and writes the last checkpoint, and the best if it is better.

        Args:
            epoch: counted from 0.
            unreadable: receives the names of frames that cannot be decoded.

        Returns:
            CorLoc of the localizer and of its seed CAM if there are boxes, and classification
            accuracy if the classifier is trained too, in %.
        """
        run, config = self.run, self.run.config
        result = run.validate(self.model, decode=True)
        assert result.localizer is not None  # decoded
        unreadable.update(result.unreadable)
        summary, seed_cam = result.localizer.summary(), result.seed_cam.summary()
        scores, threshold, cam_threshold, centre = dict[str, float](), None, None, None
        if self.trains_classifier:
            scores["classification"] = seed_cam["classification_accuracy"] or 0.0
        if summary["corloc"]:
            scores["localization"] = summary["corloc"]["0.5"]
            scores["seed_cam"] = seed_cam["corloc"]["0.5"]
            threshold = result.localizer.best_threshold()
            cam_threshold = result.seed_cam.best_threshold()
            centre = result.centre.best_threshold()
        info = CheckpointInfo(
            "localizer", config.encoder, run.data.classes, config.crop, config.cam, epoch, scores,
            cam_threshold=cam_threshold, threshold=threshold, cam_layer=config.cam_layer,
            centre_threshold=centre, split=run.split,
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
