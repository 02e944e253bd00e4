"""Stored maps: activation maps read from files, which replace the CAMs of the classifier as seeds.

One NumPy file per frame, `DIR/<frame>.npy`, where <frame> is

- for an image, its path relative to the data folder, including the suffix: the map of
  `cat/data/0004/shots/010/frame0101.jpg` is `cat/data/0004/shots/010/frame0101.jpg.npy`, in every
  data set of images, YouTube-Objects or a plain folder. `numpy.save` appends `.npy` in this way.
- for a frame of a video file, the path of that file and the frame number in eight digits, from 0
  in decoding order: the map of frame 12 of `dog/street.mp4` is `dog/street.mp4/00000012.npy`. If
  the video is cut into shots, frames are still numbered in the video.

An array (h, w) of any size covers the whole frame; higher values mean more object. uint8: 0…255.
float16 and float32: any finite values, scaled so that their minimum is 0 and their maximum 1.
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
_READ_AT_CHECK = 4096  # maps; reading all maps of a large data set takes longer than training
_DECODED_AT_CHECK = 1000  # frames without a map
_DECODED_AT_ONCE = 64  # of these, to bound memory


@dataclass(frozen=True)
class SeedMaps:
    """Folder of stored maps, in the layout described in this module's docstring; picklable.

    Attributes:
        folder: DIR; created when the first map is written.
    """

    folder: Path

    def path(self, frames: FrameSource, index: int) -> Path:
        """Returns the path of the map of a frame.

        Args:
            frames: frame source of a shot or of an evaluation frame.
            index: number of the frame in `frames`.

        Raises:
            UserError: the name of the frame source is a path outside the data folder.
        """
        return self.folder / f"{frame_name(frames, index)}.npy"

    def read(self, frames: FrameSource, index: int) -> np.ndarray:
        """Reads the map of a frame.

        Args:
            frames: see `path`.
            index: see `path`.

        Returns:
            (h, w) float32 in [0, 1]; a constant float map is 0 everywhere.

        Raises:
            UserError: the map does not exist or is invalid.
        """
        return _scaled(_load(self.path(frames, index)))

    def write(self, frames: FrameSource, index: int, values: np.ndarray) -> Path:
        """Writes the map of a frame as float16; the file is written atomically.

        Args:
            frames: see `path`.
            index: see `path`.
            values: (h, w), finite, in ±65504.

        Returns:
            The path of the file.

        Raises:
            ValueError: `values` has another shape or range.
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
        """Checks the maps before training.

        Every frame that can be drawn and decoded must have a map. Up to 4096 evenly spaced maps are
        read; errors in the others are raised by `read` when they are drawn.

        Args:
            shots: training shots.
            frame_limit: share of a shot, around its middle, that may be drawn.

        Raises:
            UserError: the folder does not exist, maps are missing, or a map is invalid.
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
        spaced = np.linspace(0, len(present) - 1, min(len(present), _READ_AT_CHECK))
        for number in spaced.round().astype(int):
            self.read(*present[number])


def frame_name(frames: FrameSource, index: int) -> str:
    """Returns <frame> of a map's path.

    Args:
        frames: frame source of a shot or of an evaluation frame.
        index: number of the frame in `frames`.

    Raises:
        UserError: the name of the frame source is a path outside the data folder.
    """
    frames, index = position_in_video(frames, index)
    name = PurePosixPath(frames.name)
    if name.is_absolute() or ".." in name.parts:
        raise UserError(f"{name}: leads out of the data folder; such a frame has no seed map")
    if not isinstance(frames, ImageFrames):
        return f"{name}/{index:08d}"
    image = PurePath(frames.paths[index])
    is_image_name = image.parts[-len(name.parts) :] == name.parts  # otherwise that of its folder
    return str(name) if is_image_name else f"{name}/{image.name}"


def _decodable(absent: list[tuple[FrameSource, list[int]]]) -> list[tuple[FrameSource, int]]:
    """Returns the frames that can be decoded; all frames if they are too many to decode."""
    if sum(len(indices) for _, indices in absent) > _DECODED_AT_CHECK:
        return [(source, index) for source, indices in absent for index in indices]
    return [
        (source, index)
        for source, indices in absent
        for start in range(0, len(indices), _DECODED_AT_ONCE)
        for index, frame in zip(
            indices[start : start + _DECODED_AT_ONCE],
            source.read(indices[start : start + _DECODED_AT_ONCE]),
            strict=True,
        )
        if frame is not None
    ]


def _load(path: Path) -> np.ndarray:
    """Reads the array of a map and checks it."""
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such seed map") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception:  # NumPy raises many kinds of errors for an invalid header
        array = None
    if not isinstance(array, np.ndarray):  # None, or an archive of arrays
        raise UserError(f"{path}: not a valid .npy file of numbers; write it with numpy.save")
    if array.ndim != 2 or not array.size:
        raise UserError(f"{path}: a seed map must have shape (height, width), not {array.shape}")
    if array.dtype.type not in _DTYPES:
        raise UserError(f"{path}: a seed map must be uint8, float16 or float32, not {array.dtype}")
    if not np.isfinite(array).all():
        raise UserError(f"{path}: the seed map has values that are not finite (NaN or infinity)")
    return array


def _scaled(array: np.ndarray) -> np.ndarray:
    """Scales an array to float32 in [0, 1]."""
    if array.dtype == np.uint8:
        return array.astype(np.float32) / 255
    values = array.astype(np.float64)  # the difference of two float32 may overflow float32
    low, high = values.min(), values.max()
    # Values of a constant map may differ by rounding errors.
    if high - low <= 16 * np.finfo(np.float32).eps * max(high, -low):
        return np.zeros(array.shape, np.float32)
    return ((values - low) / (high - low)).astype(np.float32)


def _replace(path: Path, data: bytes) -> None:
    """Writes a file atomically."""
    unfinished = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(data)
        os.replace(unfinished, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):  # does not exist once renamed
            unfinished.unlink()
