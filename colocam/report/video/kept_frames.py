"""Kept frames: small pictures of the few frames of a video that its report shows.

Frames are kept while the video is read, whatever its length: those around the worst jumps so far,
and some that are evenly spaced.
"""

import heapq
import itertools
from dataclasses import dataclass

import cv2
import numpy as np

from colocam.data.decoding.timestamps import TimedFrame
from colocam.evaluation.boxes import Box, Size
from colocam.localization.drawing import RED, Color, Image, track_color
from colocam.localization.inference import Localization
from colocam.report.pictures import jpeg_url

JUMP_SIDE, SPACED_SIDE = 320, 512  # longer side of a picture, pixels
JPEG_QUALITY = 75
MOST_SPACED = 32
PLACE_SECONDS = 1.0  # jumps this close to the first of them are one place


@dataclass(frozen=True)
class LocalizedFrame:
    """A decoded frame with its localization and, with tracks, their numbers."""

    frame: TimedFrame
    image: Image
    found: Localization
    tracks: tuple[int, ...] | None = None


@dataclass(frozen=True)
class KeptFrame:
    """Picture of a frame with its boxes.

    Attributes:
        index: number of the frame.
        seconds: its time.
        class_name: its class.
        probability: of the class.
        size: (width, height) of the frame, pixels.
        boxes: (box in pixels of the frame, color, name, which may be empty), the largest region
            last.
        url: the picture as a data URL, at most the given side long.
    """

    index: int
    seconds: float
    class_name: str
    probability: float
    size: Size
    boxes: tuple[tuple[Box, Color, str], ...]
    url: str


def keep(one: LocalizedFrame, side: int) -> KeptFrame:
    """Makes the picture of a frame; it is not enlarged.

    Args:
        one: the frame.
        side: longer side of the picture, pixels.
    """
    found, image = one.found, one.image
    height, width = image.shape[:2]
    boxes = [] if found.box is None else [(found.box, RED, "")]
    if one.tracks is not None:  # the largest region is drawn last
        numbered = list(zip(found.all_boxes, one.tracks, strict=True))[::-1]
        boxes = [(box, track_color(number), f"track #{number}") for box, number in numbered]
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)
    return KeptFrame(
        one.frame.index,
        one.frame.seconds,
        found.class_name,
        found.probability,
        (width, height),
        tuple(boxes),
        jpeg_url(np.asarray(small, np.uint8), JPEG_QUALITY),
    )


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the places 0…count − 1, evenly spaced, the first among them."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()


class SpacedFrames:
    """Evenly spaced frames of a video whose length is not known: 16 to `MOST_SPACED`, or all."""

    def __init__(self) -> None:
        self._step = 1
        self._kept: list[KeptFrame] = []

    def add(self, one: LocalizedFrame) -> None:
        """Adds the next decoded frame."""
        if one.frame.index % self._step:
            return
        self._kept.append(keep(one, SPACED_SIDE))
        while len(self._kept) > MOST_SPACED:
            self._step *= 2
            self._kept = [kept for kept in self._kept if kept.index % self._step == 0]

    @property
    def frames(self) -> list[KeptFrame]:
        """The frames that are kept, in order."""
        return list(self._kept)

    def spread(self, count: int) -> list[KeptFrame]:
        """At most `count` of them, evenly spaced, the first among them."""
        return [self._kept[place] for place in spread(len(self._kept), count)]


@dataclass(frozen=True)
class JumpPlace:
    """Jumps of a box within a second, shown by the worst of them.

    Attributes:
        before: the frame before the worst jump.
        after: the frame after it.
        overlap: IoU of their boxes.
        distance: of the boxes' centres, as a share of the frame's diagonal.
        count: number of the jumps.
    """

    before: KeptFrame
    after: KeptFrame
    overlap: float
    distance: float
    count: int = 1

    @property
    def key(self) -> tuple[float, float]:
        """Larger for a worse jump: a smaller overlap, then a greater distance."""
        return -self.overlap, self.distance


class WorstJumps:
    """Keeps the places of the worst jumps of a video, jump by jump.

    Args:
        most: number of places that are kept.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._heap: list[tuple[tuple[float, float], int, JumpPlace]] = []  # the least bad first
        self._numbers = itertools.count()
        self._current: JumpPlace | None = None
        self._began = 0.0

    def add(self, before: LocalizedFrame, after: LocalizedFrame, overlap: float) -> None:
        """Adds the next jump.

        Args:
            before: the frame before it; it has a box.
            after: the frame after it; it has a box.
            overlap: IoU of their boxes.
        """
        distance, last = _distance(before, after), self._current
        if last is not None and after.frame.seconds - self._began < PLACE_SECONDS:
            if (-overlap, distance) <= last.key:
                self._current = _counted(last, last.count + 1)
                return
            count = last.count + 1
        else:
            self._close()
            self._began, count = after.frame.seconds, 1
        pair = keep(before, JUMP_SIDE), keep(after, JUMP_SIDE)
        self._current = JumpPlace(*pair, overlap, distance, count)

    def _close(self) -> None:
        if self._current is None:
            return
        heapq.heappush(self._heap, (self._current.key, -next(self._numbers), self._current))
        if len(self._heap) > self.most:
            heapq.heappop(self._heap)
        self._current = None

    def places(self) -> list[JumpPlace]:
        """The places of the worst jumps so far, the worst first."""
        self._close()
        return [place for *_, place in sorted(self._heap, key=lambda entry: entry[:2])[::-1]]


def _counted(place: JumpPlace, count: int) -> JumpPlace:
    return JumpPlace(place.before, place.after, place.overlap, place.distance, count)


def _distance(before: LocalizedFrame, after: LocalizedFrame) -> float:
    if before.found.box is None or after.found.box is None:
        raise ValueError("before, after: frames with a box needed")
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = before.found.box, after.found.box
    apart = np.hypot(ax0 + ax1 - bx0 - bx1, ay0 + ay1 - by0 - by1) / 2
    height, width = after.image.shape[:2]
    return float(apart / np.hypot(height, width))
