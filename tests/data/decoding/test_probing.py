"""Probing: packets number the frames of common files as decoding them does; others are decoded."""

from itertools import pairwise

import numpy as np
import pytest

from colocam.data.decoding import probing
from colocam.data.decoding.capture import Capture
from colocam.data.decoding.open import open_video
from colocam.data.decoding.probing import _probe_frames, _probe_packets
from colocam.runtime.errors import UserError

B_FRAMES = {"bf": "3", "g": "60"}
OPEN_GOP = {"x264-params": "open-gop=1:bframes=3", "g": "40"}
COMMON = [
    (".mp4", "libx264", B_FRAMES),
    (".mp4", "libx264", OPEN_GOP),
    (".mkv", "libx264", B_FRAMES),
    (".mp4", "libx264", {"x264-params": "interlaced=1", "g": "50"}),
    (".mov", "mjpeg", {}),
]
OTHERS = [
    (".mp4", "libx265", {"x265-params": "log-level=none:keyint=60"}),
    (".webm", "libvpx-vp9", {"g": "60", "lag-in-frames": "16", "auto-alt-ref": "1", "speed": "8"}),
    (".mkv", "libvpx-vp9", {"g": "60", "speed": "8"}),
    (".mp4", "libsvtav1", {"g": "60", "preset": "12"}),
    (".avi", "libx264", B_FRAMES),
    (".ts", "libx264", B_FRAMES),
    (".webm", "libvpx", {"lag-in-frames": "16", "auto-alt-ref": "1", "deadline": "realtime"}),
    (".mp4", "mpeg4", {}),
    (".mov", "libx264", {"bf": "0", "g": "1"}),  # each packet a key frame: may be wrong
]


def pictures(count):
    """RGB frames of noise, each over a grey of its own."""
    noise = np.random.default_rng(0).integers(0, 64, (48, 64, 3), np.uint8)
    return [np.roll(noise, number, 1) + np.uint8(number % 180) for number in range(count)]


def write(encode, folder, suffix, codec, options, count=230):
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    return encode(folder / f"a{suffix}", codec, pictures(count), options, pixels)


@pytest.fixture
def grabs(monkeypatch):
    """The captures that grabbed a frame, once for each frame."""
    done = []
    grab = Capture.grab
    monkeypatch.setattr(Capture, "grab", lambda self: done.append(self) or grab(self))
    return done


@pytest.mark.parametrize(("suffix", "codec", "options"), COMMON)
def test_packets_number_the_frames_of_common_files(tmp_path, encode, suffix, codec, options):
    path = write(encode, tmp_path, suffix, codec, options)
    by_packets, by_frames = _probe_packets(str(path)), _probe_frames(str(path), None)
    assert by_packets is not None
    for key in ("num_frames", "size", "promised", "reaches_end", "damaged"):
        assert by_packets[key] == by_frames[key]
    assert by_packets["steps"] == pytest.approx(by_frames["steps"])


@pytest.mark.parametrize(("suffix", "codec", "options"), COMMON)
def test_seek_points_of_packets_are_frames_of_a_sequential_pass(
    tmp_path, encode, suffix, codec, options
):
    path = write(encode, tmp_path, suffix, codec, options)
    frames = open_video(path, "a")
    every = list(frames)
    assert len(every) == 230
    numbers = [0, *(point.index for point in frames.seek_points)]
    assert 2 <= len(numbers) <= 3
    assert all(b - a >= 100 for a, b in pairwise(numbers))
    for start in (0, 99, 119, 120, 121, 160, 222):
        found = frames.read(range(start, start + 8))
        assert all(map(np.array_equal, found, every[start : start + 8]))


def test_a_read_behind_a_seek_point_begins_there(tmp_path, encode, grabs):
    frames = open_video(write(encode, tmp_path, ".mp4", "libx264", B_FRAMES), "a")
    (point,) = frames.seek_points
    assert point.index == 120
    grabs.clear()
    frames.read([125])
    assert len(grabs) == 6


@pytest.mark.parametrize(("suffix", "codec", "options"), COMMON)
def test_opening_a_common_file_decodes_its_first_frames_only(
    tmp_path, encode, grabs, suffix, codec, options
):
    path = write(encode, tmp_path, suffix, codec, options)
    assert len(open_video(path, "a")) == 230
    assert len(grabs) <= 16


@pytest.mark.parametrize(("suffix", "codec", "options"), OTHERS)
def test_other_files_are_decoded_to_count_their_frames(
    tmp_path, encode, grabs, suffix, codec, options
):
    frames = open_video(write(encode, tmp_path, suffix, codec, options), "a")
    assert len(grabs) == len(frames) + 1
    assert len(frames) == 230


def test_a_file_that_is_gone_once_its_packets_are_read_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(probing, "_packets", lambda _: ([0, 512], [0]))
    with pytest.raises(UserError, match=r"gone\.mp4: cannot be decoded"):
        probing.probe(str(tmp_path / "gone.mp4"))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_truncated_file_is_decoded_to_count_its_frames(tmp_path, encode, grabs, suffix):
    index_first = {"movflags": "faststart"} if suffix == ".mp4" else None
    path = encode(
        tmp_path / f"a{suffix}", "libx264", pictures(230), B_FRAMES, container=index_first
    )
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    frames = open_video(path, "a", notes := [])
    assert len(frames) == len(list(frames)) < 200
    assert all(frame is not None for frame in frames)
    assert [note.split(" but ")[0] for note in notes] == ["a: container reports 230 frames"]
    assert len(grabs) > len(frames)


def test_frames_behind_damage_keep_their_numbers(tmp_path, encode):
    path = write(encode, tmp_path, ".mp4", "libx264", B_FRAMES)
    valid = list(open_video(path, "a"))
    data = bytearray(path.read_bytes())
    start, stop = len(data) * 3 // 10, len(data) * 4 // 10  # between the key frames 60 and 120
    data[start:stop] = bytes(stop - start)
    path.write_bytes(data)
    frames = open_video(path, "a")
    found = list(frames)
    assert len(frames) == len(found) == 230
    assert any(frame is None for frame in found[60:120])
    assert all(map(np.array_equal, found[120:], valid[120:]))
    assert all(map(np.array_equal, frames.read(range(120, 230)), valid[120:]))
