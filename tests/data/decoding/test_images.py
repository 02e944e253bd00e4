"""Folders of images: order, pixel formats, zero-byte and truncated files."""

import cv2
import numpy as np
import pytest

from colocam.data.decoding.images import ImageFrames
from colocam.data.decoding.open import open_video


def test_frames_of_a_folder_are_sorted_by_file_name(tmp_path, make_frames, numbers):
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


@pytest.mark.parametrize(
    "image",
    [
        np.full((20, 30), 77, np.uint8),
        np.full((20, 30, 4), 77, np.uint8),
        np.full((20, 30, 3), 77 * 257, np.uint16),
    ],
    ids=["grey", "alpha", "16 bit"],
)
def test_other_pixel_formats_are_converted_to_8_bit_rgb(tmp_path, image):
    cv2.imwrite(str(tmp_path / "0.png"), image)
    (frame,) = open_video(tmp_path, "a").read([0])
    assert frame.shape == (20, 30, 3)
    assert frame.dtype == np.uint8
    assert np.all(frame == 77)


def test_zero_byte_frames_keep_their_number_are_read_as_none_and_are_counted(
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


def test_an_undecodable_or_missing_frame_is_read_as_none(tmp_path, make_frames, numbers):
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
    """The JPEG with an embedded thumbnail, as written by cameras."""
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
def test_a_truncated_jpeg_is_read_as_none(tmp_path, whole):
    frames = ImageFrames((str(tmp_path / "a.jpg"),), "a")
    (tmp_path / "a.jpg").write_bytes(whole)
    assert frames.frame_size(0) == (64, 48)
    end = whole.rindex(b"\xff\xd9") + 2
    for length in [*range(0, end, 97), end - 2, end - 1]:
        (tmp_path / "a.jpg").write_bytes(whole[:length])
        assert frames.read([0]) == [None]


def test_a_jpeg_without_its_own_end_marker_is_truncated(tmp_path):
    """Markers of a thumbnail before the scan or of data after the end are not counted."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 60, 3), np.uint8)
    for progressive in (0, 1):
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])
        whole = data.tobytes()
        thumbnail = b"\xff\xe1" + (2 + len(whole)).to_bytes(2, "big") + whole  # Exif segment
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
