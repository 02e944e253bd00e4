"""Stored maps in the place of CAMs: any localizer's maps can teach the decoder.

One NumPy file a frame, `DIR/<frame>.npy`, where <frame> is

- the path of the frame's image below the data folder, its suffix included: the map of
  `cat/data/0004/shots/010/frame0101.jpg` is `cat/data/0004/shots/010/frame0101.jpg.npy`, and so in
  every data set of images, YouTube-Objects or a plain folder. It is the name that `numpy.save`
  makes of the image's own.
- for a frame of a video file, the path of that file and the frame's number in eight digits,
  counted from 0 in decoding order: frame 12 of `dog/street.mp4` has
  `dog/street.mp4/00000012.npy`. So it has where the video is cut into shots: frames are counted in
  the whole video.

An array (h, w) of any size covers the whole frame; higher means more object. uint8: 0…255. float16
and float32: any finite values, stretched from their smallest to their largest.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

import numpy as np

from colocam.data.decoding.images import ImageFrames
from colocam.data.loading.sampling import frame_window
from colocam.data.records import FrameSource, Shot
from colocam.data.shots.shots import position_in_video
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of

_DTYPES = (np.uint8, np.float16, np.float32)
_READ_AT_CHECK = 4096  # maps; reading every one of a large set would take longer than training
_DECODED_AT_CHECK = 1000  # frames without a map


@dataclass(frozen=True)
class SeedMaps:
    """A folder of stored maps, laid out as this file's head tells; can be pickled.

    Attributes:
        folder: DIR; need not exist where maps are only written.
    """

    folder: Path

    def path(self, frames: FrameSource, index: int) -> Path:
        """Where the map of a frame lies.

        Args:
            frames: source of a shot, or of a frame with boxes.
            index: number of the frame in it.

        Raises:
            UserError: the frame is named by a path that leads out of the data folder.
        """
        return self.folder / f"{_frame_name(frames, index)}.npy"

    def read(self, frames: FrameSource, index: int) -> np.ndarray:
        """The map of a frame: (h, w) float32 in [0, 1]; a constant float map becomes 0 everywhere.

        Args:
            frames: as in `path`.
            index: as in `path`.

        Raises:
            UserError: there is none, or it cannot be used, and why.
        """
        return _scaled(_load(self.path(frames, index)))

    def write(self, frames: FrameSource, index: int, values: np.ndarray) -> Path:
        """Stores the map of a frame as float16; the file appears whole or not at all.

        Args:
            frames: as in `path`.
            index: as in `path`.
            values: (h, w), finite, within ±65504.

        Returns:
            the file.

        Raises:
            ValueError: `values` of another shape or range.
            UserError: the folder cannot be written.
        """
        with np.errstate(over="ignore"):
            halves = np.asarray(values).astype(np.float16)
        if halves.ndim != 2 or not halves.size or not np.isfinite(halves).all():
            raise ValueError(f"values: expected a finite (h, w) map, got shape {halves.shape}")
        path = self.path(frames, index)
        buffer = io.BytesIO()
        np.save(buffer, halves, allow_pickle=False)
        _replace(path, buffer.getvalue())
        return path

    def check(self, shots: Sequence[Shot], frame_limit: float) -> None:
        """Makes sure, before training, that the maps are there and can be used.

        Every frame that can be drawn and decoded must have its map. Up to 4096 of the maps, evenly
        spread, are read; what is wrong with another one `read` tells when it is drawn.

        Args:
            shots: to train on.
            frame_limit: share of a shot, around its middle, that may be drawn.

        Raises:
            UserError: in one line: there is no such folder; so many maps are missing, and the
                first of them; a map cannot be used, and why.
        """
        if not self.folder.is_dir():
            raise UserError(f"{self.folder}: no such folder of seed maps")
        present: list[tuple[FrameSource, int]] = []
        absent: list[tuple[FrameSource, list[int]]] = []
        for shot in shots:
            drawable = frame_window(len(shot.frames), frame_limit)
            stored = {index for index in drawable if self.path(shot.frames, index).is_file()}
            present += [(shot.frames, index) for index in sorted(stored)]
            if len(stored) < len(drawable):
                absent.append((shot.frames, [index for index in drawable if index not in stored]))
        total = len(present) + sum(len(indices) for _, indices in absent)
        missing = _decodable(absent)
        if missing:
            raise UserError(
                f"{self.folder}: no map for {len(missing)} of {count_of(total, 'frame')} that can "
                f"be drawn; the first missing file is {self.path(*missing[0])}"
            )
        places = np.linspace(0, len(present) - 1, min(len(present), _READ_AT_CHECK))
        for place in places.round().astype(int):
            self.read(*present[place])


def _frame_name(frames: FrameSource, index: int) -> str:
    frames, index = position_in_video(frames, index)
    name = PurePosixPath(frames.name)
    if name.is_absolute() or ".." in name.parts:
        raise UserError(f"{name}: leads out of the data folder, no seed map can belong to it")
    if not isinstance(frames, ImageFrames):
        return f"{name}/{index:08d}"
    image = PurePath(frames.paths[index])
    named_by_itself = image.parts[-len(name.parts) :] == name.parts  # else by its folder
    return str(name) if named_by_itself else f"{name}/{image.name}"


def _decodable(absent: list[tuple[FrameSource, list[int]]]) -> list[tuple[FrameSource, int]]:
    """Those frames that can be decoded; all of them where they are too many to try."""
    if sum(len(indices) for _, indices in absent) > _DECODED_AT_CHECK:
        return [(source, index) for source, indices in absent for index in indices]
    return [
        (source, index)
        for source, indices in absent
        for start in range(0, len(indices), 64)  # so many pictures are held at once
        for index, picture in zip(
            indices[start : start + 64], source.read(indices[start : start + 64]), strict=True
        )
        if picture is not None
    ]


def _load(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such seed map") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception:  # a broken header makes NumPy raise errors of many kinds
        array = None
    if not isinstance(array, np.ndarray):  # None, or an archive of arrays
        raise UserError(f"{path}: not a whole .npy file of numbers; write it by numpy.save")
    if array.ndim != 2 or not array.size:
        raise UserError(f"{path}: a seed map has the shape (height, width), not {array.shape}")
    if array.dtype.type not in _DTYPES:
        raise UserError(f"{path}: a seed map is uint8, float16 or float32, not {array.dtype}")
    if not np.isfinite(array).all():
        raise UserError(f"{path}: the seed map holds values that are not finite (NaN or infinity)")
    return array


def _scaled(array: np.ndarray) -> np.ndarray:
    """To float32 in [0, 1]."""
    if array.dtype == np.uint8:
        return array.astype(np.float32) / 255
    values = array.astype(np.float64)  # the span of two float32 may exceed float32
    low, high = values.min(), values.max()
    # What a constant map was computed with leaves differences of some last digits.
    if high - low <= 16 * np.finfo(np.float32).eps * max(high, -low):
        return np.zeros(array.shape, np.float32)
    return ((values - low) / (high - low)).astype(np.float32)


def _replace(path: Path, data: bytes) -> None:
    unfinished = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(data)
        os.replace(unfinished, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):  # once renamed it is gone
            unfinished.unlink()
