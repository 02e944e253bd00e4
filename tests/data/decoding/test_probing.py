"""Probing: packets number the frames of common files as decoding them does; others are decoded."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from colocam.data.decoding import probing
from colocam.data.decoding.capture import Capture
from colocam.data.decoding.open import open_video
from colocam.data.decoding.probing import _probe_frames, _probe_packets
from colocam.data.decoding.timestamps import timed_frames
from colocam.data.decoding.video_file import VideoFrames
from colocam.runtime.errors import UserError

B_FRAMES = {"bf": "3", "g": "60"}
OPEN_GOP = {"x264-params": "open-gop=1:bframes=3", "g": "40"}
COMMON = [
    (".mp4", "libx264", B_FRAMES),
    (".mp4", "libx264", OPEN_GOP),
    (".mkv", "libx264", B_FRAMES),
    (".mp4", "libx264", {"x264-params": "interlaced=1", "g": "50"}),
    (".mov", "mjpeg", {}),
    (".mp4", "libx265", {"x265-params": "log-level=none:keyint=60"}),
    (".mov", "libx265", {"x265-params": "log-level=none:keyint=60:open-gop=1:bframes=4"}),
    (".webm", "libvpx-vp9", {"g": "60", "lag-in-frames": "16", "auto-alt-ref": "1", "speed": "8"}),
    (".mkv", "libvpx-vp9", {"g": "60", "speed": "8"}),
    (".mp4", "libsvtav1", {"g": "60", "preset": "12"}),
]
OTHERS = [
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


def damage(path, start, stop):
    """Overwrites the bytes of a file between two shares of its length by zeros."""
    data = bytearray(path.read_bytes())
    start, stop = int(start * len(data)), int(stop * len(data))
    data[start:stop] = bytes(stop - start)
    path.write_bytes(data)


def test_frames_behind_damage_keep_their_numbers(tmp_path, encode):
    path = write(encode, tmp_path, ".mp4", "libx264", B_FRAMES)
    valid = list(open_video(path, "a"))
    damage(path, 0.3, 0.4)  # between the key frames 60 and 120
    frames = open_video(path, "a")
    found = list(frames)
    assert len(frames) == len(found) == 230
    assert any(frame is None for frame in found[60:120])
    assert all(map(np.array_equal, found[120:], valid[120:]))
    assert all(map(np.array_equal, frames.read(range(120, 230)), valid[120:]))


@pytest.mark.parametrize("start", [0.05, 0.1])  # in the first frames, and behind them
@pytest.mark.parametrize(
    ("codec", "options"),
    [("libx264", {"bf": "0", "g": "60"}), ("libx265", {"x265-params": "log-level=none:keyint=60"})],
)
def test_frames_before_the_next_seek_point_keep_their_numbers_behind_damage(
    tmp_path, encode, codec, options, start
):
    path = write(encode, tmp_path, ".mp4", codec, options)
    valid = list(open_video(path, "a"))
    damage(path, start, start + 0.04)  # between the key frames 0 and 60; a seek point is at 120
    frames = open_video(path, "a")
    found = list(frames)
    lost = [number for number, frame in enumerate(found) if frame is None]
    assert lost
    assert max(lost) < 60
    assert frames.damaged or start > 0.05
    assert all(map(np.array_equal, found[60:], valid[60:]))
    assert all(map(np.array_equal, frames.read(range(60, 120)), valid[60:120]))


def test_from_damage_on_one_thread_decodes(tmp_path, encode, monkeypatch):
    path = write(encode, tmp_path, ".mp4", "libx264", {"bf": "0", "g": "60"})
    valid = list(open_video(path, "a"))
    damage(path, 0.3, 0.34)
    frames = open_video(path, "a")
    assert not frames.damaged  # its first frames are valid
    expected = list(replace(frames, damaged=True))
    used = []
    capture = VideoFrames.capture
    monkeypatch.setattr(
        VideoFrames, "capture", lambda self, threads: used.append(threads) or capture(self, threads)
    )
    found = list(frames)
    assert used == [None, 1]
    assert any(frame is None for frame in found)
    assert all(map(same, found, expected))
    assert all(map(np.array_equal, frames.read(range(30)), valid[:30]))
    assert used == [None, 1, None]


def same(one, other):
    """Whether two frames are equal, or none."""
    return other is None if one is None else np.array_equal(one, other)


def test_frames_that_are_not_those_of_packets_are_passed_over():
    """A decoder may repeat a frame, give one twice, or one without a time stamp."""
    frames = VideoFrames("a.mp4", "a", 5, (64, 48), stamps=(0, 10, 20, 30, 40))
    given = iter([0, 10, 10, None, 15, 0, 30, 40])
    capture = SimpleNamespace(stamp=None)

    def grab():
        capture.stamp = next(given, "end")
        return capture.stamp != "end"

    capture.grab = grab
    assert list(frames.grabbed(capture)) == [0, 1, 3, 4]


def test_lost_frames_of_a_variable_rate_have_times(tmp_path):
    av = pytest.importorskip("av")
    path, times = tmp_path / "a.mov", [*range(0, 2000, 40), *range(2000, 10000, 1000)]  # ms
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for picture, time in zip(pictures(len(times)), times, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuvj420p")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with av.open(str(path)) as opened:
        packets = [(packet.pos, packet.size) for packet in opened.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position, size in [*packets[:2], *packets[20:30]]:
        data[position : position + size] = bytes(size)
    path.write_bytes(data)
    timed = list(timed_frames(open_video(path, "a")))
    lost = [frame.index for frame in timed if frame.image is None]
    assert lost == [0, 1, *range(20, 30)]
    assert [frame.seconds for frame in timed] == pytest.approx([time / 1000 for time in times])


def test_times_of_frames_behind_damage_are_their_own(tmp_path, encode):
    path = write(encode, tmp_path, ".mp4", "libx264", {"bf": "0", "g": "60"})
    damage(path, 0.1, 0.14)
    timed = list(timed_frames(open_video(path, "a")))
    assert [frame.index for frame in timed] == list(range(230))
    assert any(frame.image is None for frame in timed)
    for frame in timed:
        assert frame.seconds == pytest.approx(frame.index / 25)


def join(path, parts):
    """Joins videos of 25 frames per second without encoding them."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as output:
        copy, number = None, 0
        for part in parts:
            with av.open(str(part)) as given:
                copy = copy or output.add_stream_from_template(given.streams.video[0])
                for packet in given.demux(video=0):
                    if packet.size:
                        packet.stream, packet.time_base = copy, Fraction(1, 25)
                        packet.pts = packet.dts = number
                        packet.duration = 1
                        output.mux(packet)
                        number += 1
    return path


def test_frames_that_are_read_behind_a_change_of_size_have_the_size_of_the_first(tmp_path, encode):
    smaller = [image[:32] for image in pictures(120)]
    parts = [
        encode(tmp_path / name, "mjpeg", images, pixels="yuvj420p")
        for name, images in (("a.mov", pictures(120)), ("b.mov", smaller))
    ]
    path = join(tmp_path / "joined.mov", parts)
    frames = open_video(path, "a")
    assert len(frames) == 240
    (late,) = frames.read([239])
    assert late.shape == (48, 64, 3)
    assert np.array_equal(late, list(frames)[239])
