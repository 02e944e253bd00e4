"""Runs a model over frames with boxes: score maps and seed CAMs to CorLoc."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest
from multiprocessing.pool import Pool

import numpy as np
import torch
from torch import Tensor

from colocam.cam import ActivationMap, normalized_map
from colocam.data.loading.frame_batches import FrameBatch, frame_batches
from colocam.data.loading.prefetch import prefetched
from colocam.data.loading.transforms import normalized, resized, to_tensor
from colocam.data.records import BoxedFrame
from colocam.evaluation.boxes import scale_box
from colocam.evaluation.contour_workers import contour_workers
from colocam.evaluation.corloc import CorLoc
from colocam.evaluation.smoothed_scores import smoothed_scores
from colocam.models import Localizer
from colocam.runtime.distribution import ALONE, Ranks

AT_ONCE = 32  # frames a forward pass, of those that a frame is smoothed with


@dataclass
class Evaluation:
    """What one pass over the frames gave.

    Attributes:
        localizer: CorLoc of S¹, or None where only the classifier ran.
        seed_cam: CorLoc of the seed CAM of the true class.
        unreadable: ids of the frames that could not be decoded.
    """

    localizer: CorLoc | None
    seed_cam: CorLoc
    unreadable: list[str] = field(default_factory=list)

    def extend(self, other: "Evaluation") -> None:
        """Takes in what a pass over other frames gave."""
        self.seed_cam.extend(other.seed_cam)
        if self.localizer is not None and other.localizer is not None:
            self.localizer.extend(other.localizer)
        self.unreadable += other.unreadable


@dataclass(frozen=True)
class Outputs:
    """A model's outputs for one batch, on the CPU.

    Attributes:
        logits: (B, K).
        cams: (B, S, S) in [0, 1], of the true class, or None.
        scores: (B, S, S) S¹, or None.
    """

    logits: np.ndarray
    cams: np.ndarray | None
    scores: np.ndarray | None


@torch.inference_mode()
def run_model(
    model: Localizer,
    images: Tensor,
    labels: Tensor | None,
    cam: ActivationMap | None,
    decode: bool = True,
) -> Outputs:
    """One forward pass over images (B, 3, S, S) uint8, wherever they are.

    Args:
        model: in eval mode, on the device of the images.
        images: frames resized to the model's size.
        labels: (B,) classes whose CAM is wanted; None: the most probable one.
        cam: of the model; None: no CAMs.
        decode: also run the decoder.
    """
    inputs = normalized(images).contiguous(memory_format=torch.channels_last)
    features = model.encoder(inputs)
    logits = model.classify(features)
    size = (images.shape[2], images.shape[3])
    cams = scores = None
    if cam is not None:
        classes = logits.argmax(1) if labels is None else labels
        cams = normalized_map(cam(inputs, classes, features), size).cpu().numpy()
    if decode:
        scores = model.decode(features, size).float().softmax(1)[:, 1].cpu().numpy()
    return Outputs(logits.float().cpu().numpy(), cams, scores)


def evaluate(
    model: Localizer,
    records: Sequence[BoxedFrame],
    classes: Sequence[str],
    *,
    side: int,
    cam: ActivationMap,
    device: torch.device,
    decode: bool = True,
    batch_size: int = 32,
    autocast: Callable[[], torch.autocast] | None = None,
    on_batch: Callable[[FrameBatch, Outputs], None] | None = None,
    ranks: Ranks = ALONE,
    processes: int = 1,
    smooth: float | None = None,
) -> Evaluation:
    """Evaluates every frame once (CorLoc as in `colocam.evaluation.corloc`).

    Several ranks share the batches, and each gets the numbers of all: a collective then. The
    batches are those of one process, so the numbers are as well.

    Args:
        model: on `device`; set to eval mode, and back after.
        records: frames to evaluate.
        classes: class names, in the order of the labels.
        side: pixels to which frames are resized.
        cam: the seed CAM that is the baseline; its noise, if it has any, is drawn from seed 0.
        device: where to compute.
        decode: evaluate the localizer too; off: the classifier and its CAM alone.
        batch_size: frames a forward pass.
        autocast: makes the context of mixed precision; None: full precision.
        on_batch: called with every batch of this rank and its outputs (progress, pictures).
        ranks: that share the work.
        processes: that look for contours beside this one (`colocam.evaluation.contour_workers`);
            the numbers do not depend on it.
        smooth: X of the smoothing of score maps along each video (`smoothed_scores`); None: each
            frame by itself, as published.
    """
    parts: list[Evaluation] = []  # a batch each
    training = model.training
    model.eval()
    cam.generator = torch.Generator(device).manual_seed(0)  # the same noise at every evaluation
    with contour_workers(processes) as pool:
        batches = frame_batches(records, side, batch_size, ranks.rank, ranks.world)
        for batch in prefetched(batches):
            part = Evaluation(CorLoc(classes) if decode else None, CorLoc(classes))
            part.unreadable += batch.unreadable
            parts.append(part)
            if not batch.records:
                continue
            labels = torch.tensor([record.label for record in batch.records], device=device)
            with autocast() if autocast else torch.autocast(device.type, enabled=False):
                outputs = run_model(model, batch.images.to(device), labels, cam, decode)
                if smooth is not None and decode:
                    scores = smoothed_scores(batch.records, partial(_infer, model, side), smooth)
                    outputs = replace(outputs, scores=scores)
            _score(part, batch, outputs, side, pool)
            if on_batch is not None:
                on_batch(batch, outputs)
    model.train(training)
    result = Evaluation(CorLoc(classes) if decode else None, CorLoc(classes))
    # Ranks deal with the batches in turn; the last round may not reach all of them.
    for round_of_parts in zip_longest(*ranks.gather(parts)):
        for part in filter(None, round_of_parts):
            result.extend(part)
    return result


def _infer(model: Localizer, side: int, frames: Sequence[np.ndarray]) -> np.ndarray:
    """Score maps of frames of any size."""
    device = next(model.parameters()).device
    images = to_tensor([resized(frame, side) for frame in frames])
    parts = [run_model(model, part.to(device), None, None) for part in images.split(AT_ONCE)]
    return np.concatenate([part.scores for part in parts])


def _score(
    result: Evaluation, batch: FrameBatch, outputs: Outputs, side: int, pool: Pool | None
) -> None:
    rankings = np.argsort(-outputs.logits, axis=1, kind="stable")
    boxes = [
        [scale_box(box, size, (side, side)) for box in record.boxes]
        for record, size in zip(batch.records, batch.sizes, strict=True)
    ]
    labels = [record.label for record in batch.records]
    videos = [record.video for record in batch.records]
    for collected, maps in ((result.seed_cam, outputs.cams), (result.localizer, outputs.scores)):
        if collected is not None and maps is not None:
            frames = list(zip(maps, boxes, labels, rankings, videos, strict=True))
            collected.add_all(frames, pool)
