import os
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from colocam.data.decoding.video_file import ImageFrames, VideoFrames, open_video
from colocam.runtime.errors import UserError

CHECKOUT = Path(__file__).resolve().parents[3]
OPEN_EACH = """
import sys
from colocam.runtime.errors import UserError
from colocam.data.decoding.video_file import open_video
for path in sys.argv[1:]:
    try:
        open_video(path, path)
    except UserError:
        print("refused")
"""


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_frames_of_a_file_are_counted_and_read_in_decoding_order(
    tmp_path, make_video, numbers, suffix
):
    frames = open_video(make_video(tmp_path / f"a{suffix}", 12, (64, 48)), "cat/a")
    assert isinstance(frames, VideoFrames)
    assert frames.name == "cat/a"
    assert len(frames) == 12
    assert frames.frame_size(3) == (64, 48)
    assert numbers(frames.read(range(12))) == list(range(12))
    assert numbers(frames) == list(range(12))


def test_frames_of_a_folder_come_in_sorted_file_order(tmp_path, make_frames, numbers):
    folder = make_frames(tmp_path / "a", 6)
    (folder / "0000.jpg").rename(folder / "9999.jpg")
    (folder / "notes.txt").write_text("no frame")
    (folder / ".0000.jpg").write_bytes(b"hidden")
    frames = open_video(folder, "a")
    assert isinstance(frames, ImageFrames)
    assert len(frames) == 6
    assert numbers(frames.read(range(6))) == [1, 2, 3, 4, 5, 0]
    assert numbers(frames) == [1, 2, 3, 4, 5, 0]
    assert frames.frame_size(0) == (64, 48)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_frames_come_in_the_order_asked_for_repeats_included(
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
def test_sources_pickle_for_the_workers_of_a_loader(
    tmp_path, make_video, make_frames, numbers, kind
):
    path = make_video(tmp_path / "a.mp4") if kind == "file" else make_frames(tmp_path / "a")
    frames = pickle.loads(pickle.dumps(open_video(path, "a")))
    assert numbers(frames.read([4])) == [4]


def test_a_relative_path_still_opens_after_the_working_folder_changes(
    tmp_path, make_video, numbers, monkeypatch
):
    make_video(tmp_path / "a.mp4")
    monkeypatch.chdir(tmp_path)
    frames = open_video("a.mp4", "a.mp4")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert numbers(frames.read([5])) == [5]


def test_a_read_stops_after_the_last_frame_asked_for_and_decodes_only_those(
    tmp_path, make_video, monkeypatch
):
    frames = open_video(make_video(tmp_path / "a.mp4"), "a")
    calls = []

    class Counted:
        def __init__(self, *args):
            self.inner = capture(*args)

        def grab(self):
            calls.append("grab")
            return self.inner.grab()

        def retrieve(self):
            calls.append("retrieve")
            return self.inner.retrieve()

        def release(self):
            calls.append("release")
            self.inner.release()

    capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Counted)
    frames.read([4, 2])
    assert calls == ["grab"] * 3 + ["retrieve"] + ["grab"] * 2 + ["retrieve", "release"]


def test_colours_are_red_green_blue(tmp_path):
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 2] = 255  # red, as OpenCV orders channels
    cv2.imwrite(str(tmp_path / "0.png"), image)
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (16, 16))
    writer.write(image)
    writer.release()
    for path in (tmp_path, tmp_path / "a.avi"):
        (frame,) = open_video(path, "a").read([0])
        assert frame.dtype == np.uint8
        assert frame.flags.c_contiguous
        assert np.abs(frame.astype(int) - (255, 0, 0)).max() < 8


@pytest.mark.parametrize(
    "image",
    [
        np.full((20, 30), 77, np.uint8),
        np.full((20, 30, 4), 77, np.uint8),
        np.full((20, 30, 3), 77 * 257, np.uint16),
    ],
    ids=["grey", "alpha", "16 bit"],
)
def test_other_pixel_formats_become_8_bit_rgb(tmp_path, image):
    cv2.imwrite(str(tmp_path / "0.png"), image)
    (frame,) = open_video(tmp_path, "a").read([0])
    assert frame.shape == (20, 30, 3)
    assert frame.dtype == np.uint8
    assert np.all(frame == 77)


@pytest.mark.parametrize("name", ["ein Käfer, größer", "猫 1", "50% clip01", "a:b"])
def test_any_name_works(tmp_path, make_video, make_frames, numbers, name):
    folder = make_frames(tmp_path / name, 3)
    (folder / "0002.jpg").rename(folder / f"{name}.jpg")
    made = make_video(tmp_path / "made.mp4", 3)
    file = made.rename(tmp_path / f"{name}.mp4")
    assert sorted(numbers(open_video(folder, name))) == [0, 1, 2]
    assert numbers(open_video(file, name)) == [0, 1, 2]


def test_zero_byte_frames_keep_their_number_read_as_none_and_are_counted(
    tmp_path, make_frames, numbers
):
    folder = make_frames(tmp_path / "a", 6)
    (folder / "0000.jpg").write_bytes(b"")
    (folder / "0004.jpg").write_bytes(b"")
    notes = []
    frames = open_video(folder, "cat/a", notes)
    assert len(frames) == 6
    assert numbers(frames.read(range(6))) == [None, 1, 2, 3, None, 5]
    assert notes == ["cat/a: 2 zero-byte frames skipped (first: 0000.jpg)"]


def test_an_undecodable_or_vanished_frame_reads_as_none(tmp_path, make_frames, numbers):
    folder = make_frames(tmp_path / "a", 4)
    (folder / "0001.jpg").write_bytes(b"this is no picture")
    frames = open_video(folder, "a")
    (folder / "0003.jpg").unlink()
    assert numbers(frames.read([0, 1, 2, 3])) == [0, None, 2, None]
    assert frames.frame_size(1) is None


def jpeg(size, *options):
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    return cv2.imencode(".jpg", image, options)[1].tobytes()


def with_thumbnail(whole):
    """The JPEG with a small one of its own in front, as cameras write them."""
    segment = b"Exif\0\0" + jpeg((8, 8))
    return whole[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + whole[2:]


@pytest.mark.parametrize(
    "whole",
    [
        jpeg((48, 64)),
        jpeg((48, 64), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        jpeg((48, 64), cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
        with_thumbnail(jpeg((48, 64))),
        jpeg((48, 64)) + b"what some cameras add",
    ],
    ids=["baseline", "progressive", "restarts", "thumbnail", "trailer"],
)
def test_a_jpeg_is_read_whole_or_not_at_all(tmp_path, whole):
    frames = ImageFrames((str(tmp_path / "a.jpg"),), "a")
    (tmp_path / "a.jpg").write_bytes(whole)
    assert frames.frame_size(0) == (64, 48)
    end = whole.rindex(b"\xff\xd9") + 2
    for length in [*range(0, end, 97), end - 2, end - 1]:
        (tmp_path / "a.jpg").write_bytes(whole[:length])
        assert frames.read([0]) == [None]


def test_a_file_that_became_unreadable_reads_as_none(tmp_path, make_video):
    path = make_video(tmp_path / "a.mp4", 4)
    frames = open_video(path, "a")
    path.write_bytes(b"")
    assert frames.read([1, 3]) == [None, None]
    assert list(frames) == [None] * 4


def test_a_folder_without_a_good_frame_is_named(tmp_path, make_frames):
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


def test_an_unreadable_file_is_named_without_other_noise(tmp_path, make_video):
    garbage, empty = tmp_path / "clip01.mp4", tmp_path / "empty.mp4"
    garbage.write_bytes(np.random.default_rng(0).bytes(5000))
    empty.write_bytes(b"")
    halved = make_video(tmp_path / "halved.mp4", 30)  # the index stands at the end of the file
    halved.write_bytes(halved.read_bytes()[: halved.stat().st_size // 2])
    broken = [garbage, empty, halved]
    for path in broken:
        with pytest.raises(UserError) as error:
            open_video(path, path.name)
        assert str(error.value) == f"{path}: cannot be decoded; re-encode it or take it out"
    # FFmpeg takes its log level once a process, and here an encoder may have run first.
    command = [sys.executable, "-c", OPEN_EACH, *map(str, broken)]
    environment = {name: text for name, text in os.environ.items() if "OPENCV" not in name}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=CHECKOUT)
    assert (done.stdout, done.stderr) == ("refused\n" * 3, "")


def test_opening_a_video_leaves_the_log_level_as_it_was(tmp_path, make_video):
    log = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging
    level = log.getLogLevel()
    open_video(make_video(tmp_path / "a.mp4", 2), "a")
    assert log.getLogLevel() == level


def test_a_file_cut_short_is_used_as_far_as_it_goes_with_a_note(tmp_path, make_video, numbers):
    path = make_video(tmp_path / "cut.avi", 30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    notes = []
    frames = open_video(path, "cat/cut.avi", notes)
    assert 1 <= len(frames) < 28
    assert numbers(frames) == list(range(len(frames)))
    assert len(notes) == 1
    assert notes[0].startswith(f"cat/cut.avi: promises 30 frames but only {len(frames)} decode")


def test_the_real_clips_have_their_known_lengths_and_sizes(shared):
    swan = open_video(shared / "clips/bird/swan.mp4", "bird/swan.mp4")
    court = open_video(shared / "clips/tennis/court", "tennis/court")
    assert (len(swan), swan.frame_size(0)) == (50, (854, 480))
    assert (len(court), court.frame_size(0)) == (35, (854, 480))
    every = list(swan)
    for index, frame in zip([48, 0, 16], swan.read([48, 0, 16]), strict=True):
        assert np.array_equal(frame, every[index])


def test_a_jpeg_is_cut_short_where_its_own_end_is_missing(tmp_path):
    """Whatever stands before its scan, as a thumbnail, or behind its end, as a camera's film."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 60, 3), np.uint8)
    for progressive in (0, 1):
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])
        whole = data.tobytes()
        thumbnail = b"\xff\xe1" + (2 + len(whole)).to_bytes(2, "big") + whole  # an Exif segment
        with_thumbnail = whole[:2] + thumbnail + whole[2:]
        files = {
            "whole": whole,
            "film": whole + b"\x00\x00film\xff\xda" + bytes(99),
            "thumbnail": with_thumbnail,
            "cut": whole[: len(whole) * 2 // 3],
            "cut with thumbnail": with_thumbnail[: -len(whole) // 3],
        }
        for name, content in files.items():
            (tmp_path / f"{name}.jpg").write_bytes(content)
            (frame,) = ImageFrames((str(tmp_path / f"{name}.jpg"),), name).read([0])
            assert (frame is None) == name.startswith("cut"), name
