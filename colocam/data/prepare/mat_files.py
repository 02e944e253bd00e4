"""MATLAB files of YouTube-Objects: boxes, and frame ranges of shots."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from colocam.data.prepare.mat_reader import MatlabReader
from colocam.data.records import Box
from colocam.runtime.errors import UserError

_READER = MatlabReader()
Pair = tuple[str, tuple[Box, ...]]
"""Id of a frame, and its boxes."""


def require_scipy() -> None:
    """Checks that SciPy is installed.

    Raises:
        UserError: SciPy is missing; the message names the packages to install.
    """
    if importlib.util.find_spec("scipy") is None:
        raise UserError(
            "scipy is not installed and is needed for the .mat files of YouTube-Objects: "
            "pip install scipy (or this package with its extra youtube-objects)"
        )


def read_sticks(path: Path) -> tuple[Box, ...]:
    """Reads the boxes of a `frameNNNN.jpg_sticks.mat` of YouTube-Objects v1, variable `coor`.

    Raises:
        UserError: the file cannot be read, or has other contents.
    """
    cells = _variable(path, "coor")
    if cells.dtype != object:  # boxes not in cells
        return _boxes(path, cells)
    boxes = (_boxes(path, np.asarray(cell)) for cell in cells.ravel())
    return tuple(box for of_cell in boxes for box in of_cell)


def read_ranges(path: Path) -> list[tuple[int, int, int]]:
    """Reads the shots of YouTube-Objects v2.2: the variable `ranges`.

    Returns:
        (first frame, last frame, video) of each shot.

    Raises:
        UserError: the file cannot be read, or has other contents.
    """
    ranges = _variable(path, "ranges")
    valid = ranges.dtype.kind in "iuf" and ranges.ndim == 2 and ranges.shape[0] == 3
    if not valid or not np.isfinite(ranges).all() or (ranges != np.floor(ranges)).any():
        raise UserError(
            f"{path}: 'ranges' must contain whole numbers in 3 rows: first frame, last frame, video"
        )
    shots = [(int(first), int(last), int(video)) for first, last, video in ranges.T]
    for first, last, video in shots:
        if not 0 <= first <= last or video < 0:
            raise UserError(f"{path}: invalid shot: frame {first} to {last} (video {video})")
    return shots


def read_pairs(path: Path) -> list[Pair]:
    """Reads the boxes of a `bb_gt….mat` of YouTube-Objects v2.2.

    The file has one variable of any name: cells or structs of an id and an n×4 array each.

    Returns:
        (id, boxes) of each frame.

    Raises:
        UserError: the file cannot be read, or has other contents.
    """
    leaves = list(_leaves(_variable(path)))
    pairs = []
    if len(leaves) % 2:
        raise UserError(f"{path}: must contain pairs of an id and its boxes")
    for name, boxes in zip(leaves[::2], leaves[1::2], strict=True):
        if name.dtype.kind != "U" or name.size != 1 or boxes.dtype.kind == "U":
            raise UserError(f"{path}: must contain pairs of an id and its boxes")
        pairs.append((str(name.item()), _boxes(path, boxes)))
    return pairs


def _variable(path: Path, name: str | None = None) -> np.ndarray:
    """A variable of a MATLAB file; without a name, its only variable."""
    require_scipy()
    try:
        found = _READER.read(str(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise UserError(f"{path}: damaged or not a MATLAB file ({error})") from error
    if name is None and len(found) == 1:
        return np.asarray(*found.values())
    if name not in found:
        expected = f"the variable {name!r}" if name else "one variable"
        raise UserError(f"{path}: must contain {expected}, not {', '.join(found) or 'nothing'}")
    return np.asarray(found[name])


def _leaves(value: np.ndarray) -> Iterator[np.ndarray]:
    """Values in nested cells and structs, in reading order; a pair may be a column."""
    if value.dtype.names:
        for record in value.ravel():
            for name in value.dtype.names:
                yield from _leaves(np.asarray(record[name]))
    elif value.dtype == object:
        if value.ndim == 2 and value.shape[0] == 2 and value.shape[1] > 1:
            second = np.asarray(value[0, 1])
            value = value.T if second.dtype.kind == "U" else value
        for cell in value.ravel():
            if isinstance(cell, np.ndarray):
                yield from _leaves(cell)
            else:  # a sparse matrix, an object
                yield np.asarray(cell)
    else:
        yield value


def _boxes(path: Path, values: np.ndarray) -> tuple[Box, ...]:
    """Boxes of an n×4 array; a single box may be a column, an empty array has none."""
    if values.size == 0:
        return ()
    rows = values.reshape(1, 4) if values.size == 4 else values
    if rows.dtype.kind not in "iuf" or rows.ndim != 2 or rows.shape[1] != 4:
        raise UserError(f"{path}: a box must be four numbers x0 y0 x1 y1")
    if not np.isfinite(rows).all():
        raise UserError(f"{path}: a box with a coordinate that is not a number")
    return tuple((float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in rows)
