"""Localization of frames with a checkpoint: the Python interface behind `colocam.load`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args, overload

import numpy as np
import torch
from numpy.typing import NDArray

from colocam.data.decoding.arrays import InputFrames, frame_list, rgb_array
from colocam.data.decoding.resizing import resized
from colocam.data.loading.transforms import to_tensor
from colocam.evaluation.boxes import MIN_AREA, Box, threshold_or_default
from colocam.evaluation.emptiness import emptiness
from colocam.evaluation.evaluate import run_model
from colocam.evaluation.predictions import best_box, locate, probabilities
from colocam.models.checkpoint import load_checkpoint
from colocam.postprocessing import Refinement
from colocam.runtime.device import make_autocast, pick_device, to_device
from colocam.runtime.errors import UserError

Boxes = Literal["largest", "all"]
"""Regions of the score map above the threshold that get a box."""


@dataclass(frozen=True)
class Localization:
    """Localization of one frame.

    Attributes:
        class_name: the most probable class, or the requested one.
        probability: of that class, 0…1.
        box: x0, y0, x1, y1 in pixels of the original frame, corners included; None if the score
            map has no contour.
        score: mean of the score map inside the box, 0…1; 0 without a box.
        score_map: (S, S) float32, S¹ at the model's input size.
        emptiness: score for the absence of an object, 0…1: 1 − the largest value of the score map.
        all_boxes: boxes of all regions above the threshold, the largest region first (`box`);
            with boxes="largest", `box` only.
        all_scores: mean of the score map inside each of them.
    """

    class_name: str
    probability: float
    box: Box | None
    score: float
    score_map: NDArray[np.floating]
    emptiness: float
    all_boxes: tuple[Box, ...] = ()
    all_scores: tuple[float, ...] = ()

    def without_boxes(self) -> "Localization":
        """The same without a box, as of a frame that is regarded as empty."""
        return replace(self, box=None, score=0.0, all_boxes=(), all_scores=())


@dataclass(frozen=True, eq=False)
class Localizations(Sequence[Localization]):
    """Localizations of N frames: a sequence of `Localization`, and the same values as arrays.

    Attributes:
        boxes: (N, 4) float32, x0, y0, x1, y1 as in `Localization.box`; NaN without a box.
        scores: (N,) float32.
        classes: N class names.
        probabilities: (N,) float32.
        maps: (N, S, S) float32.
        emptiness: (N,) float32.
        all_boxes: of each frame, see `Localization.all_boxes`; as many as there are.
        all_scores: of each frame.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]
    maps: NDArray[np.float32]
    emptiness: NDArray[np.float32]
    all_boxes: tuple[tuple[Box, ...], ...]
    all_scores: tuple[tuple[float, ...], ...]

    def __len__(self) -> int:
        return len(self.classes)

    @overload
    def __getitem__(self, index: int) -> Localization: ...

    @overload
    def __getitem__(self, index: slice) -> "Localizations": ...

    def __getitem__(self, index: int | slice) -> "Localization | Localizations":
        if isinstance(index, slice):
            return Localizations(
                self.boxes[index], self.scores[index], self.classes[index],
                self.probabilities[index], self.maps[index], self.emptiness[index],
                self.all_boxes[index], self.all_scores[index],
            )  # fmt: skip
        x0, y0, x1, y1 = self.boxes[index].tolist()
        return Localization(
            self.classes[index],
            float(self.probabilities[index]),
            None if np.isnan(x0) else (int(x0), int(y0), int(x1), int(y1)),
            float(self.scores[index]),
            self.maps[index],
            float(self.emptiness[index]),
            self.all_boxes[index],
            self.all_scores[index],
        )


class VideoLocalizer:
    """Localizer loaded from a checkpoint, in eval mode.

    Boxes are computed from S¹, foreground against background; they do not depend on the class.

    Args:
        ckpt: checkpoint of a localizer.
        device: "auto", "cpu" or "cuda".
        amp: "auto", "off", "bf16" or "fp16": mixed precision.

    Attributes:
        classes: class names, in the order of the logits.
        batch_size: frames per forward pass by default, 4 on a CPU: more exceed its caches.

    Raises:
        UserError: the checkpoint or the device cannot be used.
    """

    def __init__(self, ckpt: Path | str, device: str = "auto", amp: str = "auto") -> None:
        model, self.info = load_checkpoint(ckpt, "localizer")
        self._ckpt = ckpt
        self.device = pick_device(device)
        self.autocast = make_autocast(amp, self.device)
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        self.classes = self.info.classes
        self.batch_size = 4 if self.device.type == "cpu" else 16

    def localize(
        self,
        frames: InputFrames,
        batch_size: int | None = None,
        *,
        boxes: Boxes = "largest",
        min_area: float = MIN_AREA,
        refine: int | None = None,
    ) -> Localizations:
        """Localizes frames, independently of each other unless `refine` is above 1.

        Args:
            frames: RGB frames: a list of arrays (H, W, 3) uint8 or of tensors (3, H, W), whose
                sizes may differ, or one array (N, H, W, 3) uint8 or one tensor (N, 3, H, W).
                Tensors are uint8, or floating point in 0…1 (rounded to 8 bits), on any device;
                they are resized on the CPU, as arrays are.
            batch_size: frames per forward pass; None: `VideoLocalizer.batch_size`.
            refine: number of frames of `Refinement`; above 1 the frames have to be consecutive
                frames of a video. None: no refinement.
            boxes: "largest": the box of the largest region of the score map above the threshold;
                "all": of every region, in `all_boxes`.
            min_area: smallest area of a region with a box for boxes="all", as a share of the frame,
                in [0, 1). The largest region has a box whatever its area.

        Returns:
            Localizations in the order of the frames. Each score map takes 196 KB at 224×224.

        Raises:
            ValueError: invalid shape, type or range of `frames`, `batch_size` or `refine` below 1,
                unknown `boxes`, or `min_area` out of range.
        """
        batch_size = self.batch_size if batch_size is None else batch_size
        if batch_size < 1:
            raise ValueError(f"batch_size: must be at least 1, got {batch_size}")
        if boxes not in get_args(Boxes):
            raise ValueError(f"boxes: must be one of {get_args(Boxes)}, got {boxes!r}")
        if not 0 <= min_area < 1:
            raise ValueError(f"min_area: must be in [0, 1), got {min_area}")
        area = min_area if boxes == "all" else None
        refinement = None if refine is None else Refinement(refine)
        inputs = frame_list(frames)
        maps = np.empty((len(inputs), self.info.size, self.info.size), np.float32)
        found: list[Localization] = []
        for start in range(0, len(inputs), batch_size):
            images = [rgb_array(frame) for frame in inputs[start : start + batch_size]]
            likely, maps[start : start + len(images)] = self.infer(images, refinement)
            for image, of_classes in zip(images, likely, strict=True):
                size = image.shape[1], image.shape[0]
                found.append(self.locate(of_classes, maps[len(found)], size, min_area=area))
        no_box = (np.nan,) * 4
        best = [no_box if one.box is None else one.box for one in found]
        return Localizations(
            np.array(best, np.float32).reshape(-1, 4),
            np.array([one.score for one in found], np.float32),
            tuple(one.class_name for one in found),
            np.array([one.probability for one in found], np.float32),
            maps,
            np.array([one.emptiness for one in found], np.float32),
            tuple(one.all_boxes for one in found),
            tuple(one.all_scores for one in found),
        )

    def inputs(self, images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Resizes B ≥ 1 frames (H, W, 3) uint8 RGB to a tensor (B, 3, S, S) uint8 in host memory.

        In another thread, this can be done while `infer` runs.
        """
        return to_tensor([resized(image, self.info.size) for image in images])

    def infer(
        self,
        images: Sequence[NDArray[np.uint8]],
        refinement: Refinement | None = None,
        inputs: torch.Tensor | None = None,
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Runs one forward pass.

        Args:
            images: B ≥ 1 frames (H, W, 3) uint8 RGB; sizes may differ.
            refinement: of the video that the images are the next frames of; None: none.
            inputs: `inputs(images)`; None: computed here.

        Returns:
            Class probabilities (B, K) and score maps (B, S, S).

        Raises:
            UserError: they are not finite.
        """
        inputs = self.inputs(images) if inputs is None else inputs
        with self.autocast():
            refine = None if refinement is None else partial(refinement.next, images)
            outputs = run_model(
                self.model, to_device(inputs, self.device), None, None, refine=refine
            )
        assert outputs.scores is not None  # the decoder runs by default
        if not (np.isfinite(outputs.logits).all() and np.isfinite(outputs.scores).all()):
            raise UserError(
                f"{self._ckpt}: its score maps are not finite: the weights have diverged; train "
                "with a lower --lr, or use --amp off"
            )
        return probabilities(outputs.logits), outputs.scores

    def locate(
        self,
        likely: NDArray[np.floating],
        score_map: NDArray[np.floating],
        size: tuple[int, int],
        label: int | None = None,
        min_area: float | None = None,
    ) -> Localization:
        """Computes boxes and class of one frame from the outputs of `infer`.

        Args:
            likely: (K,) class probabilities.
            score_map: (S, S) in [0, 1].
            size: (width, height) of the frame.
            label: class whose probability is reported; None: the most probable one.
            min_area: smallest area of a region with a box, as a share of the frame; None: the box
                of the largest region only.
        """
        label = int(likely.argmax()) if label is None else label
        threshold = threshold_or_default(self.info.threshold)
        boxes, scores = locate(score_map, threshold, size, min_area)
        box, score = best_box(boxes, scores)
        return Localization(
            self.classes[label], float(likely[label]), box, score, score_map,
            emptiness(likely, score_map), boxes, scores,
        )  # fmt: skip
