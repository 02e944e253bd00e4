"""Folders of images as frame sources: listing, opening and decoding."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from colocam.data.decoding.checks import check_indices, check_name
from colocam.data.decoding.resizing import resized
from colocam.data.file_order import FileOrder, in_order
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Suffixes of image files, in lower case."""


@dataclass(frozen=True)
class ImageFrames:
    """`FrameSource` of image files, one frame each.

    Grey, alpha and 16-bit images are converted to 8-bit RGB; the Exif orientation is applied.

    Attributes:
        paths: paths of the images, in the order of the frames.
        name: name for messages and records.
    """

    paths: tuple[str, ...]
    name: str

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: Sequence[int], side: int | None = None) -> list[np.ndarray | None]:
        """See `FrameSource.read`; None for an empty, missing or invalid file.

        With `side`, frames are resized to side × side.
        """
        check_indices(self, indices)
        return [_decode_image(self.paths[index], side=side) for index in indices]

    def __iter__(self) -> Iterator[np.ndarray | None]:
        return self.between(0, len(self))

    def between(
        self, start: int, stop: int, side: int | None = None
    ) -> Iterator[np.ndarray | None]:
        """Decodes the frames start … stop − 1, one at a time; `side` as in `read`."""
        return (_decode_image(path, side=side) for path in self.paths[start:stop])

    def previews(self) -> Iterator[np.ndarray | None]:
        """Decodes all frames at about a quarter of their height and width, which is faster."""
        return (_decode_image(path, cv2.IMREAD_REDUCED_COLOR_4) for path in self.paths)

    def frame_size(self, index: int) -> tuple[int, int] | None:
        """Decodes a frame and returns its (width, height); None if it cannot be decoded."""
        (frame,) = self.read([index])
        return None if frame is None else (frame.shape[1], frame.shape[0])


def open_image_folder(
    path: Path, name: str, notes: list[str], order: FileOrder = "natural"
) -> ImageFrames:
    """Opens a folder of images; decodes images until one succeeds. See `open_video`."""
    check_name(path, name)
    try:
        frames = ImageFrames(list_frames(path, order), name)
        empty = [file for file in frames.paths if os.stat(file).st_size == 0]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if not frames.paths:
        raise UserError(f"{path}: holds no image files; add the frames of a video or remove it")
    if all(frame is None for frame in frames):
        raise UserError(
            f"{path}: not one of its {count_of(len(frames), 'frame')} can be decoded; replace them "
            "or remove the folder"
        )
    if empty:
        notes.append(
            f"{name}: {count_of(len(empty), 'zero-byte frame')} skipped "
            f"(first: {os.path.basename(empty[0])})"
        )
    return frames


def list_frames(folder: str | Path, order: FileOrder = "natural") -> tuple[str, ...]:
    """Returns the paths of the image files in a folder, in order; hidden files are skipped.

    Args:
        folder: the folder.
        order: order of the names.

    Raises:
        OSError: the folder cannot be listed.
    """
    names = [name for name in os.listdir(folder) if is_image(name)]
    return tuple(os.path.join(folder, name) for name in in_order(names, order))


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Suppresses OpenCV's log messages."""
    log = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging  # OpenCV 4, OpenCV 5
    level = log.getLogLevel()
    log.setLogLevel(0)
    try:
        yield
    finally:
        log.setLogLevel(level)


def is_image(name: str) -> bool:
    """Returns whether a file name has the suffix of an image and is not hidden."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")


def _decode_image(
    path: str, flags: int = cv2.IMREAD_COLOR, side: int | None = None
) -> np.ndarray | None:
    """Decodes an image file to (H, W, 3) uint8 RGB, resized to `side`; None if that fails."""
    try:
        # imread does not accept every file name on every system; bytes always work.
        data = np.fromfile(path, np.uint8)
        with quiet_opencv():
            image = None if _is_truncated_jpeg(data) else cv2.imdecode(data, flags)
    except (OSError, cv2.error):
        return None
    if image is None:
        return None
    return cv2.cvtColor(image if side is None else resized(image, side), cv2.COLOR_BGR2RGB)


def _is_truncated_jpeg(data: np.ndarray) -> bool:
    """Returns whether a JPEG file has no end-of-image marker; OpenCV 4 would fill in grey.

    The search begins after the header of the first scan: an embedded thumbnail before it has a
    marker of its own. Data that a camera appends after the marker is ignored.
    """
    file = data.tobytes()
    if not file.startswith(b"\xff\xd8"):
        return False
    offset = 2
    while offset + 4 <= len(file) and file[offset] == 0xFF and file[offset + 1] != 0xDA:
        is_fill_byte = file[offset + 1] == 0xFF  # markers may be preceded by fill bytes
        offset += 1 if is_fill_byte else 2 + int.from_bytes(file[offset + 2 : offset + 4])
    return file.find(b"\xff\xd9", offset) < 0
