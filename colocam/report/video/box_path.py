"""Path of the box through a shot: the centres of its boxes in order, over one of its frames."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from colocam.evaluation.boxes import Size
from colocam.report.video.clock import clock
from colocam.report.video.frame_log import FrameNumbers
from colocam.report.video.kept_frames import KeptFrame, spread

MOST_SHOTS = 4
MOST_POINTS = 240  # of a path
BOXES = 5  # drawn along a path


@dataclass(frozen=True)
class Segment:
    """Part of a path from (x1, y1) to (x2, y2) in pixels; `jump`: whether the box jumps there."""

    x1: float
    y1: float
    x2: float
    y2: float
    color: str
    jump: bool


@dataclass(frozen=True)
class Outline:
    """A box of the path: top left corner, width and height in pixels of the frame."""

    x: float
    y: float
    width: float
    height: float
    color: str
    tooltip: str


@dataclass(frozen=True)
class BoxPath:
    """Path through a shot, ready to be drawn.

    Attributes:
        frame: a frame near the middle of the shot.
        caption: which frames the path goes through.
        segments: the path.
        outlines: some of the boxes, evenly spaced.
        begin: time of the first box.
        end: time of the last one.
    """

    frame: KeptFrame
    caption: str
    segments: Sequence[Segment]
    outlines: Sequence[Outline]
    begin: str
    end: str

    @property
    def size(self) -> Size:
        """(width, height) of the frame, pixels."""
        return self.frame.size


def box_paths(numbers: FrameNumbers, kept: Sequence[KeptFrame]) -> list[BoxPath]:
    """Paths through the longest shots of a video, in order; shots without a box are skipped.

    Args:
        numbers: of the video's frames.
        kept: frames that a path can be drawn over; a shot that has none is skipped.
    """
    starts = [0, *(start for start in np.flatnonzero(numbers.cuts).tolist() if start)]
    shots = [range(*pair) for pair in itertools.pairwise([*starts, len(numbers)])]
    longest = sorted(sorted(shots, key=len)[-MOST_SHOTS:], key=lambda shot: shot.start)
    paths = []
    for shot in longest:
        inside = [frame for frame in kept if frame.index in shot]
        places = shot.start + np.flatnonzero(numbers.boxed[shot.start : shot.stop])
        if inside and places.size:
            middle = (shot.start + shot.stop - 1) / 2
            frame = min(inside, key=lambda one: abs(one.index - middle))
            name = "" if len(shots) == 1 else f"shot {shots.index(shot) + 1} of {len(shots)}, "
            paths.append(_path(numbers, frame, places.tolist(), f"{name}{_extent(shot)}"))
    return paths


def _extent(shot: range) -> str:
    return f"frames {shot[0]} to {shot[-1]}" if len(shot) > 1 else f"frame {shot[0]}"


def _path(numbers: FrameNumbers, frame: KeptFrame, boxed: list[int], extent: str) -> BoxPath:
    """Path through the frames with a box."""
    places = [boxed[at] for at in spread(len(boxed), MOST_POINTS)]
    colors = _colors(len(places))
    centres = (numbers.boxes[:, :2] + numbers.boxes[:, 2:] + 1) / 2
    segments = []
    for (a, color), (b, _) in itertools.pairwise(zip(places, colors, strict=True)):
        missing = b - a - int(np.count_nonzero(numbers.boxed[a:b]))
        if 2 * missing >= b - a:  # the path is interrupted where there are no boxes
            continue
        jump = bool(numbers.jumps[a + 1 : b + 1].any())
        x1, y1, x2, y2 = centres[[a, b]].ravel().round(1).tolist()
        segments.append(Segment(x1, y1, x2, y2, color, jump))
    outlines = []
    for at in spread(len(places), BOXES):
        x0, y0, x1, y1 = numbers.boxes[places[at]].tolist()
        tooltip = f"frame {places[at]}, {clock(numbers.seconds[places[at]])}"
        outlines.append(Outline(x0, y0, x1 - x0 + 1, y1 - y0 + 1, colors[at], tooltip))
    first, last = (clock(numbers.seconds[place]) for place in (boxed[0], boxed[-1]))
    caption = f"{extent}; picture: frame {frame.index}, {clock(frame.seconds)}"
    return BoxPath(frame, caption, segments, outlines, first, last)


def _colors(count: int) -> list[str]:
    """Colors of viridis, from dark blue to yellow, as CSS writes them."""
    levels = np.linspace(0, 255, count).round().astype(np.uint8)
    bgr = np.asarray(cv2.applyColorMap(levels[:, None], cv2.COLORMAP_VIRIDIS)).reshape(-1, 3)
    return [f"#{red:02x}{green:02x}{blue:02x}" for blue, green, red in bgr.tolist()]
