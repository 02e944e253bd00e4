"""Time stamps of frames."""

from fractions import Fraction

import numpy as np
import pytest

from colocam.data.decoding import timestamps
from colocam.data.decoding.open import open_video
from colocam.data.decoding.timestamps import first_size, mean_rate, timed_frames
from colocam.data.decoding.video_file import VideoFrames
from colocam.localization.video_writer import has_h264, mp4_file


def test_a_folder_has_the_default_rate_and_bad_frames_keep_their_number(write_video, tmp_path):
    folder = write_video(tmp_path / "clip", 4)
    (folder / "0000.jpg").write_bytes(b"")
    source = open_video(folder, "clip")
    frames = list(timed_frames(source))
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.04, 0.08, 0.12])
    assert [frame.image is None for frame in frames] == [True, False, False, False]
    assert first_size(source) == (64, 48)


def test_a_file_has_the_rate_of_its_container(write_video, tmp_path):
    source = open_video(write_video(tmp_path / "clip.mp4", 5), "clip")
    assert mean_rate(source) == pytest.approx(10)
    frames = list(timed_frames(source))
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    for frame, expected in zip(frames, source, strict=True):
        np.testing.assert_array_equal(frame.image, expected)
    assert first_size(source) == (64, 48)


def stamped(monkeypatch, stamps, number=None):
    """Times of a file with the given time stamps in seconds, at 10 frames per second.

    A stamp of None is a frame that the decoder leaves out.
    """
    monkeypatch.setattr(timestamps, "mean_rate", lambda _: 10.0)
    monkeypatch.setattr(timestamps, "_stamped", lambda _: given)
    given = [(n, stamp, None) for n, stamp in enumerate(stamps) if stamp is not None]
    source = VideoFrames("clip.mp4", "clip", number or len(stamps), (64, 48))
    return [frame.seconds for frame in timed_frames(source)]


@pytest.mark.parametrize(
    ("stamps", "seconds"),
    [
        ([0.0, 0.0, 0.0], [0, 0.1, 0.2]),  # no time stamps
        ([5.0, 5.1, 5.2], [0, 0.1, 0.2]),  # a later start
        ([0.0, 0.101, 0.199], [0, 0.1, 0.2]),  # rounded to milliseconds
        ([0.0, 0.04, 0.3], [0, 0.04, 0.3]),  # a variable rate
        ([0.0, 0.5, 0.0, 0.7], [0, 0.5, 0.6, 0.7]),  # a missing time stamp
    ],
)
def test_times_start_at_zero_and_increase(monkeypatch, stamps, seconds):
    assert stamped(monkeypatch, stamps) == pytest.approx(seconds)


def test_frames_missing_at_the_end_of_the_file_keep_their_number(monkeypatch):
    assert stamped(monkeypatch, [0.0, 0.1], 4) == pytest.approx([0, 0.1, 0.2, 0.3])


def test_frames_that_the_decoder_leaves_out_keep_their_number(monkeypatch):
    stamps = [0.0, None, None, 0.3, 0.4]
    assert stamped(monkeypatch, stamps) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("frames", [30, 230])
def test_the_mean_rate_is_measured_over_the_whole_video(tmp_path, frames):
    if not has_h264():
        pytest.skip("this PyAV does not provide the encoder libx264")
    path, seconds = tmp_path / "clip.mp4", 0.0
    with mp4_file(path, (64, 48), 50) as video:
        for number in range(frames):
            video.write(np.full((48, 64, 3), number, np.uint8), seconds)
            seconds += 0.02 if number % 2 else 0.06
    rate = mean_rate(open_video(path, "clip"))
    assert rate == pytest.approx(25, rel=0.03)


@pytest.mark.parametrize("options", [{}, {"x264-params": "interlaced=1"}])
@pytest.mark.parametrize("count", [40, 130])
def test_joined_transport_streams_keep_their_rate(tmp_path, encode, options, count):
    images = [np.full((48, 64, 3), 200 * (n % 2), np.uint8) for n in range(count)]
    path = encode(tmp_path / "part.ts", "libx264", images, options)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(path.read_bytes() * 2)  # time stamps begin anew
    source = open_video(joined, "joined.ts", notes := [])
    assert 2 * count - 2 <= len(source) <= 2 * count  # frames at the joint may be incomplete
    assert source.seek_points == ()  # a time stamp identifies no frame
    assert notes == []
    assert mean_rate(source) == pytest.approx(25)
    times = [frame.seconds for frame in timed_frames(source)]
    assert times[-1] == pytest.approx(len(source) / 25, abs=0.1)
    assert np.diff(times).min() > 0.03
    every = list(source)
    for index in (count - 1, count, count + 5, len(source) - 1):
        np.testing.assert_array_equal(source.read([index])[0], every[index])


def test_a_rate_that_is_reported_twice_as_high_is_corrected(tmp_path, encode, copy_stream):
    """H.264 in AVI, as FFmpeg copies it: every second frame of the container is empty."""
    images = [np.full((48, 64, 3), 5 * n, np.uint8) for n in range(40)]
    path = encode(tmp_path / "a.mp4", "libx264", images, {"bf": "2"})
    avi = copy_stream(path, tmp_path / "a.avi", time_base=Fraction(1, 50))
    assert mean_rate(open_video(avi, "a.avi")) == pytest.approx(25)
