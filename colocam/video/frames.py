"""Decoding: the frames of a folder of images or of a video file, on demand."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from colocam.errors import UserError
from colocam.video.notes import count_of

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)


@dataclass(frozen=True)
class ImageFrames:
    """Image files as frames, in the order given. A `FrameSource`.

    Grey, alpha and 16-bit images come out as 8-bit RGB, turned as their Exif orientation says.
    """

    paths: tuple[str, ...]
    name: str

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: Sequence[int]) -> list[np.ndarray | None]:
        """See `FrameSource.read`; None for an empty, missing or undecodable file."""
        _check_indices(indices, self)
        return [_decode_image(self.paths[index]) for index in indices]

    def __iter__(self) -> Iterator[np.ndarray | None]:
        return (_decode_image(path) for path in self.paths)

    def frame_size(self, index: int) -> tuple[int, int] | None:
        """(width, height) of a frame, None if it cannot be decoded; decodes that frame."""
        return _size_of(self.read([index])[0])


@dataclass(frozen=True)
class VideoFrames:
    """Frames of a file that OpenCV reads, counted in decoding order. A `FrameSource`.

    Each `read` opens the file and goes through it once, up to the last frame asked for, so that
    nothing is held between calls. (Seeking would be faster, but lands on other frames in some
    containers.) Rotation stored in the file is applied.
    """

    path: str
    name: str
    num_frames: int
    size: tuple[int, int]

    def __len__(self) -> int:
        return self.num_frames

    def read(self, indices: Sequence[int]) -> list[np.ndarray | None]:
        """See `FrameSource.read`."""
        _check_indices(indices, self)
        if not len(indices):
            return []
        found = dict(self._decode(set(indices), max(indices)))
        return [found.get(index) for index in indices]

    def __iter__(self) -> Iterator[np.ndarray | None]:
        everything = range(self.num_frames)
        done = 0
        for _, frame in self._decode(everything, self.num_frames - 1):
            yield frame
            done += 1
        yield from [None] * (self.num_frames - done)

    def frame_size(self, index: int) -> tuple[int, int]:
        """(width, height) of a frame: the same for all of them."""
        _check_indices([index], self)
        return self.size

    def _decode(self, wanted: Container[int], last: int) -> Iterator[tuple[int, np.ndarray | None]]:
        with _capture(self.path) as capture:
            for index in range(last + 1):
                if not capture.grab():
                    return
                if index in wanted:
                    yield index, _retrieve(capture)


def open_video(
    path: str | Path, name: str, notes: list[str] | None = None
) -> ImageFrames | VideoFrames:
    """Open a folder of frames (sorted by file name) or a video file.

    A video file is gone through once to count the frames that really decode; of a folder, images
    are decoded until one succeeds. Bad frames of a folder keep their number and read as None.

    Args:
        path: the folder or the file.
        name: what to call it in messages and records.
        notes: a list that receives a line about zero-byte frames, or about a container that
            promises noticeably more frames than decode.

    Raises:
        UserError: where there is nothing at `path`, no frame in it, or none that decodes.
    """
    notes = [] if notes is None else notes
    path = Path(path).absolute()
    if path.is_dir():
        return _open_image_folder(path, name, notes)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    return _open_video_file(path, name, notes)


def list_frames(folder: str | Path) -> tuple[str, ...]:
    """Paths of the image files lying in a folder, sorted by name; hidden files are left out.

    Raises:
        OSError: where the folder cannot be listed.
    """
    names = [name for name in os.listdir(folder) if is_image(name)]
    return tuple(os.path.join(folder, name) for name in sorted(names))


def is_image(name: str) -> bool:
    """Whether a file name is one of an image, and not hidden."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")


def _open_image_folder(path: Path, name: str, notes: list[str]) -> ImageFrames:
    try:
        frames = ImageFrames(list_frames(path), name)
        empty = [file for file in frames.paths if os.stat(file).st_size == 0]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if not frames.paths:
        raise UserError(f"{path}: holds no image files; put a video's frames there or remove it")
    if all(frame is None for frame in frames):
        raise UserError(
            f"{path}: not one of its {count_of(len(frames), 'frame')} can be decoded; "
            "replace them or take the folder out"
        )
    if empty:
        notes.append(
            f"{name}: {count_of(len(empty), 'zero-byte frame')} left out "
            f"(first: {os.path.basename(empty[0])})"
        )
    return frames


def _open_video_file(path: Path, name: str, notes: list[str]) -> VideoFrames:
    size, num_frames = None, 0
    with _capture(str(path)) as capture:
        promised = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        while capture.grab():
            num_frames += 1
            size = size or _size_of(_retrieve(capture))
    if size is None:
        raise UserError(f"{path}: cannot be decoded; re-encode it or take it out")
    if promised > 1.05 * num_frames + 2:
        notes.append(
            f"{name}: promises {promised:.0f} frames but only {num_frames} decode; those are "
            "used (was the file cut short?)"
        )
    return VideoFrames(str(path), name, num_frames, size)


@contextmanager
def _capture(path: str) -> Iterator[cv2.VideoCapture]:
    """An opened video, without OpenCV's and FFmpeg's own complaints about a broken one."""
    # FFmpeg's level is read once, at the first video of the process; a user's own setting wins.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # Left to itself OpenCV would also try "clip01.mp4" as the first of a numbered image series.
    has_ffmpeg = cv2.CAP_FFMPEG in cv2.videoio_registry.getBackends()
    log = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging  # OpenCV 4, OpenCV 5
    level = log.getLogLevel()
    log.setLogLevel(0)  # silent
    try:
        capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG if has_ffmpeg else cv2.CAP_ANY)
    finally:
        log.setLogLevel(level)
    try:
        yield capture
    finally:
        capture.release()


def _retrieve(capture: cv2.VideoCapture) -> np.ndarray | None:
    decoded, image = capture.retrieve()
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if decoded else None


def _decode_image(path: str) -> np.ndarray | None:
    try:
        # imread does not take every file name on every system; bytes always work.
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        return None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _size_of(frame: np.ndarray | None) -> tuple[int, int] | None:
    return None if frame is None else (frame.shape[1], frame.shape[0])


def _check_indices(indices: Sequence[int], frames: ImageFrames | VideoFrames) -> None:
    for index in indices:
        if not 0 <= index < len(frames):
            raise IndexError(f"{frames.name}: frame {index} of {len(frames)}")
