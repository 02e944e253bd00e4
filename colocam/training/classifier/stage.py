"""Stage 1: the classifier, trained on single frames with the cross-entropy of their video's tag."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colocam.cam.gradients import AVERAGES
from colocam.data.loading.loader import SequenceBatch
from colocam.models import Localizer
from colocam.models.checkpoint import CheckpointInfo, save_checkpoint
from colocam.training.classifier.features import FeatureBatch, FeatureLoader
from colocam.training.loop import Loader
from colocam.training.progress import Step
from colocam.training.run import Run
from colocam.training.update import nan_if_not_finite

BEST = {name: f"classifier-best-{name}" for name in ("classification", "localization")}


class _Classify(nn.Module):
    """Encoder and head as one module, for DistributedDataParallel."""

    def __init__(self, model: Localizer) -> None:
        super().__init__()
        self.encoder, self.head = model.classifier_modules()

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits (B, K)."""
        return self.head(self.encoder(images)[-1])


class ClassifierStage:
    """Trains the classifier; see `colocam.training.loop.Stage`.

    Encoder and head, the last block of the encoder and the head, or the head alone
    (`--classifier-layers`). Layers that are not trained stay as their weights were given, and batch
    norm keeps its statistics unless all layers are trained. The head alone is trained on features
    that are computed once, unless its pooling needs the whole map.

    Writes the two best checkpoints, by classification and by localization (CorLoc of the seed CAM)
    on validation. If no validation frame has boxes, both are the best by classification; without
    validation frames, the last.

    Args:
        run: environment.
        model: on the run's device.
    """

    name = "classifier"
    loader: Loader

    def __init__(self, run: Run, model: Localizer) -> None:
        config = run.config
        self.run, self.model, self.epochs = run, model, config.classifier_epochs
        self.evaluate_every = config.classifier_evaluate_every or config.evaluate_every
        modules: dict[str, list[nn.Module]] = {
            "all": [model.encoder], "last": model.encoder.last_block(), "head": []
        }  # fmt: skip
        trained = modules[config.classifier_layers]
        model.encoder.requires_grad_(False)
        for module in trained:
            module.requires_grad_(True)
        model.encoder.freeze_unused()
        head_lr = config.classifier_lr * config.classifier_head_factor
        self.update = run.update(
            [*((module, config.classifier_lr) for module in trained), (model.head, head_lr)],
            config.classifier_decay_every,
        )
        self.loader = run.loader(1, config.classifier_batch_size)
        self.pooled = not trained and model.head.pooling in AVERAGES
        if self.pooled:
            self.loader = FeatureLoader(
                self.loader, model.encoder, run.autocast, config.seed, run.console
            )
        self.classify = run.ranks.parallel(model.head if self.pooled else _Classify(model))
        self.best: dict[str, list[float]] = {}

    def train(self) -> None:
        """Sets the model to training mode if all layers are trained, otherwise to eval mode.

        In training mode, batch norm updates its statistics.
        """
        self.model.train(self.run.config.classifier_layers == "all")

    def step(
        self, batches: Sequence[SequenceBatch | FeatureBatch], epoch: float, number: int
    ) -> Step:
        """Takes an SGD step, without device synchronization.

        If no rank has a frame, the loss is NaN and the step is skipped.

        Args:
            batches: on the device; their gradients are accumulated.
            epoch: not used in this stage.
            number: not used in this stage.
        """
        ranks = self.run.ranks
        self.update.begin()
        weights = [0.0 if batch.blank else 1.0 for batch in batches]
        own = sum(len(batch.labels) for batch in batches if not batch.blank)
        frames = ranks.mean(torch.full((), float(own), device=self.run.device))
        total = torch.zeros((), device=self.run.device)
        for weight, batch in zip(weights, batches, strict=True):
            with ranks.gathers_gradients(self.classify, batch is batches[-1]):
                logits = self._logits(batch)
                loss = F.cross_entropy(logits, batch.labels, reduction="sum") * weight / frames
                loss = nan_if_not_finite(loss, logits)
                self.update.backward(loss)
            total = total + loss.detach()
        return Step({"cross-entropy": total}, self.update.step(), total.isfinite(), own)

    def _logits(self, batch: SequenceBatch | FeatureBatch) -> Tensor:
        """Class logits (B, K), float32."""
        if isinstance(batch, FeatureBatch):
            inputs = batch.features
        else:
            inputs = self.model.encoder.normalized(batch.images)
        with self.run.autocast():
            return self.classify(inputs).float()

    def warning(self, means: Mapping[str, float]) -> str | None:
        """Returns None: this stage has no warnings."""

    def validate(self, epoch: int, unreadable: set[str]) -> dict[str, float]:
        """Evaluates the classifier, and writes the checkpoints that are the best so far.

        Args:
            epoch: counted from 0.
            unreadable: receives the names of frames that cannot be decoded.

        Returns:
            classification accuracy, and CorLoc of the seed CAM if there are boxes, in %.
        """
        run, config = self.run, self.run.config
        result = run.validate(self.model, decode=False)
        unreadable.update(result.unreadable)
        summary = result.seed_cam.summary()
        accuracy = summary["classification_accuracy"] or 0.0
        scores, threshold, centre = {"classification": accuracy}, None, None
        if summary["corloc"]:
            scores["localization"] = summary["corloc"]["0.5"]
            threshold = result.seed_cam.best_threshold()
            centre = result.centre.best_threshold()
        info = CheckpointInfo(
            "classifier", config.encoder, run.data.classes, config.crop, config.cam, epoch, scores,
            cam_threshold=threshold, cam_layer=config.cam_layer, centre_threshold=centre,
            split=run.split,
        )  # fmt: skip
        self._keep_best(info, scores)
        return scores

    def _keep_best(self, info: CheckpointInfo, scores: dict[str, float]) -> None:
        accuracy = scores["classification"]
        ranking = {
            "classification": [accuracy],
            "localization": [scores.get("localization", 0.0), accuracy],
        }
        for name, rank in ranking.items():
            # Of equal scores the later checkpoint is kept: it is trained for longer.
            if name in self.best and rank < self.best[name]:
                continue
            self.best[name] = rank
            if self.run.ranks.main:
                save_checkpoint(self.run.checkpoint(BEST[name]), self.model, info)
