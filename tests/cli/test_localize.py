"""Command localize: overlay videos, boxes.json and CSV files."""

import csv
import errno
import json
import os
import threading

import cv2
import numpy as np
import pytest
import torch

import colocam
from colocam.cli.evaluate import main as evaluate
from colocam.cli.localize import CSV_COLUMNS, main
from colocam.data.decoding.open import open_video
from colocam.data.not_data import is_output
from colocam.data.records import BoxedFrame
from colocam.evaluation.evaluate import evaluate as evaluate_frames
from colocam.evaluation.evaluate import seed_cam_of
from colocam.localization.inference import VideoLocalizer
from colocam.localization.video_writer import has_h264
from colocam.postprocessing import Postprocessing, Smoothing
from colocam.runtime.errors import UserError, WriteError


@pytest.fixture(scope="module")
def localizer(tiny_run):
    return colocam.load(tiny_run.checkpoint("localizer-best"), device="cpu")


@pytest.fixture
def localized(tiny_run, tmp_path):
    """Runs the command on videos and returns its records."""

    def run(*videos, options=()):
        argv = [*map(str, videos), "--ckpt", str(tiny_run.checkpoint("localizer-best"))]
        assert main([*argv, "--out", str(tmp_path / "out"), "--device", "cpu", *options]) == 0
        return json.loads((tmp_path / "out" / "boxes.json").read_text())

    return run


def check(records, video, frames, size, classes):
    """Checks the keys and ranges of boxes.json for one video."""
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


def table(path):
    """The lines of a CSV file, as dictionaries."""
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        assert tuple(reader.fieldnames) == CSV_COLUMNS
        return list(reader)


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
        "cat.csv",
        "videos.json",
    ]


def test_the_csv_file_has_one_line_per_frame_as_in_the_records(localized, write_video, tmp_path):
    video = write_video(tmp_path / "cat.mp4", 6)
    records = localized(video, options=["--overlay", "off"])
    lines = table(tmp_path / "out" / "cat.csv")
    for number, (line, record) in enumerate(zip(lines, records, strict=True)):
        assert (line["frame"], line["time"]) == (str(number), f"{number / 10:.4f}")
        assert line["class"] == record["class"]
        assert float(line["probability"]) == record["probability"]
        box = [line[side] for side in ("x0", "y0", "x1", "y1")]
        assert box == ([""] * 4 if record["box"] is None else [f"{s:.0f}" for s in record["box"]])
        assert line["score"] == ("" if record["box"] is None else f"{record['score']:.4f}")
        assert 0 <= float(line["empty"]) <= 1
    assert not list((tmp_path / "out").glob("*.mp4"))


def test_records_agree_with_the_python_interface(localized, localizer, write_video, tmp_path):
    video = write_video(tmp_path / "cat.mp4", 20)
    frames = list(open_video(video, "cat"))
    for record, found in zip(localized(video), localizer.localize(frames), strict=True):
        assert record["class"] == found.class_name
        assert record["box"] == (None if found.box is None else list(found.box))
        assert record["probability"] == pytest.approx(found.probability, abs=1e-3)
        assert record["score"] == pytest.approx(found.score, abs=1e-3)


def test_videos_with_the_same_name_do_not_overwrite_each_other(localized, write_video, tmp_path):
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


def test_an_unreadable_frame_keeps_its_index_and_is_counted(
    localized, localizer, write_video, tmp_path, capsys
):
    video = write_video(tmp_path / "clip", 6)
    (video / "0000.jpg").write_bytes(b"")
    (video / "0002.jpg").write_bytes((video / "0002.jpg").read_bytes()[:30])
    check(localized(video), video, [1, 3, 4, 5], (64, 48), localizer.classes)
    assert "clip: 2 frames cannot be decoded, skipped" in capsys.readouterr().out
    lines = table(tmp_path / "out" / "clip.csv")
    assert [line["frame"] for line in lines] == list("012345")
    assert [number for number, line in enumerate(lines) if not line["class"]] == [0, 2]
    assert lines[2] == dict.fromkeys(CSV_COLUMNS, "") | {"frame": "2", "time": "0.0800"}
    assert len(frames_of(tmp_path / "out" / "clip-overlay.mp4")) == 6


def test_a_name_with_markup_is_printed_unchanged(localized, write_video, tmp_path, capsys):
    video = write_video(tmp_path / "a[" / "b]", 2)
    video = video.rename(tmp_path / "a[" / "bold]x[red]")
    (video / "0001.jpg").write_bytes(b"")
    localized(video)
    assert "a[/bold]x[red]: 1 frame cannot" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "status"), [(UserError("the device went away"), 2), (KeyboardInterrupt(), 130)]
)
def test_after_an_error_no_partial_file_remains(
    tiny_run, write_video, tmp_path, monkeypatch, error, status
):
    videos = [write_video(tmp_path / name, 20) for name in ("cat.mp4", "dog.mp4")]
    infer, calls = VideoLocalizer.infer, []

    def failing(self, frames, refinement, inputs):
        calls.append(len(frames))
        if len(calls) == 4:
            raise error
        return infer(self, frames, refinement, inputs)

    monkeypatch.setattr(VideoLocalizer, "infer", failing)
    ckpt = str(tiny_run.checkpoint("localizer-best"))
    argv = [*map(str, videos), "--ckpt", ckpt, "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*argv, "--batch-size", "16"]) == status
    assert calls == [16, 4, 16, 4]
    whole = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert whole == ["cat-overlay.mp4", "cat.csv", "videos.json"]
    assert not [one for one in threading.enumerate() if one.name.startswith("prefetch")]


def test_a_real_clip_is_localized(localized, localizer, shared, tmp_path):
    court = shared / "clips" / "tennis" / "court"
    frames = frames_of(court)
    assert len(frames) == 35
    height, width = frames.shape[1:3]
    check(localized(court), court, range(35), (width, height), localizer.classes)
    overlay = frames_of(tmp_path / "out" / "court-overlay.mp4")
    assert overlay.shape == (35, height // 2 * 2, width // 2 * 2, 3)
    # The box aside, the overlay is the clip.
    assert np.median(np.abs(overlay[20].astype(int) - frames[20, : height // 2 * 2])) < 12


def test_the_overlay_keeps_the_frame_rate(localized, write_video, tmp_path):
    localized(write_video(tmp_path / "cat.mp4", 4), write_video(tmp_path / "frames", 4))
    for name, rate in (("cat", 10), ("frames", 25)):
        capture = cv2.VideoCapture(str(tmp_path / "out" / f"{name}-overlay.mp4"))
        assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(rate)
        capture.release()


def test_folders_of_videos_and_unicode_names_are_localized(localized, write_video, tmp_path):
    data = tmp_path / "my videos"
    for name, frames in (("Füchse/größe 1.mp4", 2), ("Füchse/ボール", 3), ("hund.mp4", 4)):
        write_video(data / name, frames)
    (data / "notes.txt").write_text("not a video")
    records = localized(data, data / "hund.mp4")  # named twice, localized once
    videos = [data / "Füchse" / "größe 1.mp4", data / "Füchse" / "ボール", data / "hund.mp4"]
    assert [record["video"] for record in records] == [
        str(video) for video, frames in zip(videos, (2, 3, 4), strict=True) for _ in range(frames)
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        ["boxes.json", "videos.json"]
        + [f"{stem}{end}" for stem in ("größe 1", "ボール", "hund") for end in ENDS]
    )


ENDS = ("-overlay.mp4", ".csv")


def test_videos_that_cannot_be_decoded_are_skipped_and_counted(
    localized, write_video, tmp_path, capsys
):
    good = write_video(tmp_path / "data" / "good.mp4", 3)
    (tmp_path / "data" / "bad.mp4").write_bytes(b"not a video")
    (tmp_path / "data" / "empty.avi").write_bytes(b"")
    assert {record["video"] for record in localized(tmp_path / "data")} == {str(good)}
    printed = capsys.readouterr().out
    assert "warning: 2 of 3 videos are unreadable and skipped (first: " in printed
    assert f"{tmp_path / 'data' / 'bad.mp4'}: cannot be decoded" in printed


# ---- options


def test_all_boxes_have_tracks_in_records_and_csv(localized, localizer, write_video, tmp_path):
    video = write_video(tmp_path / "cat.mp4", 6)
    one = localized(video, options=["--overlay", "off"])
    records = localized(video, options=["--boxes", "all", "--min-area", "0"])
    found = localizer.localize(list(open_video(video, "cat")), boxes="all", min_area=0)
    lines = []
    for record, of_one, result in zip(records, one, found, strict=True):
        assert {**of_one} == {key: record[key] for key in of_one}
        assert record["all_boxes"] == [list(box) for box in result.all_boxes]
        assert len(record["tracks"]) == len(record["all_scores"]) == len(record["all_boxes"])
        assert len(set(record["tracks"])) == len(record["tracks"])
        of_boxes = zip(record["all_boxes"], record["all_scores"], record["tracks"], strict=True)
        lines += [(record["frame"], *box, score, track) for box, score, track in of_boxes]
    assert len(lines) > len(records)
    with (tmp_path / "out" / "cat.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert tuple(table[0]) == (*CSV_COLUMNS, "track")
    columns = ("frame", "x0", "y0", "x1", "y1", "score", "track")
    assert [tuple(float(line[name]) for name in columns) for line in table] == lines
    assert len(frames_of(tmp_path / "out" / "cat-overlay.mp4")) == 6


def test_frames_without_boxes_have_one_line_with_all_boxes(localized, write_video, tmp_path):
    video = write_video(tmp_path / "clip", 4)
    (video / "0001.jpg").write_bytes(b"")
    records = localized(video, options=["--boxes", "all", "--empty-over", "0"])
    assert [record["frame"] for record in records] == [0, 2, 3]
    assert all(record["all_boxes"] == record["tracks"] == [] for record in records)
    lines = (tmp_path / "out" / "clip.csv").read_text().splitlines()
    assert len(lines) == 5
    assert {line.count(",") for line in lines} == {len(CSV_COLUMNS)}
    assert is_output(tmp_path / "out" / "clip-overlay.mp4")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--boxes", "al"], "argument --boxes: invalid choice: 'al'"),
        (["--boxes", "all", "--min-area", "1"], "--min-area 1.0: must be at least 0 and below 1"),
        (["--boxes", "all", "--min-area", "nan"], "--min-area nan: must be at least 0 and below 1"),
        (["--boxes", "all", "--min-area", "1%"], "argument --min-area: invalid float value: '1%'"),
        (["--min-area", "0.1"], "--min-area: has no effect without --boxes all"),
    ],
)
def test_wrong_boxes_are_one_line(options, message, tmp_path, capsys):
    for command in (main, evaluate):
        videos = ["cat.mp4"] if command is main else []
        assert command([*videos, "--ckpt", "x", *options]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_requested_class_is_reported(localized, localizer, write_video, tmp_path):
    video = write_video(tmp_path / "cat.mp4", 3)
    free = localized(video, options=["--overlay", "off"])
    likely, _ = localizer.infer(list(open_video(video, "cat")))
    label = int(likely[0].argmin())
    name = localizer.classes[label]
    bound = localized(video, options=["--overlay", "off", "--class", name])
    assert {record["class"] for record in bound} == {name}
    for one, other, of_classes in zip(bound, free, likely, strict=True):
        assert (one["box"], one["score"]) == (other["box"], other["score"])
        assert one["probability"] == pytest.approx(of_classes[label], abs=1e-3)


def test_frames_above_the_emptiness_threshold_have_no_box(localized, write_video, tmp_path):
    video = write_video(tmp_path / "cat.mp4", 6)
    free = localized(video, options=["--overlay", "off"])
    lines = table(tmp_path / "out" / "cat.csv")
    empty = [float(line["empty"]) for line in lines]
    over = sum(sorted(empty)[2:4]) / 2  # of a frame itself, the fifth decimal would decide
    bound = localized(video, options=["--empty-over", str(over)])
    for record, other, score in zip(bound, free, empty, strict=True):
        assert record.pop("empty") == pytest.approx(score, abs=1e-3)
        gone = score > over
        assert record == ({**other, "box": None, "score": 0.0} if gone else other)
    assert any(record["box"] is None for record in bound) or len(set(empty)) == 1
    argv = [str(video), "--ckpt", "x", "--out", str(tmp_path / "no"), "--empty-over", "2"]
    assert main(argv) == 2


def test_maps_and_classes_are_smoothed_past_missing_frames(
    localized, tiny_run, write_video, tmp_path
):
    video = write_video(tmp_path / "clip", 5)
    (video / "0001.jpg").write_bytes(b"")
    records = localized(video, options=["--overlay", "off", "--smooth", "0.8", "--amp", "off"])
    full = VideoLocalizer(tiny_run.checkpoint("localizer-best"), "cpu", "off")
    frames = [frame for frame in open_video(video, "clip") if frame is not None]
    likely, maps = full.infer(frames)
    of_map, of_class = Smoothing(0.8), Smoothing(0.8)
    for record, frame, *values in zip(records, frames, likely, maps, strict=True):
        values = of_class.next(values[0], frame), of_map.next(values[1], frame)
        expected = full.locate(*values, (64, 48))
        assert record["score"] == pytest.approx(expected.score, abs=1e-3)
        assert record["class"] == expected.class_name
        assert record["probability"] == pytest.approx(expected.probability, abs=1e-3)


@pytest.mark.parametrize("count", [1, 3])
def test_refined_maps_are_those_of_the_python_interface_and_of_evaluation(
    localized, tiny_run, write_video, tmp_path, count
):
    video = write_video(tmp_path / "clip", 5)
    records = localized(
        video, options=["--overlay", "off", "--refine", str(count), "--amp", "off",
                        "--batch-size", "2"],
    )  # fmt: skip
    model = VideoLocalizer(tiny_run.checkpoint("localizer-best"), "cpu", "off")
    source = open_video(video, "clip")
    frames = list(source)
    refined = model.localize(frames, refine=count)
    assert np.abs(refined.maps - model.localize(frames).maps).max() > 0.01
    for record, own in zip(records, refined, strict=True):
        assert record["score"] == pytest.approx(own.score, abs=1e-3)
    boxed = [BoxedFrame(f"clip/{k}", 0, "clip", source, k, ((1, 1, 9, 9),)) for k in (1, 4)]
    maps = []
    evaluate_frames(
        model.model, boxed, model.classes, side=model.info.size,
        cam=seed_cam_of(model.model, model.info), device=model.device,
        on_batch=lambda _, outputs: maps.extend(outputs.scores),
        postprocessing=Postprocessing(refine=count),
    )  # fmt: skip
    np.testing.assert_allclose(maps, refined.maps[[1, 4]], atol=1e-3)


def test_heat_draws_the_score_map(localized, write_video, tmp_path):
    video = write_video(tmp_path / "cat.mp4", 2)
    pictures = []
    for heat in ("off", "on"):
        localized(video, options=["--heat", heat])
        pictures.append(frames_of(tmp_path / "out" / "cat-overlay.mp4").astype(int))
    assert np.abs(pictures[0] - pictures[1]).mean() > 10


def test_cpu_threads_sets_the_number_of_threads(localized, write_video, tmp_path):
    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        localized(write_video(tmp_path / "cat.mp4", 2), options=["--cpu-threads", "1"])
        assert (torch.get_num_threads(), cv2.getNumThreads()) == (1, 1)
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_the_decoder_of_a_gpu_that_is_not_there_is_one_line(
    tiny_run, write_video, tmp_path, capsys
):
    video = write_video(tmp_path / "cat.mp4", 2)
    argv = [str(video), "--ckpt", str(tiny_run.checkpoint("localizer-best")), "--decoder", "gpu"]
    assert main([*argv, "--device", "cpu", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{video}: no GPU that decodes video" in error
    assert not (tmp_path / "out").exists()


def test_earlier_output_is_not_read_as_input(localized, write_video, tmp_path):
    write_video(tmp_path / "cat.mp4", 2)
    for _ in range(2):  # the output folder is inside the folder of videos
        records = localized(tmp_path)
        assert {record["video"] for record in records} == {str(tmp_path / "cat.mp4")}


@pytest.fixture
def unwritable(tiny_run, write_video, tmp_path):
    """Runs the command on two videos, of which the first cannot be written; returns its status."""

    def run(first, *options):
        argv = [first, write_video(tmp_path / "dog.mp4", 2), *options]
        argv += ["--ckpt", tiny_run.checkpoint("localizer-best"), "--out", tmp_path / "out"]
        return main([*map(str, argv), "--device", "cpu"])

    return run


def test_a_video_whose_results_cannot_be_written_is_skipped_and_counted(
    unwritable, write_video, tmp_path, capsys
):
    long = write_video(tmp_path / f"{'n' * 240}.mp4", 2)
    wide = tmp_path / "wide"
    wide.mkdir()
    cv2.imwrite(str(wide / "0.png"), np.zeros((16, 17_000, 3), np.uint8))
    firsts = [long, wide] if has_h264() else [long]  # VP9 takes wide frames
    for first in firsts:
        assert unwritable(first) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: 1 of 2 videos is without a result and skipped (first: ")
        assert error.count("\n") == 1
        assert "cannot be written (" in error
        records = json.loads((tmp_path / "out" / "boxes.json").read_text())
        assert [record["video"] for record in records] == [str(tmp_path / "dog.mp4")] * 2
        assert (tmp_path / "out" / "dog-overlay.mp4").is_file()
        assert len(list((tmp_path / "out").iterdir())) == 4
    if len(firsts) == 2:
        assert unwritable(wide, "--overlay", "off") == 0
        assert (tmp_path / "out" / "wide.csv").is_file()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_ends_the_command_in_one_line(
    unwritable, write_video, tmp_path, capsys, monkeypatch, number
):
    def full(path, data):
        reason = os.strerror(number)
        raise WriteError(f"{path}: cannot be written ({reason})") from OSError(number, reason)

    monkeypatch.setattr("colocam.cli.localize.write_atomic", full)
    assert unwritable(write_video(tmp_path / "cat.mp4", 2), "--overlay", "off") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'out' / 'cat.csv'}: cannot be written (")
    assert error.count("\n") == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_results_of_another_video_and_files_of_users_are_kept(localized, write_video, tmp_path):
    first, second = (write_video(tmp_path / name / "clip.mp4", n) for n, name in enumerate("pq", 2))
    localized(first)
    before = (tmp_path / "out" / "clip.csv").read_bytes()
    records = localized(second)
    assert (tmp_path / "out" / "clip.csv").read_bytes() == before
    assert len(table(tmp_path / "out" / "clip-2.csv")) == 3
    assert {record["video"] for record in records} == {str(first), str(second)}
    assert len(localized(second)) == 5
    assert not (tmp_path / "out" / "clip-3.csv").exists()
    (tmp_path / "out" / "boxes.json").write_text("mine")
    with pytest.raises(AssertionError):
        localized(second)
    assert (tmp_path / "out" / "boxes.json").read_text() == "mine"
