"""Frame sources of video files and folders of images: opening, reading and invalid files."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from colocam.data.decoding.capture import Capture
from colocam.data.decoding.open import open_video
from colocam.data.decoding.video_file import VideoFrames
from colocam.runtime.errors import UserError

CHECKOUT = Path(__file__).resolve().parents[3]
OPEN_EACH = """
import sys
from colocam.runtime.errors import UserError
from colocam.data.decoding.open import open_video
for path in sys.argv[1:]:
    try:
        open_video(path, path)
    except UserError:
        print("refused")
"""


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_frames_of_a_file_are_numbered_and_read_in_decoding_order(
    tmp_path, make_video, numbers, suffix
):
    frames = open_video(make_video(tmp_path / f"a{suffix}", 12, (64, 48)), "cat/a")
    assert isinstance(frames, VideoFrames)
    assert frames.name == "cat/a"
    assert len(frames) == 12
    assert frames.frame_size(3) == (64, 48)
    assert numbers(frames.read(range(12))) == list(range(12))
    assert numbers(frames) == list(range(12))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_frames_are_returned_in_the_requested_order_with_repetitions(
    tmp_path, make_video, make_frames, numbers, kind
):
    path = make_video(tmp_path / "a.mp4") if kind == "file" else make_frames(tmp_path / "a")
    frames = open_video(path, "a")
    assert numbers(frames.read([7, 2, 7, 0])) == [7, 2, 7, 0]
    assert frames.read([]) == []
    for bad in (-1, 12):
        with pytest.raises(IndexError, match=f"frame {bad}"):
            frames.read([0, bad])


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_frame_sources_are_picklable(tmp_path, make_video, make_frames, numbers, kind):
    path = make_video(tmp_path / "a.mp4") if kind == "file" else make_frames(tmp_path / "a")
    frames = pickle.loads(pickle.dumps(open_video(path, "a")))
    assert numbers(frames.read([4])) == [4]


def test_a_relative_path_stays_valid_when_the_working_directory_changes(
    tmp_path, make_video, numbers, monkeypatch
):
    make_video(tmp_path / "a.mp4")
    monkeypatch.chdir(tmp_path)
    frames = open_video("a.mp4", "a.mp4")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert numbers(frames.read([5])) == [5]


def test_a_read_stops_at_the_last_requested_frame_and_retrieves_only_requested_frames(
    tmp_path, make_video, monkeypatch
):
    frames = open_video(make_video(tmp_path / "a.mp4"), "a")
    calls = []

    for name in ("grab", "retrieve", "close"):
        method = getattr(Capture, name)

        def count(self, *args, name=name, method=method):
            calls.append(name)
            return method(self, *args)

        monkeypatch.setattr(Capture, name, count)
    frames.read([4, 2])
    assert calls == ["grab"] * 3 + ["retrieve"] + ["grab"] * 2 + ["retrieve", "close"]


def test_channels_are_in_rgb_order(tmp_path):
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 2] = 255  # red in BGR order
    cv2.imwrite(str(tmp_path / "0.png"), image)
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (16, 16))
    writer.write(image)
    writer.release()
    for path in (tmp_path, tmp_path / "a.avi"):
        (frame,) = open_video(path, "a").read([0])
        assert frame.dtype == np.uint8
        assert frame.flags.c_contiguous
        assert np.abs(frame.astype(int) - (255, 0, 0)).max() < 8


@pytest.mark.parametrize("name", ["ein Käfer, größer", "猫 1", "50% clip01", "a:b"])
def test_names_with_special_characters_open(tmp_path, make_video, make_frames, numbers, name):
    folder = make_frames(tmp_path / name, 3)
    (folder / "0002.jpg").rename(folder / f"{name}.jpg")
    made = make_video(tmp_path / "made.mp4", 3)
    file = made.rename(tmp_path / f"{name}.mp4")
    assert sorted(numbers(open_video(folder, name))) == [0, 1, 2]
    assert numbers(open_video(file, name)) == [0, 1, 2]


def test_frames_of_a_file_that_became_unreadable_are_none(tmp_path, make_video):
    path = make_video(tmp_path / "a.mp4", 4)
    frames = open_video(path, "a")
    path.write_bytes(b"")
    assert frames.read([1, 3]) == [None, None]
    assert list(frames) == [None] * 4


def test_a_folder_without_a_decodable_frame_is_rejected(tmp_path, make_frames):
    folder = make_frames(tmp_path / "a", 3)
    for path in folder.iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="a: not one of its 3 frames can be decoded"):
        open_video(folder, "a")
    (tmp_path / "b").mkdir()
    with pytest.raises(UserError, match="b: holds no image files"):
        open_video(tmp_path / "b", "b")
    with pytest.raises(UserError, match="no such file or folder"):
        open_video(tmp_path / "c.mp4", "c")


def test_an_unreadable_file_is_rejected_without_log_output_of_opencv(tmp_path, make_video):
    garbage, empty = tmp_path / "clip01.mp4", tmp_path / "empty.mp4"
    garbage.write_bytes(np.random.default_rng(0).bytes(5000))
    empty.write_bytes(b"")
    halved = make_video(tmp_path / "halved.mp4", 30)  # the index is at the end of the file
    halved.write_bytes(halved.read_bytes()[: halved.stat().st_size // 2])
    broken = [garbage, empty, halved]
    for path in broken:
        with pytest.raises(UserError) as error:
            open_video(path, path.name)
        assert str(error.value) == f"{path}: cannot be decoded; re-encode it or remove it"
    # FFmpeg reads its log level once per process; here an encoder may have run before.
    command = [sys.executable, "-c", OPEN_EACH, *map(str, broken)]
    environment = {name: text for name, text in os.environ.items() if "OPENCV" not in name}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=CHECKOUT)
    assert (done.stdout, done.stderr) == ("refused\n" * 3, "")


def test_opening_a_video_restores_the_log_level(tmp_path, make_video):
    log = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging
    level = log.getLogLevel()
    open_video(make_video(tmp_path / "a.mp4", 2), "a")
    assert log.getLogLevel() == level


def test_decodable_frames_of_a_truncated_file_are_used_with_a_note(tmp_path, make_video, numbers):
    path = make_video(tmp_path / "cut.avi", 30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    notes = []
    frames = open_video(path, "cat/cut.avi", notes)
    assert 1 <= len(frames) < 28
    assert numbers(frames) == list(range(len(frames)))
    assert len(notes) == 1
    assert notes[0].startswith(
        f"cat/cut.avi: container reports 30 frames but only {len(frames)} decode"
    )


def test_real_clips_have_the_expected_lengths_and_sizes(shared):
    swan = open_video(shared / "clips/bird/swan.mp4", "bird/swan.mp4")
    court = open_video(shared / "clips/tennis/court", "tennis/court")
    assert (len(swan), swan.frame_size(0)) == (50, (854, 480))
    assert (len(court), court.frame_size(0)) == (35, (854, 480))
    every = list(swan)
    for index, frame in zip([48, 0, 16], swan.read([48, 0, 16]), strict=True):
        assert np.array_equal(frame, every[index])
