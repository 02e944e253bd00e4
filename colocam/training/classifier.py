"""Stage 1: the classifier, on single frames with cross-entropy against the video's tag."""

import torch
import torch.nn.functional as F
from torch import Tensor

from colocam.cam import ActivationMap
from colocam.evaluation.evaluate import evaluate
from colocam.model import Localizer
from colocam.model.checkpoint import CheckpointInfo, save_checkpoint
from colocam.training.loop import Epochs, make_optimizer
from colocam.training.run import Run
from colocam.video.batches import SequenceBatch
from colocam.video.transforms import normalized

BEST = {name: f"classifier-best-{name}" for name in ("classification", "localization")}


def train_classifier(run: Run, model: Localizer) -> set[str]:
    """Trains encoder and head of `model`; leaves the two best checkpoints on disk.

    Best by classification and best by localization (CorLoc of the seed CAM) on validation; where
    validation has no boxes both are best by classification, and without validation the last.

    Returns:
        names of the frames that could not be decoded.
    """
    config = run.config
    factor = config.classifier_head_factor
    optimizer, scheduler = make_optimizer(
        [(model.encoder, config.classifier_lr), (model.head, config.classifier_lr * factor)],
        config,
        config.classifier_decay_every,
    )

    def step(batch: SequenceBatch, _: float) -> dict[str, Tensor]:
        images = normalized(batch.images).contiguous(memory_format=torch.channels_last)
        with run.autocast():
            logits = model.classify(model.encoder(images))
            loss = F.cross_entropy(logits.float(), batch.labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return {"cross-entropy": loss}

    loader = run.loader(1, config.classifier_batch_size)
    epochs = Epochs("classifier", loader, config.classifier_epochs, run.console)
    best: dict[str, tuple[float, ...]] = {}
    for epoch in range(config.classifier_epochs):
        model.train()
        means = epochs.run(epoch, step, run.device)
        scheduler.step()
        scores: dict[str, float] = {}
        if run.evaluates_after(epoch, config.classifier_epochs):
            scores = _validate(run, model, epoch, best, epochs.unreadable)
        run.metrics.log(stage="classifier", epoch=epoch, **means, **scores)
        _report(run, epoch, means, scores)
    return epochs.unreadable


def _validate(
    run: Run,
    model: Localizer,
    epoch: int,
    best: dict[str, tuple[float, ...]],
    unreadable: set[str],
) -> dict[str, float]:
    """Scores on validation; writes the checkpoints that are the best so far."""
    config = run.config
    result = evaluate(
        model, run.data.val, run.data.classes, side=config.crop,
        cam=ActivationMap(model, config.cam, config.cam_layer),
        device=run.device, decode=False, autocast=run.autocast,
    )  # fmt: skip
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
    ranks = {
        "classification": (accuracy,),
        "localization": (scores.get("localization", 0), accuracy),
    }
    for name, rank in ranks.items():
        # Later is better among equals: the classifier has seen more.
        if name not in best or rank >= best[name]:
            best[name] = rank
            save_checkpoint(run.checkpoint(BEST[name]), model, info)
    return scores


def _report(run: Run, epoch: int, means: dict[str, float], scores: dict[str, float]) -> None:
    shown = {"cross-entropy": f"{means.get('cross-entropy', float('nan')):.3f}"}
    shown |= {f"{name} (val)": f"{value:.1f} %" for name, value in scores.items()}
    text = "  ".join(f"{name} {value}" for name, value in shown.items())
    run.console.print(
        f"classifier {epoch + 1:3d}/{run.config.classifier_epochs}  {text}  "
        f"{means['frames_per_second']:.0f} frames/s"
    )
