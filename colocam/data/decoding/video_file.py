"""Decoding: the frames of a folder of images or of a video file, on demand."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from colocam.data.decoding.probe_cache import KnownVideos
from colocam.data.decoding.seeking import LANDMARK_EVERY, Landmark, landmark_of, seek
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
_COUNTING = 1  # version of what a pass over a video file finds: raise it with `_go_through`
_CAPTURE_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


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
        return self.between(0, len(self))

    def between(self, start: int, stop: int) -> Iterator[np.ndarray | None]:
        """The frames start … stop − 1, one at a time."""
        return (_decode_image(path) for path in self.paths[start:stop])

    def previews(self) -> Iterator[np.ndarray | None]:
        """Every frame at about a quarter of its sides, which is faster to decode."""
        return (_decode_image(path, cv2.IMREAD_REDUCED_COLOR_4) for path in self.paths)

    def frame_size(self, index: int) -> tuple[int, int] | None:
        """(width, height) of a frame, None if it cannot be decoded; decodes that frame."""
        return _size_of(self.read([index])[0])


@dataclass(frozen=True)
class VideoFrames:
    """Frames of a file that OpenCV reads, counted in decoding order. A `FrameSource`.

    Each `read` opens the file and decodes it once, from the last seek point before the first frame
    (see `colocam.data.decoding.seeking`; from the start where that cannot be found) to the last
    one, so that nothing is held between calls. Rotation stored in the file is applied.
    """

    path: str
    name: str
    num_frames: int
    size: tuple[int, int]
    landmarks: tuple[Landmark, ...] = ()
    promised: int = 0
    """Frames that the container tells of; a file cut short holds fewer."""

    def __len__(self) -> int:
        return self.num_frames

    def read(self, indices: Sequence[int]) -> list[np.ndarray | None]:
        """See `FrameSource.read`."""
        _check_indices(indices, self)
        if not len(indices):
            return []
        found = dict(self._decode(set(indices), min(indices), max(indices)))
        return [found.get(index) for index in indices]

    def __iter__(self) -> Iterator[np.ndarray | None]:
        return self.between(0, self.num_frames)

    def between(self, start: int, stop: int) -> Iterator[np.ndarray | None]:
        """The frames start … stop − 1, one at a time, in one pass."""
        wanted = range(start, stop)
        done = 0
        for _, frame in self._decode(wanted, start, stop - 1):
            yield frame
            done += 1
        yield from [None] * (len(wanted) - done)

    def frame_size(self, index: int) -> tuple[int, int]:
        """(width, height) of a frame: the same for all of them."""
        _check_indices([index], self)
        return self.size

    def _decode(
        self, wanted: Container[int], first: int, last: int
    ) -> Iterator[tuple[int, np.ndarray | None]]:
        """The wanted ones of the frames first … last, with their numbers."""
        place = bisect_left(self.landmarks, first, key=lambda landmark: landmark.index)
        for landmark in (*self.landmarks[max(0, place - 1) : place], None):
            with open_capture(self.path) as capture:
                if landmark is not None and not seek(capture, landmark):
                    continue
                for index in range(0 if landmark is None else landmark.index + 1, last + 1):
                    # After a seek OpenCV may see the end too early, where the frame rate varies.
                    if not capture.grab():
                        break
                    if index >= first and index in wanted:
                        yield index, retrieve(capture)
                        first = index + 1
                else:
                    return


def open_video(
    path: str | Path,
    name: str,
    notes: list[str] | None = None,
    known: KnownVideos | None = None,
) -> ImageFrames | VideoFrames:
    """Open a folder of frames (sorted by file name) or a video file.

    A video file is gone through once to count the frames that really decode; of a folder, images
    are decoded until one succeeds. Bad frames of a folder, those cut short among them, keep their
    number and read as None; a frame that the end of a video file cuts short is none.

    Args:
        path: the folder or the file.
        name: what to call it in messages and records.
        notes: a list that receives a line about zero-byte frames, or about a container that
            promises noticeably more frames than decode.
        known: remembers video files, so that each is gone through once for all.

    Raises:
        UserError: where there is nothing at `path`, it may not be read, there is no frame in it, or
            none that decodes.
    """
    notes = [] if notes is None else notes
    path = Path(path).absolute()
    if path.is_dir():
        return _open_image_folder(path, name, notes)
    try:
        path.open("rb").close()  # OpenCV does not tell why it cannot
    except FileNotFoundError:
        raise UserError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    return _open_video_file(path, name, notes, known)


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


def is_text(name: str) -> bool:
    """Whether a file name is Unicode, and not bytes of some other encoding."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _open_image_folder(path: Path, name: str, notes: list[str]) -> ImageFrames:
    if not is_text(name):
        raise UserError(f"{path}: its name is not UTF-8; rename it")
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
            f"{name}: {count_of(len(empty), 'zero-byte frame')} skipped "
            f"(first: {os.path.basename(empty[0])})"
        )
    return frames


def _open_video_file(
    path: Path, name: str, notes: list[str], known: KnownVideos | None
) -> VideoFrames:
    if not is_text(str(path)):
        raise UserError(f"{path}: OpenCV takes no name that is not UTF-8; rename it")
    if known is None:
        found = _go_through(str(path))
    else:
        what = f"frames {_COUNTING}, a landmark in {LANDMARK_EVERY}, {_capture_options()}"
        found = known.recall([str(path)], what, lambda: _go_through(str(path)))
    num_frames, promised = found["num_frames"], found["promised"]
    if promised > 1.05 * num_frames + 2 and not found["reaches_end"]:
        notes.append(
            f"{name}: promises {promised:.0f} frames but only {num_frames} decode; those are "
            "used (was the file cut short?)"
        )
    landmarks = tuple(Landmark(*values) for values in found["landmarks"])
    return VideoFrames(
        str(path), name, num_frames, tuple(found["size"]), landmarks, round(promised)
    )


def _go_through(path: str) -> dict[str, Any]:
    """What a pass over a video file tells; see `_open_video_file`."""
    size, num_frames = None, 0
    landmarks: list[Landmark | None] = []
    with open_capture(path) as capture:
        promised = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        rate, end = capture.get(cv2.CAP_PROP_FPS), 0.0  # end: ms, of the last frame
        while capture.grab():
            end = capture.get(cv2.CAP_PROP_POS_MSEC)
            if size is None:
                size = _size_of(retrieve(capture))
            if num_frames and num_frames % LANDMARK_EVERY == 0:
                landmarks.append(landmark_of(capture, num_frames))
            num_frames += 1
    if size is None:
        raise UserError(f"{path}: cannot be decoded; re-encode it or take it out")
    return {
        "num_frames": num_frames,
        "size": size,
        "landmarks": [astuple(landmark) for landmark in landmarks if landmark is not None],
        "promised": promised,
        # Where the rate varies, the container's number is a guess, but its length is not.
        "reaches_end": rate > 0 and end >= 950 * (promised - 2) / rate,
    }


def _capture_options() -> str:
    # Else what the end of the file leaves of a frame would come out as a whole one.
    return os.environ.get(_CAPTURE_OPTIONS, "fflags;discardcorrupt")


@contextmanager
def open_capture(path: str) -> Iterator[cv2.VideoCapture]:
    """An opened video, without OpenCV's and FFmpeg's own complaints about a broken one."""
    # Both are read when a video is opened, the level once; a user's own settings win.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ[_CAPTURE_OPTIONS] = _capture_options()
    # Left to itself OpenCV would also try "clip01.mp4" as the first of a numbered image series.
    has_ffmpeg = cv2.CAP_FFMPEG in cv2.videoio_registry.getBackends()
    with _silent():
        capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG if has_ffmpeg else cv2.CAP_ANY)
    try:
        yield capture
    finally:
        capture.release()


@contextmanager
def _silent() -> Iterator[None]:
    """Without OpenCV's messages."""
    log = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging  # OpenCV 4, OpenCV 5
    level = log.getLogLevel()
    log.setLogLevel(0)
    try:
        yield
    finally:
        log.setLogLevel(level)


def retrieve(capture: cv2.VideoCapture) -> np.ndarray | None:
    """The frame that was grabbed last, (H, W, 3) uint8 RGB; None where it cannot be decoded."""
    decoded, image = capture.retrieve()
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if decoded else None


def _decode_image(path: str, how: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    try:
        # imread does not take every file name on every system; bytes always work.
        data = np.fromfile(path, np.uint8)
        with _silent():
            image = None if _is_cut_jpeg(data) else cv2.imdecode(data, how)
    except (OSError, cv2.error):
        return None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _is_cut_jpeg(data: np.ndarray) -> bool:
    """Whether a JPEG file lacks its end, which OpenCV 4 fills up with grey.

    The marker of the end is looked for behind the header of the first scan: a thumbnail before it
    has an end of its own, and what a camera appends behind it is nobody's picture.
    """
    file = data.tobytes()
    if not file.startswith(b"\xff\xd8"):
        return False
    place = 2
    while place + 4 <= len(file) and file[place] == 0xFF and file[place + 1] != 0xDA:
        filled = file[place + 1] == 0xFF  # a marker may be filled up in front
        place += 1 if filled else 2 + int.from_bytes(file[place + 2 : place + 4])
    return file.find(b"\xff\xd9", place) < 0


def _size_of(frame: np.ndarray | None) -> tuple[int, int] | None:
    return None if frame is None else (frame.shape[1], frame.shape[0])


def _check_indices(indices: Sequence[int], frames: ImageFrames | VideoFrames) -> None:
    for index in indices:
        if not 0 <= index < len(frames):
            raise IndexError(f"{frames.name}: frame {index} of {len(frames)}")
