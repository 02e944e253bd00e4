"""A whole video through a localizer: decoded ahead, in batches, smoothed if wanted."""

import itertools
from collections.abc import Iterator

from colocam.data.decoding.images import ImageFrames
from colocam.data.decoding.timestamps import TimedFrame, first_size, timed_frames
from colocam.data.decoding.video_file import VideoFrames
from colocam.data.loading.prefetch import prefetched
from colocam.evaluation.smoothing import Smoothing
from colocam.localization.inference import Localization, VideoLocalizer

_BATCH_BYTES = 2**28  # of decoded frames in a batch: large frames go through in smaller batches


def localized_frames(
    localizer: VideoLocalizer,
    source: ImageFrames | VideoFrames,
    *,
    batch_size: int = 16,
    label: int | None = None,
    smooth: float | None = None,
) -> Iterator[tuple[TimedFrame, Localization | None]]:
    """Every frame in order, and what was found in it; None where it cannot be decoded.

    Args:
        localizer: finds it.
        source: the video.
        batch_size: frames a forward pass, at most.
        label: the class to tell; None: of each frame the most probable one.
        smooth: X of `Smoothing`, for score maps and class probabilities alike; None: each frame
            by itself.
    """
    smoothing = Smoothing(smooth) if smooth else None
    for batch in prefetched(_batches(source, batch_size)):
        images = [frame.image for frame in batch if frame.image is not None]
        results = zip(*localizer.infer(images), strict=True) if images else iter(())
        for frame in batch:
            if frame.image is None:
                yield frame, None
                continue
            likely, score_map = next(results)
            if smoothing:
                likely, score_map = smoothing.next_of_all((likely, score_map), frame.image)
            size = frame.image.shape[1], frame.image.shape[0]
            yield frame, localizer.locate(likely, score_map, size, label)


def _batches(source: ImageFrames | VideoFrames, batch_size: int) -> Iterator[list[TimedFrame]]:
    width, height = first_size(source)
    size = max(1, min(batch_size, _BATCH_BYTES // (width * height * 3)))
    frames = timed_frames(source)
    while batch := list(itertools.islice(frames, size)):
        yield batch
