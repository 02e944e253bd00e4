"""Tracks of boxes over whole videos, beside frame-wise boxes and ByteTrack of `trackers`.

    python bench/tracks.py --ckpt FILE [--data DIR] [--splits DIR] [--split val|test] [--json FILE]

Localizes every frame of the videos of a split with all boxes, joins them to tracks by each method,
and compares with the ground truth of the frames that have boxes: how often the track of the object
changes, and how steady and how often correct the box of a frame is if it is that of the track with
the most frames so far, instead of that of the largest region. ByteTrack is compared if `trackers`
is installed (pip install trackers).
"""

import argparse
import importlib.util
import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from rich.progress import track

from lib.arguments import add_json, make_parser
from lib.machine import describe, file_name_of, headline
from lib.markdown_table import markdown_table, page
from lib.result_files import result_path, write_results

from colocam.data.decoding.enclosing_video import enclosing_video
from colocam.data.layouts.builtin import builtin_folder
from colocam.data.layouts.open import open_data
from colocam.data.layouts.stored_split import StoredSplit
from colocam.data.records import BoxedFrame
from colocam.evaluation.boxes import MIN_AREA, Box, iou
from colocam.evaluation.consistency import Consistency
from colocam.localization.inference import VideoLocalizer
from colocam.localization.tracks import PATIENCE, Tracks
from colocam.runtime.entry import exit_status
from colocam.runtime.errors import UserError

Image = np.ndarray
BATCH_SIZE = 16
FRAME_WISE = "largest region, frame by frame"


class Tracker(Protocol):
    """Joins the boxes of a video to tracks, frame by frame."""

    def next(
        self, boxes: Sequence[Box], scores: Sequence[float], frame: Image
    ) -> Sequence[int | None]:
        """Adds a frame; returns the track of each box, None for a box that is in no track."""


class _Own:
    def __init__(self) -> None:
        self.tracks = Tracks()

    def next(
        self, boxes: Sequence[Box], scores: Sequence[float], frame: Image
    ) -> Sequence[int | None]:
        return self.tracks.next(boxes, frame)


class _ByteTrack:
    """ByteTrack whose thresholds are those of weak boxes, whose scores are low.

    Args:
        iou: smallest IoU of a box with the predicted box of a track.
        frames: until a track is confirmed; its boxes are in no track before.
    """

    def __init__(self, iou: float, frames: int) -> None:
        from trackers import ByteTrackTracker

        self.tracker = ByteTrackTracker(
            lost_track_buffer=PATIENCE, track_activation_threshold=0.0, high_conf_det_threshold=0.0,
            minimum_iou_threshold=iou, minimum_consecutive_frames=frames,
        )  # fmt: skip

    def next(
        self, boxes: Sequence[Box], scores: Sequence[float], frame: Image
    ) -> Sequence[int | None]:
        import supervision

        places = np.arange(len(boxes))
        found = supervision.Detections(
            xyxy=np.array(boxes, np.float32).reshape(-1, 4) + np.array([0, 0, 1, 1], np.float32),
            confidence=np.array(scores, np.float32),
            class_id=places,  # returned with the boxes, whose order may change
        )
        found = self.tracker.update(found)
        numbers: list[int | None] = [None] * len(boxes)
        if found.tracker_id is not None and found.class_id is not None:
            for place, number in zip(
                found.class_id.tolist(), found.tracker_id.tolist(), strict=True
            ):
                numbers[place] = number if number >= 0 else None
        return numbers


def trackers() -> dict[str, Callable[[], Tracker]]:
    """The methods that can be run, by name."""
    methods: dict[str, Callable[[], Tracker]] = {"colocam": _Own}
    if importlib.util.find_spec("trackers") is not None:
        methods["ByteTrack, IoU 0.1, 2 frames"] = lambda: _ByteTrack(0.1, 2)
        methods["ByteTrack, IoU 0.1, 1 frame"] = lambda: _ByteTrack(0.1, 1)
    return methods


@dataclass(frozen=True)
class Video:
    """All frames of a video, their boxes, and the ground truth of some of them."""

    frames: Sequence[Image]
    boxes: Sequence[tuple[Box, ...]]
    scores: Sequence[tuple[float, ...]]
    truth: Mapping[int, Sequence[Sequence[float]]]


@dataclass(frozen=True)
class Row:
    """Results of a method.

    Attributes:
        name: of the method.
        tracks: per video.
        covered: ground-truth boxes with a correct box that is in a track, %.
        switches: changes of the track of an object from one frame with ground truth in which it is
            covered to the next, per 100 of them; frames with one ground-truth box.
        jumps: of the followed box, per 100 pairs of consecutive frames.
        overlap: mean IoU of the followed boxes of consecutive frames.
        right: frames with ground truth whose followed box is correct, %.
        ms: per frame, without the localizer.
    """

    name: str
    tracks: float | None
    covered: float
    switches: float | None
    jumps: float
    overlap: float
    right: float
    ms: float | None


HEADS = {
    "name": "boxes joined by",
    "tracks": "tracks per video",
    "covered": "ground truth covered, %",
    "switches": "switches per 100 frames",
    "jumps": "jumps per 100 frames",
    "overlap": "IoU of consecutive boxes",
    "right": "correct boxes, %",
    "ms": "ms per frame",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status. `argv` None: the arguments of the process."""
    return exit_status(lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--ckpt", type=Path, required=True, metavar="FILE", help="checkpoint of a localizer")
    add("--data", type=Path, metavar="DIR", help="data folder (default: the built-in clip set)")
    add("--splits", type=Path, metavar="DIR", help="folder of split files")
    add("--split", choices=("val", "test"), default="test", help="(default: test)")
    add_json(parser, "tracks-SPLIT-PROCESSOR")
    return parser.parse_args(argv)


def _run(options: argparse.Namespace) -> None:
    machine = describe()
    path = result_path(options.json, f"tracks-{options.split}-{file_name_of(machine, 'cpu')}")
    localizer = VideoLocalizer(options.ckpt, "cpu", "off")
    stored = localizer.info.split
    split = None if stored is None else StoredSplit.from_json(stored)
    folder = options.data or builtin_folder("default", 0)
    data = open_data(folder, options.splits, split=split, evaluating=True)
    records = [record for record in getattr(data, options.split) if record.boxes]
    if not records:
        raise UserError(f"{folder}: no frame with boxes in split {options.split!r}")
    videos = list(_videos(localizer, records))
    rows = [frame_wise(videos), *(measure(name, make, videos) for name, make in trackers().items())]
    num_frames = sum(len(video.frames) for video in videos)
    heading = (
        f"{len(videos)} videos of split {options.split!r}, {num_frames} frames, {len(records)} "
        f"with ground truth; regions from {MIN_AREA:g} of the frame; {headline(machine, 'cpu')}."
    )
    notes = [
        "Correct, covered: IoU of at least 0.5 with a ground-truth box. Jump: the IoU of the boxes "
        "of consecutive frames is below 0.3. Switch: the object is covered by another track than "
        "in the frame with ground truth before.",
        "Box of a frame: that of the track with the most frames so far; in the first row that of "
        "the largest region.",
    ]
    result: dict[str, Any] = {
        "machine": machine,
        "checkpoint": options.ckpt.name,
        "frames": num_frames,
        "rows": [asdict(row) for row in rows],
    }
    write_results(path, result, page(heading, markdown_table(HEADS, rows), notes))


def _videos(localizer: VideoLocalizer, records: Sequence[BoxedFrame]) -> Iterator[Video]:
    """Localizes every frame of the videos, with all boxes."""
    located = [(*enclosing_video(record), record) for record in records]
    groups = [(key, list(of)) for key, of in itertools.groupby(located, key=lambda one: one[0])]
    for source, group in track(groups, "videos", console=Console(stderr=True), transient=True):
        read = source.read(range(len(source)))
        kept = {number: frame for number, frame in enumerate(read) if frame is not None}
        frames = list(kept.values())
        found = localizer.localize(frames, BATCH_SIZE, boxes="all")
        places = {number: place for place, number in enumerate(kept)}
        truth = {places[number]: record.boxes for _, number, record in group if number in places}
        yield Video(frames, found.all_boxes, found.all_scores, truth)


def frame_wise(videos: Sequence[Video]) -> Row:
    """The box of the largest region of each frame."""
    followed = [[boxes[0] if boxes else None for boxes in video.boxes] for video in videos]
    covered = [
        any(_overlap(box, truth) for box in video.boxes[place][:1])
        for video in videos
        for place, every in video.truth.items()
        for truth in every
    ]
    steady, right = _steadiness(videos, followed)
    return Row(
        FRAME_WISE, None, 100 * float(np.mean(covered)), None,
        steady.jumps_per_100, steady.mean_iou, right, None,
    )  # fmt: skip


def measure(name: str, make: Callable[[], Tracker], videos: Sequence[Video]) -> Row:
    """Joins the boxes of all videos by one method."""
    covered: list[bool] = []
    followed: list[list[Box | None]] = []
    switches = pairs = num_tracks = 0
    seconds = 0.0
    for video in videos:
        began = time.perf_counter()
        tracker = make()
        every = zip(video.boxes, video.scores, video.frames, strict=True)
        numbers = [tracker.next(*frame) for frame in every]
        seconds += time.perf_counter() - began
        followed.append(_followed(video.boxes, numbers))
        num_tracks += len({number for of_frame in numbers for number in of_frame} - {None})
        of_object = []
        for place, every_truth in sorted(video.truth.items()):
            owners = [_owner(video.boxes[place], numbers[place], truth) for truth in every_truth]
            covered += [owner is not None for owner in owners]
            if len(owners) == 1 and owners[0] is not None:
                of_object.append(owners[0])
        pairs += max(0, len(of_object) - 1)
        switches += sum(a != b for a, b in itertools.pairwise(of_object))
    steady, right = _steadiness(videos, followed)
    num_frames = sum(len(video.frames) for video in videos)
    return Row(
        name, num_tracks / len(videos), 100 * float(np.mean(covered)),
        100 * switches / pairs if pairs else None,
        steady.jumps_per_100, steady.mean_iou, right, 1e3 * seconds / num_frames,
    )  # fmt: skip


def _followed(
    boxes: Sequence[tuple[Box, ...]], numbers: Sequence[Sequence[int | None]]
) -> list[Box | None]:
    """Box of each frame: that of the track with the most frames so far, the first of equals."""
    lengths: Counter[int] = Counter()
    chosen: list[Box | None] = []
    for of_frame, owners in zip(boxes, numbers, strict=True):
        lengths.update(owner for owner in owners if owner is not None)
        tracked = [(lengths[o], b) for b, o in zip(of_frame, owners, strict=True) if o is not None]
        chosen.append(max(tracked, key=lambda one: one[0])[1] if tracked else None)
    return chosen


def _owner(
    boxes: Sequence[Box], numbers: Sequence[int | None], truth: Sequence[float]
) -> int | None:
    """Track of the box that overlaps the ground truth most; None: there is no correct one."""
    tracked = [(_iou(b, truth), n) for b, n in zip(boxes, numbers, strict=True) if n is not None]
    best, number = max(tracked, key=lambda one: one[0], default=(0.0, None))
    return number if best >= 0.5 else None


def _steadiness(
    videos: Sequence[Video], followed: Sequence[Sequence[Box | None]]
) -> tuple[Consistency, float]:
    """Consistency of the boxes, and the share of correct ones in %."""
    steady = Consistency()
    right: list[bool] = []
    for video, boxes in zip(videos, followed, strict=True):
        steady.add(boxes)
        for place, every in video.truth.items():
            box = boxes[place]
            right.append(box is not None and any(_overlap(box, truth) for truth in every))
    return steady, 100 * float(np.mean(right))


def _iou(box: Box, truth: Sequence[float]) -> float:
    return float(iou([box], [truth])[0, 0])


def _overlap(box: Box, truth: Sequence[float]) -> bool:
    return _iou(box, truth) >= 0.5


if __name__ == "__main__":
    sys.exit(main())
