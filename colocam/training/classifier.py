"""Stage 1: the classifier, on single frames with cross-entropy against the video's tag."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colocam.data.loading.loader import SequenceBatch
from colocam.data.loading.transforms import normalized
from colocam.models import Localizer
from colocam.models.checkpoint import CheckpointInfo, save_checkpoint
from colocam.training.progress import Step
from colocam.training.run import Run
from colocam.training.update import poisoned

BEST = {name: f"classifier-best-{name}" for name in ("classification", "localization")}


class _Classify(nn.Module):
    """What stage 1 trains, as one module from images to logits."""

    def __init__(self, model: Localizer) -> None:
        super().__init__()
        self.encoder, self.head = model.classifier_modules()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder(images)[-1])


class ClassifierStage:
    """Trains encoder and head of a model; see `colocam.training.loop.Stage`.

    Leaves the two best checkpoints on disk, by classification and by localization (CorLoc of the
    seed CAM) on validation; where validation has no boxes both are best by classification, and
    without validation the last.
    """

    name = "classifier"

    def __init__(self, run: Run, model: Localizer) -> None:
        config = run.config
        self.run, self.model, self.epochs = run, model, config.classifier_epochs
        head_lr = config.classifier_lr * config.classifier_head_factor
        self.update = run.update(
            [(model.encoder, config.classifier_lr), (model.head, head_lr)],
            config.classifier_decay_every,
        )
        self.classify = run.ranks.parallel(_Classify(model))
        self.loader = run.loader(1, config.classifier_batch_size)
        self.best: dict[str, list[float]] = {}

    def train(self) -> None:
        """Batch norm of the encoder learns its statistics."""
        self.model.train()

    def step(self, batches: Sequence[SequenceBatch], epoch: float, number: int) -> Step:
        """One SGD step; nothing in it waits for the device. The last two play no part here.

        Where no rank has a frame the loss is NaN: no step then.
        """
        ranks = self.run.ranks
        self.update.begin()
        weights = [0.0 if batch.blank else 1.0 for batch in batches]
        own = sum(len(batch.images) for batch in batches if not batch.blank)
        frames = ranks.mean(torch.full((), float(own), device=self.run.device))
        total = torch.zeros((), device=self.run.device)
        for weight, batch in zip(weights, batches, strict=True):
            images = normalized(batch.images).contiguous(memory_format=torch.channels_last)
            with ranks.gathers_gradients(self.classify, batch is batches[-1]):
                with self.run.autocast():
                    logits = self.classify(images).float()
                loss = F.cross_entropy(logits, batch.labels, reduction="sum") * weight / frames
                loss = poisoned(loss, logits)
                self.update.backward(loss)
            total = total + loss.detach()
        return Step({"cross-entropy": total}, self.update.step(), total.isfinite(), own)

    def remark(self, means: Mapping[str, float]) -> None:
        """Nothing to tell."""

    def validate(self, epoch: int, unreadable: set[str]) -> dict[str, float]:
        """Classification accuracy, and CorLoc of the seed CAM where there are boxes, in %."""
        run, config = self.run, self.run.config
        result = run.validate(self.model, decode=False)
        unreadable.update(result.unreadable)
        summary = result.seed_cam.summary()
        accuracy = summary["classification_accuracy"] or 0.0
        scores, threshold = {"classification": accuracy}, None
        if summary["corloc"]:
            scores["localization"] = summary["corloc"]["0.5"]
            threshold = result.seed_cam.best_threshold()
        info = CheckpointInfo(
            "classifier", config.encoder, run.data.classes, config.crop, config.cam, epoch, scores,
            cam_threshold=threshold, cam_layer=config.cam_layer,
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
            # Later is better among equals: the classifier has seen more.
            if name in self.best and rank < self.best[name]:
                continue
            self.best[name] = rank
            if self.run.ranks.main:
                save_checkpoint(self.run.checkpoint(BEST[name]), self.model, info)
