"""Evaluation of a model on frames with boxes: CorLoc of its score maps and seed CAMs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest
from multiprocessing.pool import Pool
from typing import cast

import numpy as np
import torch
from torch import Tensor

from colocam.cam import ActivationMap, normalized_map
from colocam.cam.activation import Method
from colocam.data.decoding.resizing import resized
from colocam.data.loading.frame_batches import FrameBatch, frame_batches
from colocam.data.loading.prefetch import prefetched
from colocam.data.loading.transforms import to_tensor
from colocam.data.records import BoxedFrame
from colocam.evaluation.boxes import scale_box
from colocam.evaluation.contour_workers import contour_workers
from colocam.evaluation.corloc import CorLoc
from colocam.evaluation.iou_curves import centre_curves
from colocam.models import Localizer
from colocam.models.checkpoint import CheckpointInfo
from colocam.postprocessing import NO_POSTPROCESSING, Postprocessing, Refinement
from colocam.postprocessing.video_scores import video_scores
from colocam.runtime.device import to_device
from colocam.runtime.distribution import ALONE, Ranks
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of

BATCH_SIZE = 32  # frames per forward pass
POSTPROCESSING_BATCH = 32  # earlier frames per forward pass

ALONE_REFINED = Postprocessing(refine=1)  # needs no earlier frames

Refine = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Refines score maps: images (B, 3, S, S) uint8, the encoder's middle map (B, C, h, w) and maps
(B, S, S) → maps (B, S, S)."""


class NotFiniteError(UserError):
    """Error for a model whose outputs are NaN or infinite.

    Attributes:
        what: the frames, as the subject of a sentence with "are not finite".
    """

    def __init__(self, names: Sequence[str], total: int) -> None:
        self.what = f"the maps of {len(names)} of {count_of(total, 'frame')} (first: {names[0]})"
        super().__init__(
            f"{self.what} are not finite: the weights have diverged; train with a lower --lr "
            "(stage 1: --classifier-lr), or evaluate with --amp off"
        )


@dataclass
class Evaluation:
    """Result of an evaluation.

    Attributes:
        localizer: CorLoc of S¹, or None for a classifier.
        seed_cam: CorLoc of the seed CAM of the true class.
        centre: CorLoc of the box around the centre, see `colocam.evaluation.boxes.centre_map`.
        unreadable: ids of the frames that could not be decoded.
        not_finite: ids of the frames whose outputs are not finite; they are not scored.
    """

    localizer: CorLoc | None
    seed_cam: CorLoc
    centre: CorLoc
    unreadable: list[str] = field(default_factory=list)
    not_finite: list[str] = field(default_factory=list)

    @classmethod
    def empty(cls, classes: Sequence[str], decode: bool) -> "Evaluation":
        """Result on no frame; `decode`: of a localizer."""
        localizer = CorLoc(classes) if decode else None
        return cls(localizer, CorLoc(classes), CorLoc(classes, curves=centre_curves))

    def extend(self, other: "Evaluation") -> None:
        """Adds the result on other frames."""
        self.seed_cam.extend(other.seed_cam)
        self.centre.extend(other.centre)
        if self.localizer is not None and other.localizer is not None:
            self.localizer.extend(other.localizer)
        self.unreadable += other.unreadable
        self.not_finite += other.not_finite


@dataclass(frozen=True)
class Outputs:
    """Outputs of a model for one batch, on the CPU.

    Attributes:
        logits: (B, K).
        cams: (B, S, S) in [0, 1], of the true class; None if no CAM was computed.
        scores: (B, S, S) S¹; None if the decoder did not run.
    """

    logits: np.ndarray
    cams: np.ndarray | None
    scores: np.ndarray | None


def seed_cam_of(
    model: Localizer, info: CheckpointInfo, generator: torch.Generator | None = None
) -> ActivationMap:
    """The activation map that a checkpoint's seeds were computed with.

    Args:
        model: of the checkpoint.
        info: of the checkpoint.
        generator: draws the noise of Smooth-GradCAM++; None: torch's default.
    """
    method = cast(Method, info.cam)  # validated by ActivationMap
    return ActivationMap(model, method, info.cam_layer, generator=generator)


@torch.inference_mode()
def run_model(
    model: Localizer,
    images: Tensor,
    labels: Tensor | None,
    cam: ActivationMap | None,
    decode: bool = True,
    refine: Refine | None = None,
) -> Outputs:
    """Runs one forward pass.

    Args:
        model: in eval mode, on the device of the images.
        images: (B, 3, S, S) uint8, frames resized to the model's input size.
        labels: (B,) classes of the CAMs; None: the most probable class.
        cam: activation map of the model; None: no CAMs.
        decode: also run the decoder.
        refine: refines the score maps; None: they stay as they are.
    """
    inputs = model.encoder.normalized(images)
    features = model.encoder(inputs)
    logits = model.classify(features)
    size = (images.shape[2], images.shape[3])
    cams = scores = None
    if cam is not None:
        classes = logits.argmax(1) if labels is None else labels
        cams = normalized_map(cam(inputs, classes, features), size).cpu().numpy()
    if decode:
        maps = model.decode(features, size).float().softmax(1)[:, 1]
        if refine is not None:
            maps = refine(images, model.middle_map(features), maps)
        scores = maps.cpu().numpy()
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
    batch_size: int = BATCH_SIZE,
    autocast: Callable[[], torch.autocast] | None = None,
    on_batch: Callable[[FrameBatch, Outputs], None] | None = None,
    ranks: Ranks = ALONE,
    processes: int = 1,
    postprocessing: Postprocessing = NO_POSTPROCESSING,
) -> Evaluation:
    """Evaluates a model on frames: CorLoc as in `colocam.evaluation.corloc`.

    With several ranks this is a collective: the ranks share the batches, and each returns the
    result on all frames. The batches, and thus the numbers, are those of a single process.

    Args:
        model: on `device`; set to eval mode during the evaluation.
        records: frames to evaluate.
        classes: class names, in the order of the labels.
        side: side in pixels to which frames are resized.
        cam: the seed CAM, evaluated as baseline; its noise, if any, is drawn with seed 0.
        device: of the computation.
        decode: evaluate the localizer too; False: the classifier and its CAM only.
        batch_size: frames per forward pass.
        autocast: creates the context of mixed precision; None: full precision.
        on_batch: called with every batch of this rank and its outputs.
        ranks: that share the batches.
        processes: number of processes for contours (`colocam.evaluation.contour_workers`); it does
            not change the numbers.
        postprocessing: of the score maps, along each video; the default: none, as published.

    Raises:
        NotFiniteError: outputs of the model are not finite; on all ranks.
    """
    parts: list[Evaluation] = []  # a batch each
    training = model.training
    model.eval()
    cam.generator = torch.Generator(device).manual_seed(0)  # the same noise at every evaluation
    with contour_workers(processes) as pool:
        batches = frame_batches(records, side, batch_size, ranks.rank, ranks.world)
        for batch in prefetched(batches):
            part = Evaluation.empty(classes, decode)
            part.unreadable += batch.unreadable
            parts.append(part)
            if not batch.records:
                continue
            labels = to_device(torch.tensor([record.label for record in batch.records]), device)
            with autocast() if autocast else torch.autocast(device.type, enabled=False):
                refine = (
                    _refine_alone(batch) if decode and postprocessing == ALONE_REFINED else None
                )
                images = to_device(batch.images, device)
                outputs = run_model(model, images, labels, cam, decode, refine)
                if decode and postprocessing.frames_back:
                    infer = partial(_infer, model, side, postprocessing.refine)
                    scores = video_scores(batch.records, infer, postprocessing)
                    outputs = replace(outputs, scores=scores)
            if not_finite := _not_finite(batch, outputs):
                part.not_finite += not_finite
                continue
            _score(part, batch, outputs, side, pool)
            if on_batch is not None:
                on_batch(batch, outputs)
    model.train(training)
    result = Evaluation.empty(classes, decode)
    # Rank r evaluates the batches r, r + world, …: the last round may be incomplete.
    for round_of_parts in zip_longest(*ranks.gather(parts)):
        for part in filter(None, round_of_parts):
            result.extend(part)
    if result.not_finite:
        raise NotFiniteError(result.not_finite, len(records))
    return result


def _refine_alone(batch: FrameBatch) -> Refine:
    """Refinement of the batch's frames, each by itself."""
    frames = batch.images.permute(0, 2, 3, 1).numpy()
    return partial(Refinement(1).next, list(frames))


def _not_finite(batch: FrameBatch, outputs: Outputs) -> list[str]:
    """Ids of the frames with an output that is not finite."""
    arrays = [a for a in (outputs.logits, outputs.cams, outputs.scores) if a is not None]
    valid = np.all([np.isfinite(a.reshape(len(a), -1)).all(1) for a in arrays], axis=0)
    return [record.id for record, finite in zip(batch.records, valid, strict=True) if not finite]


def _infer(
    model: Localizer, side: int, refine: int | None, frames: Sequence[np.ndarray]
) -> np.ndarray:
    """Score maps (B, S, S) of frames of any size, of one video, refined over `refine` frames."""
    device = next(model.parameters()).device
    refinement = None if refine is None else Refinement(refine)
    parts = []
    for start in range(0, len(frames), POSTPROCESSING_BATCH):
        part = frames[start : start + POSTPROCESSING_BATCH]
        images = to_device(to_tensor([resized(frame, side) for frame in part]), device)
        apply = None if refinement is None else partial(refinement.next, part)
        parts.append(run_model(model, images, None, None, refine=apply).scores)
    return np.concatenate([part for part in parts if part is not None])


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
    if outputs.cams is not None:  # of the maps, only the size is used
        nobody = [None] * len(labels)  # ranks classes for the box around the centre
        result.centre.add_all(list(zip(outputs.cams, boxes, labels, nobody, videos, strict=True)))
    for collected, maps in ((result.seed_cam, outputs.cams), (result.localizer, outputs.scores)):
        if collected is not None and maps is not None:
            frames = list(zip(maps, boxes, labels, rankings, videos, strict=True))
            collected.add_all(frames, pool)
