"""Interlaced video, damaged video and AV1: the frames are right, at random too."""

import multiprocessing
import struct
from contextlib import closing

import cv2
import numpy as np
import pytest

from colocam.data.decoding.capture import Capture
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
    assert (len(frames), frames.size, notes) == (12, size, [])
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
    with frames.capture() as capture:
        assert all(seek(capture, point) for point in frames.seek_points)


@PROGRESSIVE
def test_frames_of_progressive_video_are_those_of_opencv(tmp_path, encode, kind):
    path, _ = write(encode, tmp_path, kind, 30, interlaced=False)
    frames = open_video(path, "a")
    assert len(frames) == 30
    other = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    with frames.capture() as ours:
        assert ours.rate == other.get(cv2.CAP_PROP_FPS)
        reported = other.get(cv2.CAP_PROP_FRAME_COUNT)
        assert abs(ours.reported_frames - reported) <= 1  # of MPEG, an estimate
        while other.grab():
            assert ours.grab()
            if time := other.get(cv2.CAP_PROP_POS_MSEC):  # 0 for the last frames of MPEG
                assert ours.time == pytest.approx(time, abs=0.01)
            assert np.array_equal(ours.retrieve(), other.retrieve()[1][..., ::-1])
        assert not ours.grab()


@pytest.mark.parametrize("codec", ["H.264 in ts", "MPEG-2 in ts"])
def test_a_video_that_becomes_interlaced_later_is_recognized(tmp_path, encode, codec):
    first, size = write(encode, tmp_path, codec, 300, interlaced=False)
    second, _ = write(encode, tmp_path, codec, 40)
    path = tmp_path / "joined.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    frames = open_video(path, "a")
    last = list(frames)[-1]
    assert np.abs(last.astype(int) - list(pictures(40, size))[-1]).mean() < 12


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
        (after,) = frames.read([0])
        assert frames.size == after.shape[1::-1]
        turns = [np.array_equal(np.rot90(before, turn), after) for turn in range(4)]
        turned.append(turns.index(True))
    assert turned[0] == turned[1]
    assert np.array_equal(after, cv2.VideoCapture(str(path)).read()[1][..., ::-1])


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
@pytest.mark.parametrize("options", ["interlaced=1:bframes=0", "bframes=0"])
def test_frames_that_the_decoder_reports_as_damaged_are_not_used(tmp_path, encode, options, suffix):
    rng = np.random.default_rng(0)
    noise = list(rng.integers(0, 256, (80, 48, 64, 3), np.uint8))
    path = encode(tmp_path / f"a{suffix}", "libx264", noise, {"x264-params": options})
    whole = open_video(path, "a")
    valid = list(whole)
    assert not whole.damaged
    data = bytearray(path.read_bytes())
    start = len(data) * 3 // 4
    data[start : start + 6000] = bytes(6000)
    path.write_bytes(data)
    frames = open_video(path, "a")
    assert frames.damaged == (suffix == ".ts")  # which is decoded to count its frames
    found = list(frames)
    assert len(found) < 80 or any(frame is None for frame in found)
    assert np.array_equal(found[0], valid[0])
    with frames.capture() as capture:
        lost = {index: capture.retrieve() is None for index in frames.grabbed(capture)}
    assert [frame is None for frame in found] == [
        lost.get(index, True) for index in range(len(found))
    ]
    for index, frame in enumerate(found):
        assert np.array_equal(frames.read([index])[0], frame)


def test_the_number_of_threads_does_not_change_frames(tmp_path, encode):
    rng = np.random.default_rng(0)
    noise = list(rng.integers(0, 256, (30, 48, 64, 3), np.uint8))
    path = encode(tmp_path / "a.mp4", "libx264", noise, {"bf": "3"})
    every = []
    for threads in (1, 2, 16):
        with closing(Capture(str(path), threads)) as capture:
            every.append([capture.retrieve() for _ in noise if capture.grab()])
    assert len(every[0]) == 30
    assert all(np.array_equal(every[0], other) for other in every[1:])


def test_a_color_space_that_cannot_be_converted_is_reported(tmp_path, encode):
    options = {"x264-params": "colormatrix=YCgCo"}
    path = encode(tmp_path / "a.mp4", "libx264", pictures(5, (64, 48)), options)
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
