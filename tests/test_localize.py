"""A video in, boxes and an overlay video out."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

import colocam
from colocam.errors import UserError
from colocam.localize import VideoLocalizer, draw_result, main
from colocam.video.frames import open_video


@pytest.fixture(scope="module")
def localizer(tiny_run):
    return colocam.load(tiny_run.checkpoint("localizer-best"), device="cpu")


@pytest.fixture
def localized(tiny_run, tmp_path):
    """Runs the command on videos; its records."""

    def run(*videos, status=0):
        argv = [*map(str, videos), "--ckpt", str(tiny_run.checkpoint("localizer-best"))]
        assert main([*argv, "--out", str(tmp_path / "out"), "--device", "cpu"]) == status
        return json.loads((tmp_path / "out" / "boxes.json").read_text())

    return run


def check(records, video, frames, size, classes):
    """The contract of boxes.json for one video."""
    assert [record["frame"] for record in records] == list(frames)
    for record in records:
        assert set(record) == {"video", "frame", "class", "probability", "box", "score"}
        assert record["video"] == str(video)
        assert record["class"] in classes
        assert 1 / len(classes) - 1e-3 <= record["probability"] <= 1
        assert 0 <= record["score"] <= 1
        if record["box"] is not None:
            x0, y0, x1, y1 = record["box"]
            assert 0 <= x0 <= x1 <= size[0] - 1
            assert 0 <= y0 <= y1 <= size[1] - 1


def frames_of(path):
    frames = list(open_video(path, path.name))
    assert all(frame is not None for frame in frames)
    return np.stack(frames)


def test_an_overlay_shows_every_frame_of_the_video(localized, localizer, write_video, tmp_path):
    video = write_video(tmp_path / "cat.mp4", 11, (64, 48))
    records = localized(video)
    check(records, video, range(11), (64, 48), localizer.classes)
    overlay = frames_of(tmp_path / "out" / "cat-overlay.mp4")
    assert overlay.shape == (11, 48, 64, 3)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "boxes.json",
        "cat-overlay.mp4",
    ]


def test_an_overlay_of_odd_size_is_cut_to_even(localized, localizer, write_video, tmp_path):
    video = write_video(tmp_path / "odd", 3, (65, 49))
    check(localized(video), video, range(3), (65, 49), localizer.classes)
    assert frames_of(tmp_path / "out" / "odd-overlay.mp4").shape == (3, 48, 64, 3)


def test_records_are_what_the_python_call_finds(localized, localizer, write_video, tmp_path):
    video = write_video(tmp_path / "cat.mp4", 20)
    frames = list(open_video(video, "cat"))
    for record, found in zip(localized(video), localizer.localize(frames), strict=True):
        assert record["class"] == found.class_name
        assert record["box"] == (None if found.box is None else list(found.box))
        assert record["probability"] == pytest.approx(found.probability, abs=1e-3)
        assert record["score"] == pytest.approx(found.score, abs=1e-3)


def test_videos_of_one_name_do_not_overwrite_each_other(localized, write_video, tmp_path):
    videos = [
        write_video(tmp_path / "one" / "cat-2.mp4", 2),
        write_video(tmp_path / "one" / "cat.mp4", 3),
        write_video(tmp_path / "two" / "cat.mp4", 4),
        write_video(tmp_path / "two" / "cat", 5),
    ]
    records = localized(*videos)
    assert [sum(record["video"] == str(video) for record in records) for video in videos] == [
        2, 3, 4, 5,
    ]  # fmt: skip
    overlays = list((tmp_path / "out").glob("*-overlay.mp4"))
    assert sorted(len(frames_of(path)) for path in overlays) == [2, 3, 4, 5]


def test_an_unreadable_frame_of_a_folder_is_left_out_with_a_warning(
    localized, localizer, write_video, tmp_path, capsys
):
    video = write_video(tmp_path / "clip", 6)
    (video / "0002.jpg").write_bytes((video / "0002.jpg").read_bytes()[:30])
    (video / "0004.jpg").write_bytes(b"")
    check(localized(video), video, [0, 1, 3, 5], (64, 48), localizer.classes)
    assert len(frames_of(tmp_path / "out" / "clip-overlay.mp4")) == 4
    printed = "".join(capsys.readouterr().out.split())
    assert "clip:2framescannotbedecoded,leftout" in printed


def test_a_name_that_reads_like_markup_is_shown_as_it_is(localized, write_video, tmp_path, capsys):
    video = write_video(tmp_path / "a[" / "b]", 2)
    video = video.rename(tmp_path / "a[" / "bold]x[red]")
    (video / "0001.jpg").write_bytes(b"")
    localized(video)
    assert "a[/bold]x[red]:1frame" in "".join(capsys.readouterr().out.split())


def test_a_failure_midway_leaves_no_overlay(tiny_run, write_video, tmp_path, monkeypatch):
    video = write_video(tmp_path / "cat.mp4", 20)
    localize, calls = VideoLocalizer.localize, []

    def failing(self, frames):
        calls.append(len(frames))
        if len(calls) == 2:
            raise UserError("the device went away")
        return localize(self, frames)

    monkeypatch.setattr(VideoLocalizer, "localize", failing)
    ckpt = str(tiny_run.checkpoint("localizer-best"))
    argv = [str(video), "--ckpt", ckpt, "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main(argv) == 2
    assert len(calls) == 2
    assert list((tmp_path / "out").iterdir()) == []


def test_a_real_clip_goes_through(localized, localizer, shared, tmp_path):
    court = shared / "clips" / "tennis" / "court"
    frames = frames_of(court)
    assert len(frames) == 35
    height, width = frames.shape[1:3]
    check(localized(court), court, range(35), (width, height), localizer.classes)
    overlay = frames_of(tmp_path / "out" / "court-overlay.mp4")
    assert overlay.shape == (35, height // 2 * 2, width // 2 * 2, 3)
    # The box aside, the overlay is the clip.
    assert np.median(np.abs(overlay[20].astype(int) - frames[20, : height // 2 * 2])) < 12


# ---- the Python object


def test_localize_gives_one_result_a_frame_whatever_its_size(localizer):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in ((48, 64), (70, 30))]
    results = localizer.localize(frames)
    assert len(results) == 2
    for frame, result in zip(frames, results, strict=True):
        assert result.class_name in localizer.classes
        assert result.score_map.shape == (64, 64)
        assert 0 <= result.score_map.min() <= result.score_map.max() <= 1
        if result.box is not None:
            assert result.box[2] < frame.shape[1]
            assert result.box[3] < frame.shape[0]


def test_a_frame_is_localized_from_that_frame_alone(localizer):
    frames = list(np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), np.uint8))
    together = localizer.localize(frames)
    alone = [localizer.localize([frame])[0] for frame in frames]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.score_map, other.score_map, atol=2e-2)  # may be bfloat16
    assert localizer.localize([]) == []


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((2, 8, 8, 3), np.uint8),
    ],
)
def test_frames_of_another_kind_are_refused(localizer, frame):
    with pytest.raises(ValueError, match=r"^frames: "):
        localizer.localize([frame])


def test_a_drawn_result_shows_the_box_in_red_and_leaves_the_frame_alone(localizer):
    frame = np.full((200, 300, 3), 90, np.uint8)
    (result,) = localizer.localize([frame])
    picture = draw_result(frame, replace(result, box=(120, 60, 260, 180)))
    assert (frame == 90).all()
    red = (picture[..., 0] > 200) & (picture[..., 1] < 80)
    ys, xs = np.nonzero(red)
    assert (xs.min(), ys.min(), xs.max(), ys.max()) == (120, 60, 260, 180)
    without = draw_result(frame, replace(result, box=None))
    assert not ((without[..., 0] > 200) & (without[..., 1] < 80)).any()
    assert (without != frame).any()  # the class still stands there


def test_the_overlay_keeps_the_frame_rate(localized, write_video, tmp_path):
    localized(write_video(tmp_path / "cat.mp4", 4), write_video(tmp_path / "frames", 4))
    for name, rate in (("cat", 10), ("frames", 25)):
        capture = cv2.VideoCapture(str(tmp_path / "out" / f"{name}-overlay.mp4"))
        assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(rate)
        capture.release()
