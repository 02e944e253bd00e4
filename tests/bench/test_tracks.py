"""bench/tracks.py: metrics of tracks on boxes written by hand, and the command."""

import json

import numpy as np
import pytest

import tracks as bench
from tracks import Video, frame_wise, measure

A, B = (0, 0, 9, 9), (20, 20, 29, 29)


class Given:
    """Returns the given numbers of tracks, frame by frame."""

    def __init__(self, numbers):
        self.numbers = iter(numbers)

    def next(self, boxes, scores, frame):
        return next(self.numbers)


def video_of(boxes, truth):
    """A video with these boxes, and the ground truth `truth` in every frame."""
    frames = [np.full((32, 32, 3), 90, np.uint8)] * len(boxes)
    return Video(
        frames, boxes, [(0.5,) * len(of) for of in boxes], dict.fromkeys(range(len(boxes)), truth)
    )


def test_the_followed_box_stays_on_the_longest_track_when_another_region_is_the_largest():
    video = video_of([(A,), (A, B), (B, A), (A, B)], [A])
    alone = frame_wise([video])
    joined = measure("own", lambda: Given([[1], [1, 2], [2, 1], [1, 2]]), [video])
    assert (alone.right, joined.right) == (75, 100)
    assert (alone.jumps, joined.jumps) == (pytest.approx(200 / 3), 0)
    assert (joined.covered, joined.switches, joined.tracks) == (100, 0, 2)


def test_changes_of_the_track_and_boxes_without_one_are_counted():
    video = video_of([(A,)] * 5, [A])
    joined = measure("own", lambda: Given([[None], [1], [1], [2], [2]]), [video])
    assert joined.covered == 80
    assert joined.switches == pytest.approx(100 / 3)
    assert joined.right == 80


def test_the_command_writes_a_row_for_each_method(tiny_run, tmp_path):
    ckpt, path = tiny_run.checkpoint("localizer-best"), tmp_path / "t.json"
    argv = ["--ckpt", str(ckpt), "--data", str(tiny_run.data), "--json", str(path)]
    assert bench.main(argv) == 0
    rows = json.loads(path.read_text())["rows"]
    assert [row["name"] for row in rows] == [bench.FRAME_WISE, *bench.trackers()]
    assert rows[1]["covered"] >= rows[0]["covered"]
    assert path.with_suffix(".md").is_file()


def test_data_without_boxes_is_one_line(tiny_run, tmp_path, capsys):
    argv = ["--ckpt", str(tiny_run.checkpoint("localizer-best")), "--data", str(tmp_path)]
    assert bench.main([*argv, "--json", str(tmp_path / "t.json")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
