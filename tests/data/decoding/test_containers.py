"""Containers, codecs, pixel formats, orientations and file names: frames are decoded correctly."""

import shutil
import struct
from fractions import Fraction

import cv2
import numpy as np
import pytest

from colocam.cli.prepare import main as prepare
from colocam.data.decoding.open import open_video
from colocam.data.layouts.open import open_data
from colocam.runtime.errors import UserError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
CONTAINERS = [
    *(("avi", codec) for codec in ("MJPG", "XVID")),
    *(("mp4", codec) for codec in ("mp4v", "VP90")),
    *(("mov", codec) for codec in ("mp4v", "MJPG")),
    *(("mkv", codec) for codec in ("mp4v", "MJPG", "VP80")),
    *(("webm", codec) for codec in ("VP80", "VP90")),
]


def corners(size):
    """RGB (H, W, 3): red, green above blue, white."""
    width, height = size
    image = np.empty((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = RED, GREEN
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = BLUE, WHITE
    return image


def pictures(count, size):
    """RGB frames whose centre gets brighter from frame to frame."""
    for number in range(count):
        image = corners(size)
        image[size[1] // 4 : -size[1] // 4, size[0] // 4 : -size[0] // 4] = 8 * (number % 32)
        yield image


def write(path, codec, count=12, size=(96, 64)):
    """Writes a video of `pictures`; skips the test if OpenCV cannot write it."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10, size)
    if not writer.isOpened():
        pytest.skip(f"this OpenCV cannot write {codec} in {path.suffix}")
    for image in pictures(count, size):
        writer.write(image[..., ::-1])
    writer.release()
    return path


def assert_same(found, expected, tolerance=16):
    """Asserts that the frames are the expected ones, up to compression errors."""
    found, expected = list(found), list(expected)
    assert [frame.shape for frame in found] == [frame.shape for frame in expected]
    for frame, wanted in zip(found, expected, strict=True):
        assert frame.dtype == np.uint8
        down, across = (side // 2 for side in frame.shape[:2])
        middle = np.s_[down - 6 : down + 6, across - 6 : across + 6]
        assert np.abs(frame[middle].mean((0, 1)) - wanted[middle].mean((0, 1))).max() < 6
        assert np.abs(frame.astype(int) - wanted).mean() < tolerance


# ---- containers


@pytest.mark.parametrize(("container", "codec"), CONTAINERS)
def test_frames_of_all_containers_are_decoded_in_order(tmp_path, container, codec):
    path = write(tmp_path / f"a.{container}", codec)
    notes = []
    frames = open_video(path, "a", notes)
    assert (len(frames), frames.size, notes) == (12, (96, 64), [])
    assert_same(frames, pictures(12, (96, 64)))
    assert np.array_equal(frames.read([7])[0], list(frames)[7])


@pytest.mark.parametrize(("container", "codec"), CONTAINERS)
def test_seeking_in_all_containers_reads_the_frames_of_a_sequential_pass(
    tmp_path, container, codec
):
    frames = open_video(write(tmp_path / f"a.{container}", codec, 230, (32, 32)), "a")
    every = list(frames)
    assert len(every) == 230
    assert len(frames.seek_points) == 2
    for start in (99, 100, 101, 222):
        found = frames.read(range(start, start + 8))
        assert all(map(np.array_equal, found, every[start : start + 8]))


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("mp4", "mpeg4"),
        ("mov", "mpeg4"),
        ("avi", "mpeg4"),
        ("webm", "libvpx"),
        ("mkv", "libvpx-vp9"),
    ],
)
def test_odd_sizes_are_preserved(tmp_path, container, codec):
    images = list(pictures(4, (101, 67)))
    write_timed(tmp_path / f"a.{container}", codec, images, range(4))
    frames = open_video(tmp_path / f"a.{container}", "a")
    assert frames.size == (101, 67)
    assert_same(frames, images)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "gray", "bgra", "yuv420p10le"])
def test_pixel_formats_and_odd_sizes_are_converted_to_8_bit_rgb(tmp_path, pixels):
    path = tmp_path / "a.mkv"
    write_timed(path, "ffv1", list(pictures(4, (101, 67))), range(4), pixels)
    expected = list(pictures(4, (101, 67)))
    if pixels == "gray":
        expected = [cv2.cvtColor(i, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, 2) for i in expected]
    assert_same(open_video(path, "a"), expected)


def test_a_file_of_an_unknown_codec_is_one_line(tmp_path, encode):
    path = encode(tmp_path / "a.mp4", "libx264", pictures(4, (96, 64)))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(UserError, match=r"a\.mp4: cannot be decoded; re-encode it or remove it"):
        open_video(path, "a")


def test_a_cover_picture_is_not_the_video(tmp_path, encode):
    av = pytest.importorskip("av")
    path = encode(tmp_path / "a.mp4", "libx264", pictures(6, (96, 64)))
    with av.open(str(path)) as given, av.open(str(tmp_path / "b.mp4"), "w") as output:
        cover = output.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        copy = output.add_stream_from_template(given.streams.video[0])
        frame = av.VideoFrame.from_ndarray(corners((32, 32)), format="rgb24")
        output.mux(cover.encode(frame.reformat(format="yuvj420p")))
        output.mux(cover.encode(None))
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                output.mux(packet)
    frames = open_video(tmp_path / "b.mp4", "b")
    assert (len(frames), frames.size) == (6, (96, 64))


# ---- time and rotation


def write_timed(path, codec, images, times, pixels="yuv420p"):
    """Writes a video with the given `times` in tenths of a second; skips without the encoder."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        try:
            stream = container.add_stream(codec, rate=10)
        except ValueError:
            pytest.skip(f"this PyAV does not provide the encoder {codec}")
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.time_base = Fraction(1, 1000)
        for image, time in zip(images, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = 100 * time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("container", "codec"),
    [("mp4", "libx264"), ("mov", "mpeg4"), ("mkv", "libx264"), ("webm", "libvpx")],
)
def test_frames_of_a_variable_frame_rate_are_numbered_in_decoding_order(tmp_path, container, codec):
    images = list(pictures(260, (64, 48)))
    durations = np.random.default_rng(0).choice([1, 2, 7], len(images))
    durations[:60], durations[60:120] = 1, 9  # the mean rate is far from the rate of both parts
    times = (durations.cumsum() - durations).tolist()
    path = tmp_path / f"a.{container}"
    write_timed(path, codec, images, times)
    frames = open_video(path, "a", notes := [])
    assert len(frames) == 260
    assert notes == []  # a wrong estimate of the number of frames is not reported
    every = list(frames)
    assert_same(every, images)
    for start in (101, 150, 201, 252):
        found = frames.read(range(start, start + 8))
        assert all(map(np.array_equal, found, every[start : start + 8]))


# ---- number of frames


@pytest.mark.parametrize("container", ["mp4", "mov"])
@pytest.mark.parametrize("start", [0.32, 0.72, 2.8])
@pytest.mark.parametrize("options", [{}, {"x264-params": "interlaced=1"}])
def test_frames_that_an_edit_list_removes_are_not_missing(
    tmp_path, encode, copy_stream, container, start, options
):
    """As `ffmpeg -ss` with `-c copy` trims: from the key frame before, which is not shown."""
    images = list(pictures(90, (96, 64)))
    path = encode(tmp_path / f"a.{container}", "libx264", images, options | {"g": "60"})
    trimmed = copy_stream(path, tmp_path / f"trimmed.{container}", start)
    frames = open_video(trimmed, "a", notes := [])
    count = 90 - round(25 * start)
    assert (len(frames), frames.reported_frames, notes) == (count, count, [])
    assert_same(frames, images[-count:])


@pytest.mark.parametrize("start", [0, 0.7])
@pytest.mark.parametrize("options", [{}, {"x264-params": "interlaced=1"}])
def test_a_file_that_ends_early_is_reported(tmp_path, encode, copy_stream, start, options):
    noise = np.random.default_rng(0).integers(0, 256, (60, 64, 96, 3), np.uint8)
    path = encode(tmp_path / "a.mp4", "libx264", noise, options | {"g": "30"})
    index_first = {"movflags": "faststart"}
    path = copy_stream(path, tmp_path / "b.mp4", start, container=index_first)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    frames = open_video(path, "a", notes := [])
    assert len(frames) < 40
    (note,) = notes
    assert f"only {len(frames)} decode; those are used (truncated file?)" in note


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("options", [{}, {"x264-params": "interlaced=1"}])
def test_empty_frames_of_h264_in_avi_are_not_missing(tmp_path, encode, copy_stream, options, cut):
    noise = np.random.default_rng(0).integers(0, 256, (60, 64, 96, 3), np.uint8)
    path = encode(tmp_path / "a.mp4", "libx264", noise, options | {"bf": "2"})
    path = copy_stream(path, tmp_path / "a.avi", time_base=Fraction(1, 50))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if cut else data)
    frames = open_video(path, "a", notes := [])
    if cut:
        assert len(frames) < 50
        assert [note.split(" but ")[0] for note in notes] == ["a: container reports 120 frames"]
    else:
        assert (len(frames), notes) == (60, [])


@pytest.mark.parametrize("container", ["mp4", "mov"])
@pytest.mark.parametrize(
    ("turn", "matrix"),
    [(0, (1, 0, 0, 1)), (1, (0, 1, -1, 0)), (2, (-1, 0, 0, -1)), (3, (0, -1, 1, 0))],
)
def test_stored_rotation_of_a_video_is_applied(tmp_path, container, turn, matrix):
    """`turn`: clockwise quarter turns that a player applies."""
    path = write(tmp_path / f"a.{container}", "mp4v", 3)
    data = bytearray(path.read_bytes())
    offset = data.index(b"tkhd") + 44  # offset of the matrix in the track header, version 0
    assert struct.unpack_from(">9i", data, offset) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", data, offset, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    frames = open_video(path, "a")
    expected = [np.rot90(image, -turn) for image in pictures(3, (96, 64))]
    assert frames.size == expected[0].shape[1::-1]
    assert_same(frames, expected)


def test_exif_orientation_of_an_image_is_applied(tmp_path):
    _, data = cv2.imencode(".jpg", corners((96, 64))[..., ::-1])
    image = data.tobytes()
    for orientation, turn in ((1, 0), (6, 1), (3, 2), (8, 3)):
        entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
        exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + entry + b"\0\0\0\0"
        segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
        (tmp_path / f"{turn}.jpg").write_bytes(image[:2] + segment + image[2:])
    expected = [np.rot90(corners((96, 64)), -turn) for turn in range(4)]
    assert_same(open_video(tmp_path, "a"), expected)


# ---- folders of images


KINDS = [
    (".PNG", 8),
    (".png", 16),
    (".TIFF", 8),
    (".tif", 16),
    (".WebP", 8),
    (".bmp", 8),
    (".JPG", 8),
]


@pytest.mark.parametrize(
    ("suffix", "depth", "channels"),
    [
        (*kind, channels)
        for kind in KINDS
        for channels in (1, 3, 4)
        if (*kind, channels) != (".JPG", 8, 4)
    ],
)
def test_image_formats_are_converted_to_8_bit_rgb(tmp_path, suffix, depth, channels):
    image = corners((101, 67))
    if channels == 1:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    stored = image[..., ::-1] if channels > 1 else image
    if channels == 4:
        stored = np.dstack([stored, np.full((67, 101), 99, np.uint8)])
    scaled = stored.astype(np.uint16) * 257 if depth == 16 else stored
    settings = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".WebP" else []  # lossless
    _, data = cv2.imencode(suffix.lower(), np.ascontiguousarray(scaled), settings)
    data.tofile(tmp_path / f"a{suffix}")
    (frame,) = open_video(tmp_path, "a")
    expected = image if channels > 1 else image[..., None].repeat(3, 2)
    assert_same([frame], [expected], tolerance=6)


def test_a_folder_may_contain_images_of_different_sizes_and_formats(tmp_path):
    for number, size in enumerate(((101, 67), (64, 48), (1, 1))):
        _, data = cv2.imencode(".png", np.full(size[::-1], 9 * number, np.uint8))
        data.tofile(tmp_path / f"{number}.PnG")
    frames = open_video(tmp_path, "a")
    assert [frames.frame_size(index) for index in range(3)] == [(101, 67), (64, 48), (1, 1)]
    assert [int(frame.max()) for frame in frames] == [0, 9, 18]


# ---- names


@pytest.fixture
def named(tmp_path):
    """Data folder of names with spaces, accents and symbols; the number of its videos."""
    data = tmp_path / "my vidéos 100%" / "Möwe & 鳥"
    data.mkdir(parents=True)
    first = write(tmp_path / "first.mp4", "mp4v", 6)
    names = (
        "mit Leerzeichen.MP4",
        "Größe #1.MOV",
        "猫 (2).mkv",
        "a'b\"c.Mkv",
        "x..y.mp4",
        "-v.mp4",
    )
    for name in names:
        shutil.copy(first, data / name)
    shutil.copy(write(tmp_path / "first.avi", "MJPG", 6), data / "50% clip01.AVI")
    shutil.copy(write(tmp_path / "first.webm", "VP80", 6), data / "été.WEBM")
    frames = data / "tape ü, 1"
    frames.mkdir()
    for number, image in enumerate(pictures(6, (96, 64))):
        cv2.imencode(".jpg", image[..., ::-1])[1].tofile(frames / f"Bild {number} ß.JPG")
    return data.parent, 9


def test_names_with_spaces_and_non_ascii_letters_can_be_opened(named):
    data = open_data(named[0])
    assert len({record.video for record in data.train + data.val + data.test}) == named[1]
    for shot in data.train:
        assert_same(shot.frames, pictures(6, (96, 64)))
    for frame in data.val + data.test:
        (found,) = frame.frames.read([frame.index])
        assert_same([found], [list(pictures(6, (96, 64)))[frame.index]])


def test_names_with_spaces_and_non_ascii_letters_can_be_exported(named, tmp_path, capsys):
    new = tmp_path / "neue Bilder ü"
    assert prepare(["splits", str(named[0]), "--frames", str(new)]) == 0
    assert "48 decoded" in capsys.readouterr().out
    before, after = open_data(named[0]), open_data(new)
    assert after.notes == ()
    assert [shot.id for shot in after.train] == [shot.id for shot in before.train]
    assert [frame.video for frame in after.test] == [frame.video for frame in before.test]
    for shot in after.train:
        assert_same(shot.frames, pictures(6, (96, 64)))
