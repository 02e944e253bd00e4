"""Video writer: frames are read back at their size and time."""

import resource
import signal

import numpy as np
import pytest

import colocam.localization.video_writer
from colocam.data.decoding.open import open_video
from colocam.data.decoding.timestamps import mean_rate, timed_frames
from colocam.localization.video_writer import has_h264, mp4_file
from colocam.runtime.errors import UserError


@pytest.fixture(params=["h264", "vp9"])
def codec(request, monkeypatch):
    """Each of the two codecs."""
    if request.param == "vp9":
        monkeypatch.setattr(colocam.localization.video_writer, "has_h264", lambda: False)
    elif not has_h264():
        pytest.skip("this PyAV does not provide the encoder libx264")
    return request.param


@pytest.fixture
def h264():
    if not has_h264():
        pytest.skip("this PyAV does not provide the encoder libx264")


def picture(number, size=(64, 48)):
    """Gray frame with a moving white bar and a red right border."""
    frame = np.full((size[1], size[0], 3), 100, np.uint8)
    frame[:, 4 * number : 4 * number + 8] = 255
    frame[:, -8:] = (200, 40, 40)
    return frame


def write(path, times, size=(64, 48), rate=10.0):
    with mp4_file(path, size, rate) as video:
        for number, seconds in enumerate(times):
            video.write(picture(number, size), seconds)
    return list(timed_frames(open_video(path, path.name)))


def test_frames_are_read_back_at_their_rate(tmp_path, codec):
    path = tmp_path / "new" / "clip.mp4"
    read = write(path, [n / 10 for n in range(7)])
    assert [frame.seconds for frame in read] == pytest.approx([n / 10 for n in range(7)])
    for frame in read:
        assert np.abs(frame.image.astype(int) - picture(frame.index)).mean() < 6
    assert mean_rate(open_video(path, "clip")) == pytest.approx(10)
    assert [file.name for file in path.parent.iterdir()] == ["clip.mp4"]
    assert b"avc1" in path.read_bytes() if codec == "h264" else b"vp09" in path.read_bytes()


@pytest.mark.parametrize("size", [(65, 49), (2, 2), (1, 3)])
def test_odd_side_is_padded_by_one_pixel_at_its_end(tmp_path, codec, size):
    (frame,) = write(tmp_path / "odd.mp4", [0.0], size)
    assert frame.image.shape == (size[1] + size[1] % 2, size[0] + size[0] % 2, 3)
    if size == (65, 49):
        assert np.abs(frame.image[:49, :65].astype(int) - picture(0, size)).mean() < 6
        assert np.abs(frame.image[:, -1].astype(int) - frame.image[:, -2]).mean() < 20


def test_frame_of_another_size_is_scaled_and_centered(tmp_path, codec):
    with mp4_file(tmp_path / "clip.mp4", (64, 48), 10) as video:
        video.write(picture(0), 0.0)
        video.write(np.full((96, 32, 3), 200, np.uint8), 0.1)  # 16×48 of 64×48
    after = list(open_video(tmp_path / "clip.mp4", "clip"))[1].astype(int)
    assert after.shape == (48, 64, 3)
    assert np.abs(after[:, 26:38] - 200).max() < 25
    assert after[:, :20].max() < 30
    assert after[:, 44:].max() < 30


def test_variable_rate_keeps_its_times(tmp_path, h264):
    times = [0.0, 0.033, 0.1, 0.5, 0.5021, 1.75]
    read = write(tmp_path / "variable.mp4", times, rate=29.97)
    assert [frame.seconds for frame in read] == pytest.approx(times, abs=1e-4)


def test_equal_times_are_accepted(tmp_path, h264):
    assert len(write(tmp_path / "still.mp4", [0.0, 0.0, 0.1, 0.1])) == 4


@pytest.mark.parametrize("rate", [24000 / 1001, 30000 / 1001, 29.563492063492063, 59.94, 12.5, 1])
def test_constant_rate_is_read_back(tmp_path, h264, rate):
    write(tmp_path / "clip.mp4", [n / rate for n in range(5)], rate=rate)
    assert mean_rate(open_video(tmp_path / "clip.mp4", "clip")) == pytest.approx(rate, rel=1e-4)


def test_index_precedes_the_frame_data(tmp_path, h264):
    write(tmp_path / "clip.mp4", [0.0, 0.1])
    data = (tmp_path / "clip.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path, codec):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"old")
    for error in (KeyboardInterrupt, UserError):
        with pytest.raises(error):
            write(path, failing(error))
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]
    assert path.read_bytes() == b"old"


def failing(error):
    yield from (0.0, 0.1)
    raise error


def test_video_that_cannot_be_written_is_named_in_the_error(tmp_path, codec):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/clip\.mp4: cannot be written"):
        write(tmp_path / "file" / "clip.mp4", [0.0])


def test_full_disk_raises(tmp_path, codec, limited_files):
    limited_files(20_000)
    noise = np.random.default_rng(0).integers(0, 256, (4, 240, 320, 3), np.uint8)
    with pytest.raises(UserError, match=r"clip\.mp4: cannot be written"):
        write_all(tmp_path / "clip.mp4", noise)
    assert list(tmp_path.iterdir()) == []


def write_all(path, frames):
    with mp4_file(path, frames.shape[2:0:-1], 10) as video:
        for number, frame in enumerate(frames):
            video.write(frame, number / 10)


@pytest.fixture
def limited_files():
    """Limits the size of files, which fails like a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)
