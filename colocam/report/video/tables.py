"""Tables of a video's report: classes, stretches of frames, jumps and tracks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from colocam.report.tables import Cells
from colocam.report.video.clock import clock
from colocam.report.video.frame_log import FrameNumbers

MOST_ROWS = 30  # of a table


@dataclass
class TrackSummary:
    """A track of boxes.

    Attributes:
        number: of the track, from 1.
        first: number of its first frame.
        last: number of its last frame.
        frames: number of frames with a box of it.
        score_sum: of the scores of its boxes.
    """

    number: int
    first: int
    last: int
    frames: int = 0
    score_sum: float = 0.0


def class_cells(numbers: FrameNumbers) -> Cells:
    """One row per class, the most frequent first."""
    labels, counts = np.unique(numbers.labels[numbers.decoded], return_counts=True)
    total = max(1, int(numbers.decoded.sum()))
    rows = []
    for label, count in sorted(zip(labels, counts, strict=True), key=lambda pair: -pair[1]):
        mean = numbers.probabilities[numbers.labels == label].mean()
        share = f"{100 * count / total:.1f} %"
        rows.append([numbers.classes[label], str(count), share, f"{mean:.2f}"])
    header = ["class", "frames", "share", "mean probability"]
    note = _note("The most frequent", len(rows), "classes")
    return Cells("Classes", [header, *rows[:MOST_ROWS]], note)


def stretch_cells(numbers: FrameNumbers, stretches: Sequence[range], title: str) -> Cells:
    """One row per stretch of frames: the longest, in order.

    Args:
        numbers: of the video's frames.
        stretches: the frames of each.
        title: of the table.
    """
    longest = sorted(stretches, key=len, reverse=True)[:MOST_ROWS]
    rows = []
    for stretch in sorted(longest, key=lambda one: one.start):
        first, last = stretch[0], stretch[-1]
        seconds = numbers.ends[last] - numbers.seconds[first]
        rows.append(
            [
                _range(clock(numbers.seconds[first]), clock(numbers.seconds[last])),
                _range(str(first), str(last)),
                str(len(stretch)),
                clock(seconds),
            ]
        )
    note = _note("The longest", len(stretches), "stretches")
    return Cells(title, [["time", "frames", "count", "length"], *rows], note)


def jump_cells(numbers: FrameNumbers) -> Cells:
    """One row per jump: the worst, in order."""
    places = np.flatnonzero(numbers.jumps)
    worst = places[np.argsort(numbers.overlaps[places], kind="stable")[:MOST_ROWS]]
    rows = [
        [
            clock(numbers.seconds[place]),
            f"{place - 1} to {place}",
            f"{numbers.overlaps[place]:.2f}",
            "yes" if numbers.cuts[place] else "",
        ]
        for place in np.sort(worst)
    ]
    note = _note("The worst", len(places), "jumps")
    return Cells("List of jumps", [["time", "frames", "IoU", "at a cut"], *rows], note)


def track_cells(numbers: FrameNumbers, tracks: Sequence[TrackSummary], total: int) -> Cells:
    """One row per track.

    Args:
        numbers: of the video's frames.
        tracks: those that are shown.
        total: number of all tracks.
    """
    rows = [
        [
            f"#{one.number}",
            _range(clock(numbers.seconds[one.first]), clock(numbers.seconds[one.last])),
            _range(str(one.first), str(one.last)),
            str(one.frames),
            f"{one.score_sum / one.frames:.2f}",
        ]
        for one in tracks
    ]
    header = ["track", "time", "frames", "boxes", "mean score"]
    return Cells(None, [header, *rows], _note("The longest", total, "tracks", len(rows)))


def _range(first: str, last: str) -> str:
    return first if first == last else f"{first} to {last}"


def _note(which: str, total: int, things: str, shown: int = MOST_ROWS) -> str:
    """Note of a table that shows some of its things; empty if it shows all."""
    return f"{which} {shown} of {total} {things}." if total > shown else ""
