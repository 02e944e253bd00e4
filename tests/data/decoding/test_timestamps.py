"""Time stamps of frames."""

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
    """Times of a file with the given time stamps in seconds, at 10 frames per second."""
    monkeypatch.setattr(timestamps, "mean_rate", lambda _: 10.0)
    monkeypatch.setattr(timestamps, "_stamped", lambda _: ((stamp, None) for stamp in stamps))
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


@pytest.mark.parametrize("frames", [30, 230])
def test_the_mean_rate_is_measured_over_the_whole_video(tmp_path, frames):
    if not has_h264():
        pytest.skip("PyAV is not installed")
    path, seconds = tmp_path / "clip.mp4", 0.0
    with mp4_file(path, (64, 48), 50) as video:
        for number in range(frames):
            video.write(np.full((48, 64, 3), number, np.uint8), seconds)
            seconds += 0.02 if number % 2 else 0.06
    rate = mean_rate(open_video(path, "clip"))
    assert rate == pytest.approx(25, rel=0.03)
