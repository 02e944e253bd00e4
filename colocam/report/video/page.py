"""Page of a video: fills the template `video.html.jinja` from the numbers and kept frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from colocam.evaluation.consistency import JUMP
from colocam.localization.drawing import track_color
from colocam.report.page import Number
from colocam.report.tables import Cells
from colocam.report.video.box_path import BoxPath, box_paths
from colocam.report.video.clock import clock
from colocam.report.video.frame_log import FrameNumbers, runs
from colocam.report.video.kept_frames import JumpPlace, KeptFrame, SpacedFrames
from colocam.report.video.tables import (
    TrackSummary,
    class_cells,
    jump_cells,
    stretch_cells,
    track_cells,
)
from colocam.report.video.time_charts import Series, TimeChart, TimeCharts
from colocam.runtime.messages import count_of

SPACED = 8  # evenly spaced frames that are shown
MOST_CLASSES, MOST_TRACKS = 8, 20  # rows of a chart
UNIT = (0.0, 1.0)


@dataclass(frozen=True)
class Contents:
    """What the page of a video shows.

    Attributes:
        title: of the page.
        lead: what was localized with what, in one sentence.
        options: what the result depends on, by name.
        numbers: of the frames.
        spaced: evenly spaced frames.
        jumps: places of the worst jumps within shots, the worst first.
        at_cuts: the same at cuts.
        tracks: of the boxes; None: only the box of the largest region of each frame.
        empty_over: emptiness above which a frame has no box; None: any.
    """

    title: str
    lead: str
    options: Mapping[str, object]
    numbers: FrameNumbers
    spaced: SpacedFrames
    jumps: Sequence[JumpPlace]
    at_cuts: Sequence[JumpPlace]
    tracks: Sequence[TrackSummary] | None
    empty_over: float | None = None


@dataclass(frozen=True)
class Figure:
    """Pictures of frames under one caption; `caption` comes first, `detail` is muted."""

    frames: Sequence[KeptFrame]
    caption: str
    detail: str


@dataclass(frozen=True)
class Page:
    """Values of `templates/video.html.jinja`.

    Attributes:
        title: of the page.
        lead: one sentence.
        numbers: headline numbers.
        charts: of score, probability and class over time.
        classes: table of the classes.
        stretches: tables of stretches without a box and of undecodable frames; may be empty.
        paths: path of the box by shot; empty with tracks.
        motion: charts of the box's centre and size; empty with tracks.
        tracks: bars of the tracks; None without.
        track_table: table of the tracks; None without.
        jump_limit: IoU below which the box jumps.
        jumps: pictures of the worst jumps within shots.
        at_cuts: the same at cuts.
        jump_table: table of the jumps; None if there are none.
        frames: evenly spaced frames.
        options: (name, value).
    """

    title: str
    lead: str
    numbers: Sequence[Number]
    charts: Sequence[TimeChart]
    classes: Cells
    stretches: Sequence[Cells]
    paths: Sequence[BoxPath]
    motion: Sequence[TimeChart]
    tracks: TimeChart | None
    track_table: Cells | None
    jump_limit: float
    jumps: Sequence[Figure]
    at_cuts: Sequence[Figure]
    jump_table: Cells | None
    frames: Sequence[Figure]
    options: Sequence[tuple[str, str]]


def page_of(contents: Contents) -> Page:
    """The values that fill the template."""
    numbers, tracks = contents.numbers, contents.tracks
    charts = TimeCharts(numbers)
    longest = sorted(tracks or (), key=lambda one: -one.frames)[:MOST_TRACKS]
    longest.sort(key=lambda one: one.number)
    return Page(
        title=contents.title,
        lead=contents.lead,
        numbers=_headline(numbers, tracks),
        charts=_score_charts(charts, contents.empty_over),
        classes=class_cells(numbers),
        stretches=_stretches(numbers),
        paths=box_paths(numbers, contents.spaced.frames) if tracks is None else [],
        motion=_motion_charts(charts) if tracks is None and numbers.boxed.any() else [],
        tracks=_track_chart(charts, longest) if longest else None,
        track_table=track_cells(numbers, longest, len(tracks)) if tracks and longest else None,
        jump_limit=JUMP,
        jumps=[_jump_figure(place) for place in contents.jumps],
        at_cuts=[_jump_figure(place) for place in contents.at_cuts],
        jump_table=jump_cells(numbers) if numbers.jumps.any() else None,
        frames=[_frame_figure(frame) for frame in contents.spaced.spread(SPACED)],
        options=[(name, str(value)) for name, value in contents.options.items()],
    )


def _headline(numbers: FrameNumbers, tracks: Sequence[TrackSummary] | None) -> list[Number]:
    """The numbers at the top of the page."""
    total, boxed = len(numbers), int(numbers.boxed.sum())
    lost = total - int(numbers.decoded.sum())
    pairs = numbers.overlaps[~np.isnan(numbers.overlaps)]
    jumps, at_cuts = int(numbers.jumps.sum()), int((numbers.jumps & numbers.cuts).sum())
    rate = "" if numbers.rate is None else f"{numbers.rate:.4g} frames/s"
    labels = numbers.labels[numbers.decoded]
    changes = int(np.count_nonzero(np.diff(labels)))
    likely = numbers.classes[int(np.bincount(labels).argmax())] if len(labels) else "-"
    every = [
        ("frames", f"{total}", count_of(lost, "frame") + " cannot be decoded" if lost else ""),
        ("length", clock(numbers.ends[-1]), rate),
        ("frames with a box", f"{100 * boxed / total:.1f} %", f"{boxed} of {total}"),
        ("most frequent class", likely, count_of(changes, "change")),
        ("mean score", f"{np.nanmean(numbers.scores):.2f}" if boxed else "-", ""),
        ("jumps of the box", f"{jumps}", f"{at_cuts} of them at a cut" if at_cuts else ""),
        ("mean IoU of consecutive boxes", f"{pairs.mean():.2f}" if pairs.size else "-", ""),
        ("cuts", f"{int(numbers.cuts.sum())}", ""),
    ]
    if tracks is not None:
        every.append(("tracks", f"{len(tracks)}", ""))
    return [Number(*one) for one in every]


def _score_charts(charts: TimeCharts, empty_over: float | None) -> list[TimeChart]:
    """Score, probability and class over time."""
    numbers = charts.numbers
    scores = [
        Series("emptiness of the frame", numbers.emptiness, "baseline"),
        Series("score of the box", numbers.scores),
    ]
    if empty_over is not None:
        level = np.full(len(numbers), empty_over)
        scores.append(Series(f"no box above this emptiness: {empty_over:g}", level, "reference"))
    every = [
        charts.lines("Score and emptiness", scores, UNIT),
        charts.lines("Probability of the class", [Series("", numbers.probabilities)], UNIT),
    ]
    counts = np.bincount(numbers.labels[numbers.decoded], minlength=len(numbers.classes))
    labels = sorted(np.argsort(-counts, kind="stable")[:MOST_CLASSES].tolist())
    if labels:
        rows = {numbers.classes[label]: (numbers.labels == label, "") for label in labels}
        more = len(numbers.classes) > len(labels)
        title = f"Class: the {len(labels)} most frequent" if more else "Class"
        every.append(charts.rows(title, rows))
    return every


def _motion_charts(charts: TimeCharts) -> list[TimeChart]:
    """Centre and size of the box over time."""
    x0, y0, x1, y1 = charts.numbers.boxes.T
    centre = Series("x", (x0 + x1 + 1) / 2), Series("y", (y0 + y1 + 1) / 2, "baseline")
    size = Series("width", x1 - x0 + 1), Series("height", y1 - y0 + 1, "baseline")
    return [
        charts.lines("Centre of the box, pixels", centre),
        charts.lines("Size of the box, pixels", size),
    ]


def _track_chart(charts: TimeCharts, tracks: Sequence[TrackSummary]) -> TimeChart:
    """Tracks as bars from their first to their last frame."""
    places = np.arange(len(charts.numbers))
    rows = {}
    for one in tracks:
        mask = (places >= one.first) & (places <= one.last)
        rows[f"#{one.number}"] = mask, f"rgb{track_color(one.number)}"
    return charts.rows("Tracks", rows)


def _stretches(numbers: FrameNumbers) -> list[Cells]:
    every = []
    for mask, title in (
        (numbers.empty, "Stretches without a box"),
        (~numbers.decoded, "Frames that cannot be decoded"),
    ):
        if mask.any():
            every.append(stretch_cells(numbers, runs(mask), title))
    return every


def _jump_figure(place: JumpPlace) -> Figure:
    before, after = place.before, place.after
    more = f", {place.count} jumps within a second" if place.count > 1 else ""
    return Figure(
        [before, after],
        f"{clock(after.seconds)} · frames {before.index} and {after.index}",
        f"IoU {place.overlap:.2f}, centre moves by {100 * place.distance:.0f} % of the diagonal"
        f"{more}",
    )


def _frame_figure(frame: KeptFrame) -> Figure:
    text = f"{clock(frame.seconds)} · frame {frame.index}"
    without = "" if frame.boxes else ", no box"
    return Figure([frame], text, f"{frame.class_name} {frame.probability:.2f}{without}")
