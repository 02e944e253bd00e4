"""TrCAM-V: encoder, classification head and localization head, trained together."""

import torch
import torch.nn.functional as F
from torch import nn

from colocam.data.loading.loader import SequenceBatch
from colocam.losses import Counts
from colocam.training.localizer.stage import LocalizerStage, Prepared
from colocam.training.update import nan_if_not_finite


class EndToEndStage(LocalizerStage):
    """Trains the whole model: cross-entropy of the tags plus the losses of the maps.

    Seeds are drawn from stored maps, batches are single frames. The encoder has a learning rate of
    its own (`--encoder-lr`), the classification head that of stage 1, the decoder that of stage 2.
    Batch norm of the encoder keeps the statistics of pretrained weights, since a batch holds few
    videos; from random weights it updates them.
    """

    trains_classifier = True

    def choose_trained(self) -> list[tuple[nn.Module, float]]:
        """Returns encoder and heads with their learning rates."""
        config, model = self.run.config, self.model
        model.encoder.freeze_unused()
        return [
            (model.encoder, config.encoder_lr),
            (model.head, config.classifier_lr * config.classifier_head_factor),
            *((module, config.lr) for module in model.decoder_modules()),
        ]

    def make_network(self) -> nn.Module:
        """Returns the model, which returns class logits and maps."""
        return self.model

    def train(self) -> None:
        """Sets the model to training mode; batch norm of a pretrained encoder to eval mode."""
        self.model.train()
        if self.run.config.weights != "none":
            for module in self.model.encoder.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def prepare(self, batch: SequenceBatch) -> Prepared:
        """Draws seeds from the stored maps; the encoder runs in `forward`."""
        seeds = self.seeding.draw(self.seeding.maps(batch, batch.images, ()))
        return self.prepared(batch, (), seeds)

    def forward(self, one: Prepared, epoch: float, counts: Counts) -> dict[str, torch.Tensor]:
        """Computes the losses of a batch: those of the maps, and the cross-entropy of the tags."""
        images = self.model.encoder.normalized(one.images)
        with self.run.autocast():
            logits, maps = (output.float() for output in self.network(images))
        losses = self.losses(one, maps, epoch, counts)
        entropy = F.cross_entropy(logits, one.labels, reduction="sum") * one.weight
        entropy = entropy / counts.present
        losses["total"] = nan_if_not_finite(losses["total"] + entropy, logits)
        return {"cross-entropy": entropy, **losses}
