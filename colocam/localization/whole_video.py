"""Whole-video localization: frames are decoded ahead, run in batches and optionally smoothed."""

import itertools
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from colocam.data.decoding.images import ImageFrames
from colocam.data.decoding.timestamps import TimedFrame, first_size, timed_frames
from colocam.data.decoding.video_file import VideoFrames
from colocam.data.loading.prefetch import prefetched
from colocam.localization.inference import Localization, VideoLocalizer
from colocam.postprocessing import NO_POSTPROCESSING, Postprocessing, Refinement, Smoothing

_BATCH_BYTES = 2**28  # decoded frames of a batch; batches of large frames are smaller


def localized_frames(
    localizer: VideoLocalizer,
    source: ImageFrames | VideoFrames,
    *,
    batch_size: int | None = None,
    label: int | None = None,
    postprocessing: Postprocessing = NO_POSTPROCESSING,
    min_area: float | None = None,
) -> Iterator[tuple[TimedFrame, Localization | None]]:
    """Localizes every frame of a video, in order.

    Args:
        localizer: the model.
        source: the video.
        batch_size: largest number of frames per forward pass; None: that of the localizer.
        label: class whose probability is reported; None: the most probable class of each frame.
        postprocessing: of the score maps; smoothing is applied to class probabilities, too.
        min_area: smallest area of a region with a box, as a share of the frame; None: the box of
            the largest region only.

    Yields:
        Each frame and its localization, None if the frame cannot be decoded.
    """
    batch_size = localizer.batch_size if batch_size is None else batch_size
    # Decoding and resizing release the global interpreter lock: both run while the model does.
    with closing(prefetched(_resized(localizer, _batches(source, batch_size)))) as batches:
        yield from _localized(localizer, batches, label, postprocessing, min_area)


def localized_batches(
    localizer: VideoLocalizer,
    batches: Iterator[list[TimedFrame]],
    *,
    label: int | None = None,
    postprocessing: Postprocessing = NO_POSTPROCESSING,
    min_area: float | None = None,
) -> Iterator[tuple[TimedFrame, Localization | None]]:
    """Localizes the frames of a video that are given in batches; see `localized_frames`.

    The results of a frame depend on earlier frames only.

    Args:
        localizer: the model.
        batches: successive frames of one video; a batch is run in one forward pass.
        label: class whose probability is reported.
        postprocessing: of the score maps.
        min_area: smallest area of a region with a box.

    Yields:
        Each frame and its localization, None if the frame cannot be decoded.
    """
    batches_with_inputs = _resized(localizer, batches)
    yield from _localized(localizer, batches_with_inputs, label, postprocessing, min_area)


def frames_per_batch(size: tuple[int, int], batch_size: int) -> int:
    """Number of frames of a batch: `batch_size`, or fewer where frames are large.

    Args:
        size: (width, height) of the frames.
        batch_size: largest number.
    """
    width, height = size
    return max(1, min(batch_size, _BATCH_BYTES // (width * height * 3)))


@dataclass(frozen=True)
class _Batch:
    """Consecutive frames; `images` are those that can be decoded; without any, `inputs` is None."""

    frames: list[TimedFrame]
    images: list[np.ndarray]
    inputs: Tensor | None


def _batches(source: ImageFrames | VideoFrames, batch_size: int) -> Iterator[list[TimedFrame]]:
    size = frames_per_batch(first_size(source), batch_size)
    frames = timed_frames(source)
    while batch := list(itertools.islice(frames, size)):
        yield batch


def _resized(localizer: VideoLocalizer, batches: Iterator[list[TimedFrame]]) -> Iterator[_Batch]:
    for batch in batches:
        images = [frame.image for frame in batch if frame.image is not None]
        yield _Batch(batch, images, localizer.inputs(images) if images else None)


def _localized(
    localizer: VideoLocalizer,
    batches: Iterator[_Batch],
    label: int | None,
    postprocessing: Postprocessing,
    min_area: float | None,
) -> Iterator[tuple[TimedFrame, Localization | None]]:
    smooth, refine = postprocessing.smooth, postprocessing.refine
    smoothing = None if smooth is None else Smoothing(smooth)
    refinement = None if refine is None else Refinement(refine)
    for batch in batches:
        results: Iterator[tuple[np.ndarray, np.ndarray]] = iter(())
        if batch.inputs is not None:
            outputs = localizer.infer(batch.images, refinement, batch.inputs)
            results = zip(*outputs, strict=True)
        for frame in batch.frames:
            if frame.image is None:
                yield frame, None
                continue
            likely, score_map = next(results)
            if smoothing:
                likely, score_map = smoothing.next_of_all((likely, score_map), frame.image)
            size = frame.image.shape[1], frame.image.shape[0]
            yield frame, localizer.locate(likely, score_map, size, label, min_area)
