"""Stage 2: the decoder, over the frozen classifier, with the four terms of Eq. 5."""

import torch
from torch import Tensor

from colocam.cam import ActivationMap
from colocam.config import Config
from colocam.evaluation.evaluate import evaluate
from colocam.losses import LocalizerLoss, LossSettings, Schedule
from colocam.model import Localizer
from colocam.model.checkpoint import CheckpointInfo, save_checkpoint
from colocam.training.loop import Epochs, make_optimizer
from colocam.training.run import Run
from colocam.training.seeding import Seeding
from colocam.video.batches import SequenceBatch
from colocam.video.transforms import normalized


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
    return LossSettings(
        **schedules,
        coloc_adaptive=config.coloc_weighting == "adaptive",
        form=config.energy_form,
        sigma_rgb=config.sigma_rgb,
        sigma_xy=config.sigma_xy,
        spatial_method=config.spatial_method,
        joint_method=config.joint_method,
    )


class LocalizerStep:
    """One SGD step of stage 2; nothing in it waits for the device."""

    def __init__(self, run: Run, model: Localizer, teacher: Localizer | None = None) -> None:
        config = run.config
        self.run, self.model = run, model
        self.anchors_only = config.method == "tcam"
        self.loss = LocalizerLoss(loss_settings(config), (config.crop, config.crop))
        self.optimizer, self.scheduler = make_optimizer(
            [(module, config.lr) for module in model.decoder_modules()], config, config.decay_every
        )
        self.seeding = Seeding(run, model, teacher)
        frozen = (*model.classifier_modules(), *([teacher.eval()] if teacher else []))
        for module in frozen:
            module.requires_grad_(False)

    def __call__(self, batch: SequenceBatch, epoch: float) -> dict[str, Tensor]:
        """The losses of one step, detached from nothing: (scalar tensors on the device)."""
        images = normalized(batch.images).contiguous(memory_format=torch.channels_last)
        with self.run.autocast(), torch.no_grad():
            features = self.model.encoder(images)
        seeds = self.seeding(batch, images, features)
        shown, sequence = batch.images, batch.sequence
        if self.anchors_only:  # the earlier frames lend their CAMs only
            features = [level[batch.anchors] for level in features]
            shown, sequence = shown[batch.anchors], sequence[batch.anchors]
        with self.run.autocast():
            maps = self.model.decode(features, images.shape[2:])
        losses = self.loss(shown, maps, seeds, sequence, batch.num_sequences, epoch)
        losses["total"].backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return losses


def train_localizer(run: Run, model: Localizer, teacher: Localizer | None = None) -> set[str]:
    """Trains decoder and last convolution of `model`, whose classifier stays as it is.

    The CAMs for its seeds come from `teacher`, or from the model itself. Leaves `localizer-best`
    (CorLoc on validation; the last where that has no boxes) and `localizer-last`.

    Returns:
        names of the frames that could not be decoded.
    """
    config = run.config
    step = LocalizerStep(run, model, teacher)
    loader = run.loader(config.frames, config.batch_size, run.seed_maps)
    epochs = Epochs("localizer", loader, config.epochs, run.console)
    best: list[float] = []
    for epoch in range(config.epochs):
        model.train()
        for module in model.classifier_modules():
            module.eval()  # frozen: its batch norm keeps its statistics
        means = epochs.run(epoch, step, run.device)
        step.scheduler.step()
        scores: dict[str, float] = {}
        if run.evaluates_after(epoch, config.epochs):
            scores = _validate(run, model, epoch, best, epochs.unreadable)
        run.metrics.log(stage="localizer", epoch=epoch, **means, **scores)
        text = "  ".join(f"{name} {value:.3f}" for name, value in means.items() if name in _TERMS)
        text += "".join(f"  {name} (val) {value:.1f} %" for name, value in scores.items())
        run.console.print(
            f"localizer  {epoch + 1:3d}/{config.epochs}  {text}  "
            f"{means['frames_per_second']:.0f} frames/s"
        )
    return epochs.unreadable


_TERMS = ("pl", "crf", "asc", "coloc", "total")


def _validate(
    run: Run, model: Localizer, epoch: int, best: list[float], unreadable: set[str]
) -> dict[str, float]:
    """Scores on validation; writes the last checkpoint, and the best if it is."""
    config = run.config
    result = evaluate(
        model, run.data.val, run.data.classes, side=config.crop,
        cam=ActivationMap(model, config.cam, config.cam_layer),
        device=run.device, autocast=run.autocast,
    )  # fmt: skip
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
    save_checkpoint(run.checkpoint("localizer-last"), model, info)
    score = scores.get("localization", 0.0)
    if not best or score >= max(best):
        save_checkpoint(run.checkpoint("localizer-best"), model, info)
    best.append(score)
    return scores
