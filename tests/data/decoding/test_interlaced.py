"""Interlaced video and what else OpenCV does not decode: the frames are right, at random too."""

import multiprocessing
import struct
import sys

import cv2
import numpy as np
import pytest

from colocam.data.decoding.captures.choice import is_wrong_in_opencv
from colocam.data.decoding.captures.open import open_capture
from colocam.data.decoding.captures.opencv import OpenCVCapture
from colocam.data.decoding.open import open_video
from colocam.data.decoding.seeking import seek
from colocam.data.decoding.timestamps import mean_rate, timed_frames
from colocam.runtime.errors import UserError

FIELDS = {"flags": "+ildct+ilme"}
X264 = {"x264-params": "interlaced=1:open-gop=1", "g": "25"}
# suffix, encoder, options that make it interlaced, pixels, (width, height)
KINDS = {
    "H.264 in mp4": (".mp4", "libx264", X264, "yuv420p", (64, 48)),
    "H.264 in mkv": (".mkv", "libx264", X264, "yuv420p", (64, 48)),
    "H.264 in ts": (".ts", "libx264", X264, "yuv420p", (64, 48)),
    "H.264 in avi": (".avi", "libx264", X264, "yuv420p", (64, 48)),
    "MPEG-2 in mpg": (".mpg", "mpeg2video", FIELDS | {"bf": "2"}, "yuv420p", (64, 48)),
    "MPEG-2 in ts": (".ts", "mpeg2video", FIELDS, "yuv420p", (64, 48)),
    "MPEG-4 in avi": (".avi", "mpeg4", FIELDS, "yuv420p", (64, 48)),
    "ProRes": (".mov", "prores_ks", FIELDS, "yuv422p10le", (64, 48)),
    "DV": (".avi", "dvvideo", {}, "yuv420p", (720, 576)),
    "DV without a container": (".dv", "dvvideo", {}, "yuv420p", (720, 576)),
}
INTERLACED = pytest.mark.parametrize("kind", KINDS)
# ProRes has 10 bits per channel, which PyAV and OpenCV round differently.
PROGRESSIVE = pytest.mark.parametrize("kind", [k for k in KINDS if "DV" not in k and k != "ProRes"])


def pictures(count, size):
    """RGB images with a bar that moves to the right, over a ground that gets brighter."""
    width, height = size
    for number in range(count):
        image = np.full((height, width, 3), 40 + number % 150, np.uint8)
        image[:, 2 * number % width : 2 * number % width + 8] = (220, 60, 20)
        yield image


def write(encode, folder, kind, count=12, *, interlaced=True):
    suffix, codec, options, pixels, size = KINDS[kind]
    if not interlaced:
        options = {"bf": options["bf"]} if "bf" in options else {}
    path = folder / f"{'interlaced' if interlaced else 'progressive'}{suffix}"
    return encode(path, codec, pictures(count, size), options, pixels), size


@INTERLACED
def test_interlaced_frames_are_decoded(tmp_path, encode, kind):
    path, size = write(encode, tmp_path, kind)
    frames = open_video(path, "a", notes := [])
    assert (len(frames), frames.size, frames.decoder, notes) == (12, size, "pyav", [])
    for frame, expected in zip(frames, pictures(12, size), strict=True):
        assert (frame.shape, frame.dtype) == (expected.shape, np.uint8)
        assert np.abs(frame.astype(int) - expected).mean() < 12
    assert mean_rate(frames) == pytest.approx(25)
    times = [frame.seconds for frame in timed_frames(frames)]
    assert times == pytest.approx(np.arange(12) / 25)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "DV" not in kind])
def test_seeking_in_interlaced_video_reads_the_frames_of_a_sequential_pass(tmp_path, encode, kind):
    path, _ = write(encode, tmp_path, kind, 230)
    frames = open_video(path, "a")
    every = list(frames)
    assert len(every) == 230
    assert len(frames.seek_points) >= 1
    for start in (0, 99, 100, 101, 222):
        found = frames.read(range(start, start + 8))
        assert all(map(np.array_equal, found, every[start : start + 8]))
    if kind == "MPEG-2 in mpg":
        return  # time stamps may be wrong there: some files are decoded from their start
    with open_capture(str(path), "pyav") as capture:
        assert all(seek(capture, point) for point in frames.seek_points)


@PROGRESSIVE
def test_progressive_video_is_decoded_by_opencv_to_the_same_frames_as_by_pyav(
    tmp_path, encode, kind
):
    path, _ = write(encode, tmp_path, kind, 30, interlaced=False)
    frames = open_video(path, "a")
    assert (len(frames), frames.decoder) == (30, "opencv")
    with open_capture(str(path)) as ours, open_capture(str(path), "pyav") as other:
        assert ours.rate == other.rate
        assert abs(ours.reported_frames - other.reported_frames) <= 1  # of MPEG, an estimate
        while ours.grab():
            assert other.grab()
            if ours.time:  # OpenCV reports 0 for the last frames of MPEG
                assert ours.time == pytest.approx(other.time, abs=0.01)
            assert np.array_equal(ours.retrieve(), other.retrieve())
        assert not other.grab()


@pytest.mark.parametrize("codec", ["H.264 in ts", "MPEG-2 in ts"])
def test_a_video_that_becomes_interlaced_later_is_recognized(tmp_path, encode, codec):
    first, size = write(encode, tmp_path, codec, 300, interlaced=False)
    second, _ = write(encode, tmp_path, codec, 40)
    path = tmp_path / "joined.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    frames = open_video(path, "a")
    assert frames.decoder == "pyav"
    last = list(frames)[-1]
    assert np.abs(last.astype(int) - list(pictures(40, size))[-1]).mean() < 12


def test_headers_of_progressive_h264_are_enough_and_other_video_needs_pyav(
    tmp_path, encode, monkeypatch
):
    path, _ = write(encode, tmp_path, "H.264 in mp4", interlaced=False)

    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "colocam.data.decoding.captures.pyav", raising=False)
    monkeypatch.delattr("colocam.data.decoding.captures.pyav", raising=False)
    assert open_video(path, "a").decoder == "opencv"
    other, _ = write(encode, tmp_path, "H.264 in mp4")
    with pytest.raises(UserError, match=r"decoding it needs PyAV .*: pip install av"):
        open_video(other, "a")


@pytest.mark.parametrize(
    "matrix",
    [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0), (-1, 0, 0, 1), (1, 0, 0, -1)],
)
def test_stored_rotation_is_applied_as_by_opencv(tmp_path, encode, matrix):
    """The last two are mirrored, which OpenCV takes for a rotation."""
    turned = []
    for interlaced in (True, False):
        path, _ = write(encode, tmp_path, "H.264 in mp4", 3, interlaced=interlaced)
        data = bytearray(path.read_bytes())
        before = open_video(path, "a").read([0])[0]
        offset = data.index(b"tkhd") + 44  # offset of the matrix in the track header, version 0
        a, b, c, d = (value << 16 for value in matrix)
        struct.pack_into(">9i", data, offset, a, b, 0, c, d, 0, 0, 0, 1 << 30)
        path.write_bytes(data)
        frames = open_video(path, "a")
        assert frames.decoder == ("pyav" if interlaced else "opencv")
        (after,) = frames.read([0])
        assert frames.size == after.shape[1::-1]
        turns = [np.array_equal(np.rot90(before, turn), after) for turn in range(4)]
        turned.append(turns.index(True))
    assert turned[0] == turned[1]


def test_frames_that_the_decoder_reports_as_damaged_are_not_used(tmp_path, encode):
    rng = np.random.default_rng(0)
    noise = list(rng.integers(0, 256, (30, 48, 64, 3), np.uint8))
    path = encode(tmp_path / "a.mp4", "libx264", noise, {"x264-params": "interlaced=1:bframes=0"})
    valid = list(open_video(path, "a"))
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + len(data) // 2
    data[start : start + 300] = bytes(300)
    path.write_bytes(data)
    frames = open_video(path, "a")
    found = list(frames)
    assert frames.decoder == "pyav"
    assert len(found) < 30 or any(frame is None for frame in found)
    assert np.array_equal(found[0], valid[0])
    with open_capture(str(path), "pyav") as capture:
        for frame in found:
            assert capture.grab()
            assert (frame is None) == (capture.retrieve() is None)
    for index, frame in enumerate(found):
        assert np.array_equal(frames.read([index])[0], frame)


def test_a_color_space_that_cannot_be_converted_is_reported(tmp_path, encode):
    options = {"x264-params": "colormatrix=YCgCo"}
    path = encode(tmp_path / "a.mp4", "libx264", pictures(5, (64, 48)), options)
    capture = OpenCVCapture(str(path))
    assert is_wrong_in_opencv(str(path), capture)
    capture.close()
    with pytest.raises(UserError, match="cannot be decoded; re-encode it or remove it"):
        open_video(path, "a")


def test_av1_is_decoded(tmp_path, encode):
    path = encode(tmp_path / "a.mp4", "libsvtav1", pictures(6, (64, 64)))
    frames = open_video(path, "a")
    for frame, expected in zip(frames, pictures(6, (64, 64)), strict=True):
        assert np.abs(frame.astype(int) - expected).mean() < 12


def mean_of_frame(frames, index, results):
    results.put(frames.read([index])[0].mean())


def test_interlaced_frames_are_decoded_in_a_forked_process(tmp_path, encode):
    path, _ = write(encode, tmp_path, "H.264 in mp4")
    frames = open_video(path, "a")
    expected = frames.read([5])[0].mean()
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    process = context.Process(target=mean_of_frame, args=(frames, 5, results))
    process.start()
    assert results.get(timeout=30) == expected
    process.join()


def test_the_case_of_a_user_is_decoded(shared):
    path = shared / "cases/interlaced.mp4"
    if not path.exists():
        pytest.skip("no cases in the shared folder")
    frames = open_video(path, "a")
    (frame,) = frames.read([5])
    assert len(frames) == 90
    assert cv2.Laplacian(frame, cv2.CV_64F).std() > 5  # a test picture
    assert frame.mean() > 60
