"""Report of a localized video: numbers, stretches, jumps, pictures; bounded in size."""

import base64
import re

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.data.decoding.timestamps import TimedFrame
from colocam.evaluation.consistency import Consistency
from colocam.localization.drawing import track_color
from colocam.localization.inference import Localization
from colocam.report.video import VideoReport
from colocam.report.video.box_path import MOST_POINTS, box_paths
from colocam.report.video.clock import clock
from colocam.report.video.frame_log import FrameLog, runs
from colocam.report.video.kept_frames import (
    MOST_SPACED,
    SPACED_SIDE,
    LocalizedFrame,
    SpacedFrames,
    WorstJumps,
    keep,
)
from colocam.report.video.time_charts import COLUMNS, Series, TimeCharts
from colocam.report.video.video_report import MOST_AT_CUTS, MOST_JUMPS
from colocam.runtime.errors import WriteError

RATE = 10
LEFT, NEAR, RIGHT = (2, 4, 11, 13), (3, 4, 12, 13), (20, 4, 29, 13)
LOST = "lost"  # in place of a box: the frame cannot be decoded
GRAY, WHITE = (np.full((24, 32, 3), level, np.uint8) for level in (90, 255))
MAP = np.zeros((2, 2), np.float32)


def found_of(box, name="cat", probability=0.8, score=0.5, emptiness=0.1, boxes=None):
    every = (() if box is None else (box,)) if boxes is None else boxes
    scores = (score,) * len(every)
    score = 0.0 if box is None else score
    return Localization(name, probability, box, score, MAP, emptiness, every, scores)


def localized(index, box, image=GRAY):
    frame = TimedFrame(index, index / RATE, image)
    return LocalizedFrame(frame, image, found_of(box))


def report_of(boxes, images=None, **more):
    """A report to which one frame per box is added."""
    report = VideoReport("street.mp4", "p/street.mp4, localized.", {"--smooth": 0.3}, **more)
    for index, box in enumerate(boxes):
        lost = isinstance(box, str)
        image = None if lost else GRAY if images is None else images[index]
        found = None if lost else found_of(box)
        report.add(TimedFrame(index, index / RATE, image), found)
    return report


def log_of(boxes, cuts=()):
    """The numbers of frames without pictures."""
    log = FrameLog()
    for index, box in enumerate(boxes):
        log.add(index / RATE, None if box == LOST else found_of(box), cut=index in cuts)
    return log.numbers()


def headline(page):
    names = page.of("dt")
    return dict(zip(names, page.of("dd")[: len(names)], strict=True))


def rows_of(text, title):
    """Cells of the rows of the table below a title."""
    (section,) = [part for part in text.split("<section>") if f"<h3>{title}</h3>" in part]
    rows = section.split("</table>")[0].split("</tr>")
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in rows]
    return [row for row in cells if row]


# ---- contents


def test_numbers_at_the_top_are_those_of_the_frames(read_page):
    page = read_page(report_of([LEFT] * 6 + [None] * 3 + [LOST] + [RIGHT, LEFT]).html())
    assert page.of("h1") == page.of("title")[:1] == ["street.mp4"]
    assert "p/street.mp4, localized." in page.of("p")
    numbers = headline(page)
    assert numbers["frames"] == "12"
    assert numbers["length"] == "1.20 s"
    assert numbers["frames with a box"] == "66.7 %"
    assert numbers["mean score"] == "0.50"
    assert numbers["jumps of the box"] == "1"
    assert numbers["mean IoU of consecutive boxes"] == f"{5 / 6:.2f}"
    assert numbers["--smooth"] == "0.3"
    assert {"10 frames/s", "8 of 12", "1 frame cannot be decoded"} <= set(page.of("small"))


def test_a_jump_is_shown_with_its_frames_time_and_overlap(read_page):
    text = report_of([LEFT] * 14 + [RIGHT] * 6).html()
    page = read_page(text)
    assert [caption.strip() for caption in page.of("figcaption")][-9] == "1.40 s · frames 13 and 14"
    assert any(detail.startswith("IoU 0.00, centre moves by 45 %") for detail in page.of("small"))
    assert rows_of(text, "List of jumps") == [["1.40 s", "13 to 14", "0.00", ""]]
    assert "Within shots" in page.of("h3")
    assert "At cuts" not in page.of("h3")


def test_a_jump_at_a_cut_is_labelled_as_one(read_page):
    text = report_of([LEFT] * 5 + [RIGHT] * 5, [GRAY] * 5 + [WHITE] * 5).html()
    page = read_page(text)
    assert rows_of(text, "List of jumps") == [["0.50 s", "4 to 5", "0.00", "yes"]]
    assert headline(page)["cuts"] == "1"
    assert "1 of them at a cut" in page.of("small")
    assert "At cuts" in page.of("h3")
    assert "Within shots" not in page.of("h3")


def test_a_jump_across_a_missing_box_or_frame_is_none(read_page):
    for between in (None, LOST):
        page = read_page(report_of([LEFT, LEFT, between, RIGHT, RIGHT]).html())
        assert headline(page)["jumps of the box"] == "0"
        assert "List of jumps" not in page.of("h3")


@given(st.lists(st.sampled_from([LEFT, NEAR, RIGHT, None]), min_size=2, max_size=40))
@settings(max_examples=25, deadline=None)
def test_jumps_are_those_of_the_evaluation(boxes):
    consistency = Consistency()
    consistency.add(boxes)
    numbers = report_of(boxes)._log.numbers()
    assert numbers.jumps.sum() == consistency.jumps
    assert (~np.isnan(numbers.overlaps)).sum() == consistency.pairs
    assert np.nansum(numbers.overlaps) == pytest.approx(consistency.overlap)


def test_stretches_are_listed_with_time_and_frames():
    boxes = [LEFT] * 3 + [None] * 4 + [LEFT] + [None] + [LEFT] + [LOST] * 2 + [LEFT]
    text = report_of(boxes).html()
    assert rows_of(text, "Stretches without a box") == [
        ["0.30 s to 0.60 s", "3 to 6", "4", "0.40 s"],
        ["0.80 s", "8", "1", "0.10 s"],
    ]
    assert rows_of(text, "Frames that cannot be decoded") == [
        ["1.00 s to 1.10 s", "10 to 11", "2", "0.20 s"]
    ]
    assert text.count('class="empty"><title>0.30 s to 0.60 s, frames 3 to 6<') == 4  # charts
    assert "Stretches without a box" not in report_of([LEFT] * 3).html()


def test_the_threshold_of_emptiness_is_a_line(read_page):
    text = report_of([LEFT, None], empty_over=0.3).html()
    assert "no box above this emptiness: 0.3" in read_page(text).of("span")
    assert text.count('class="line reference"') == 1
    assert "line reference" not in report_of([LEFT, None]).html()


def test_classes_are_counted_and_have_a_row_each(read_page):
    report = VideoReport("a", "b", {})
    for index, name in enumerate(["cat", "cat", "dog", "cat"]):
        probability = 0.9 if name == "cat" else 0.4
        found = found_of(LEFT, name, probability)
        report.add(TimedFrame(index, index / RATE, GRAY), found)
    text = report.html()
    assert rows_of(text, "Classes") == [
        ["cat", "3", "75.0 %", "0.90"],
        ["dog", "1", "25.0 %", "0.40"],
    ]
    assert "2 changes" in read_page(text).of("small")
    assert "<title>cat: 0.00 s to 0.10 s, frames 0 to 1</title>" in text


def test_tracks_have_bars_and_rows_in_place_of_a_path(read_page):
    report = VideoReport("a", "b", {}, tracks=True)
    for index, numbers in enumerate([(1,), (1, 2), (1, 2), (), (2,)]):
        boxes = tuple((LEFT, RIGHT)[number - 1] for number in numbers)
        found = found_of(boxes[0] if boxes else None, boxes=boxes)
        report.add(TimedFrame(index, index / RATE, GRAY), found, numbers)
    text = report.html()
    cells = read_page(text).of("td")
    at = cells.index("#1")
    assert cells[at : at + 10] == [
        *("#1", "0.00 s to 0.20 s", "0 to 2", "3", "0.50"),
        *("#2", "0.10 s to 0.40 s", "1 to 4", "3", "0.50"),
    ]
    assert "<title>#2: 0.10 s to 0.40 s, frames 1 to 4</title>" in text
    assert "Path of the box" not in text
    assert f"stroke: rgb{track_color(2)}" in text


# ---- page


def addresses_of(page):
    return [value for _, own in page.tags for name, value in own.items() if name in ("src", "href")]


def test_page_refers_to_nothing_outside_of_it(read_page):
    text = report_of([LEFT, RIGHT, None, LOST, LEFT] * 3).html()
    page = read_page(text)
    addresses = addresses_of(page)
    assert len(addresses) > 8
    assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object"})
    assert not re.search(r"url\(|@import|https?:|//", re.sub(r"base64,[^\"]*", "", text))
    assert "prefers-color-scheme: dark" in text
    for address in addresses:
        data = np.frombuffer(base64.b64decode(address.split(",")[1]), np.uint8)
        assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape == GRAY.shape


@pytest.mark.parametrize("bad", ['<script>alert("x")</script>', "{{ page }}</style>", "caf\udce9"])
def test_names_are_escaped(bad, read_page, tmp_path):
    report = VideoReport(bad, bad, {bad: bad})
    report.add(TimedFrame(0, 0.0, GRAY), found_of(LEFT, bad))
    report.write(tmp_path / "page.html")
    page = read_page((tmp_path / "page.html").read_text())
    shown = bad.encode(errors="backslashreplace").decode()
    assert page.of("h1") == [shown]
    assert shown in page.of("td")
    assert "script" not in {tag for tag, _ in page.tags}


@pytest.mark.parametrize("boxes", [[LEFT], [None], [LOST], [LOST, LOST], [None, LOST, None]])
def test_videos_with_few_frames_or_no_box_have_a_page(boxes, read_page):
    page = read_page(report_of(boxes).html())
    assert headline(page)["frames"] == str(len(boxes))
    assert headline(page)["mean score"] == ("0.50" if LEFT in boxes else "-")
    assert bool(addresses_of(page)) == (set(boxes) != {LOST})


def test_a_long_video_has_a_page_of_bounded_size(monkeypatch, read_page):
    monkeypatch.setattr(VideoReport, "_is_cut", lambda *_: False)
    rng = np.random.default_rng(0)
    report = VideoReport("long", "long", {})
    for index in range(20_000):
        x = int(rng.integers(0, 18))
        box = None if rng.random() < 0.3 else (x, 2, x + 9, 11)
        values = rng.random(3)
        found = found_of(box, f"class {rng.integers(9)}", *values)
        report.add(TimedFrame(index, index / RATE, GRAY), found)
    text = report.html()
    assert headline(read_page(text))["frames"] == "20000"
    assert len(text) < 1_500_000
    assert text.count("<image") <= 2 * (MOST_JUMPS + MOST_AT_CUTS) + 16
    assert text.count("<tr>") < 200


def test_a_page_that_cannot_be_written_raises_and_leaves_no_file(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(WriteError, match="out"):
        report_of([LEFT]).write(tmp_path / "out" / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# ---- frames


@given(st.integers(1, 400))
@settings(max_examples=20, deadline=None)
def test_kept_frames_are_evenly_spaced_however_many_there_are(count):
    spaced = SpacedFrames()
    for index in range(count):
        spaced.add(localized(index, LEFT))
    places = [frame.index for frame in spaced.frames]
    assert min(count, MOST_SPACED // 2) <= len(places) <= MOST_SPACED
    assert places[0] == 0
    assert len(set(np.diff(places))) <= 1
    assert count - places[-1] <= places[-1] - places[-2] if count > 1 else True
    assert len(spaced.spread(8)) == min(8, len(places))


def test_large_pictures_are_reduced_and_small_ones_not_enlarged():
    for size, expected in (((400, 1600), (128, 512)), ((24, 32), (24, 32)), ((1, 3000), (1, 512))):
        kept = keep(localized(0, LEFT, np.zeros((*size, 3), np.uint8)), SPACED_SIDE)
        data = np.frombuffer(base64.b64decode(kept.url.split(",")[1]), np.uint8)
        assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape[:2] == expected
        assert kept.size == size[::-1]


def test_the_worst_jumps_are_kept_one_place_per_second():
    jumps = WorstJumps(3)
    overlaps = {0: 0.2, 4: 0.1, 9: 0.15, 20: 0.25, 40: 0.0, 60: 0.29, 80: 0.05}
    for index, overlap in overlaps.items():
        jumps.add(localized(index, LEFT), localized(index + 1, RIGHT), overlap)
    places = [(p.before.index, p.after.index, p.overlap, p.count) for p in jumps.places()]
    assert places == [(40, 41, 0.0, 1), (80, 81, 0.05, 1), (4, 5, 0.1, 3)]
    assert jumps.places() == jumps.places()


def test_of_jumps_without_overlap_the_farther_is_worse():
    jumps = WorstJumps(1)
    jumps.add(localized(0, LEFT), localized(1, (12, 4, 21, 13)), 0.0)
    jumps.add(localized(50, LEFT), localized(51, RIGHT), 0.0)
    jumps.add(localized(100, LEFT), localized(101, (14, 4, 23, 13)), 0.0)
    assert [place.after.index for place in jumps.places()] == [51]


# ---- charts


def test_runs_are_the_ranges_of_a_mask():
    assert runs(np.array([], bool)) == []
    assert runs(np.array([True, True, False, True])) == [range(0, 2), range(3, 4)]


def points_of(chart, kind):
    return [
        [tuple(map(float, point.split(","))) for point in points.split()]
        for own, points in chart.lines
        if own == kind
    ]


def test_lines_are_exact_and_interrupted_in_a_short_video():
    charts = TimeCharts(log_of([LEFT] * 4))
    values = np.array([0.0, 1.0, np.nan, 0.5])
    chart = charts.lines("a", [Series("", values)], (0, 1))
    first, last = points_of(chart, "method")
    assert first == [(0, 100), (COLUMNS / 4, 0)]
    assert last[0] == (3 * COLUMNS / 4, 50)
    assert chart.x_unit == "seconds"


def test_lines_of_a_long_video_keep_extremes_and_means():
    charts = TimeCharts(log_of([LEFT] * 8 * COLUMNS))
    values = np.tile([0.4, 0.5, 0.6, 0.5], 2 * COLUMNS)
    values[801], values[4000:4400] = 1.0, np.nan
    chart = charts.lines("a", [Series("", values)], (0, 1))
    ranges, means = points_of(chart, "method range"), points_of(chart, "method")
    assert [len(piece) for piece in means] == [500, 250]
    assert sum(map(len, ranges)) == 2 * 750
    assert min(y for x, y in ranges[0]) == 0
    assert {y for x, y in means[1]} == {50}


def test_blocks_cover_the_frames_of_a_mask_or_their_share():
    charts = TimeCharts(log_of([LEFT, None, None, LEFT]))
    (block,) = charts.lines("a", [Series("", np.zeros(4))]).blocks
    assert (block.x, block.width, block.kind) == (COLUMNS / 4, COLUMNS / 2, "empty")
    charts = TimeCharts(log_of([LEFT, None] * 4 * COLUMNS))
    blocks = charts.lines("a", [Series("", np.zeros(8 * COLUMNS))]).blocks
    assert [(block.x, block.width, block.opacity) for block in blocks] == [(0, COLUMNS, 0.5)]


def test_the_path_is_interrupted_and_marks_jumps():
    report = report_of([LEFT, NEAR, None, NEAR, RIGHT, RIGHT, LOST, LEFT])
    (path,) = box_paths(report._log.numbers(), report._spaced.frames)
    assert [(part.x1, part.x2, part.jump) for part in path.segments] == [
        (7, 8, False), (8, 25, True), (25, 25, False),
    ]  # fmt: skip
    assert len(path.outlines) == 5
    assert (path.begin, path.end) == ("0.00 s", "0.70 s")


def test_each_long_shot_has_a_path_of_its_own():
    boxes, cuts = [LEFT] * 1000 + [None] * 10 + [RIGHT] * 500, (1000, 1010)
    spaced = SpacedFrames()
    for index, box in enumerate(boxes):
        spaced.add(localized(index, box))
    first, last = box_paths(log_of(boxes, cuts), spaced.frames)
    assert first.caption.startswith("shot 1 of 3, frames 0 to 999; picture: frame 512, ")
    assert last.caption.startswith("shot 3 of 3, frames 1010 to 1509; picture: frame 12")
    assert len(first.segments) == MOST_POINTS - 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 s"),
        (59.994, "59.99 s"),
        (59.996, "1:00.00"),
        (64.2, "1:04.20"),
        (3664.2, "1:01:04.20"),
    ],
)
def test_times_are_in_words(seconds, text):
    assert clock(seconds) == text
