"""What the published sets keep in MATLAB files: boxes, and where the shots lie."""

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


def require_scipy() -> None:
    """Raises a UserError that says what to install where scipy is missing."""
    if importlib.util.find_spec("scipy") is None:
        raise UserError(
            "scipy, which reads the .mat files of YouTube-Objects, is not installed: "
            "pip install scipy (or this package with its extra youtube-objects)"
        )


def read_sticks(path: Path) -> tuple[Box, ...]:
    """Boxes of a `frameNNNN.jpg_sticks.mat` of YouTube-Objects v1: `coor`, one cell a box.

    Raises:
        UserError: the file cannot be read, or holds something else.
    """
    cells = _variable(path, "coor")
    if cells.dtype != object:  # boxes without cells around them
        return _boxes(path, cells)
    boxes = (_boxes(path, np.asarray(cell)) for cell in cells.ravel())
    return tuple(box for of_cell in boxes for box in of_cell)


def read_ranges(path: Path) -> list[tuple[int, int, int]]:
    """(first frame, last frame, video) of each shot: `ranges` of YouTube-Objects v2.2.

    Raises:
        UserError: the file cannot be read, or holds something else.
    """
    ranges = _variable(path, "ranges")
    sound = ranges.dtype.kind in "iuf" and ranges.ndim == 2 and ranges.shape[0] == 3
    if not sound or not np.isfinite(ranges).all() or (ranges != np.floor(ranges)).any():
        raise UserError(
            f"{path}: 'ranges' must hold whole numbers in 3 rows: first frame, last frame, video"
        )
    shots = [(int(first), int(last), int(video)) for first, last, video in ranges.T]
    for first, last, video in shots:
        if not 0 <= first <= last or video < 0:
            raise UserError(f"{path}: no shot goes from frame {first} to {last} (video {video})")
    return shots


def read_pairs(path: Path) -> list[Pair]:
    """(id, boxes) of each frame in a `bb_gt….mat` of YouTube-Objects v2.2.

    The file's only variable is taken, whatever its name: cells or structs that hold an id and an
    n×4 array each.

    Raises:
        UserError: the file cannot be read, or holds something else.
    """
    leaves = list(_leaves(_variable(path)))
    pairs = []
    if len(leaves) % 2:
        raise UserError(f"{path}: must hold pairs of an id and its boxes")
    for name, boxes in zip(leaves[::2], leaves[1::2], strict=True):
        if name.dtype.kind != "U" or name.size != 1 or boxes.dtype.kind == "U":
            raise UserError(f"{path}: must hold pairs of an id and its boxes")
        pairs.append((str(name.item()), _boxes(path, boxes)))
    return pairs


def _variable(path: Path, name: str | None = None) -> np.ndarray:
    """A variable of a MATLAB file; without a name the only one there."""
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
        wanted = f"the variable {name!r}" if name else "one variable"
        raise UserError(f"{path}: must hold {wanted}, not {', '.join(found) or 'nothing'}")
    return np.asarray(found[name])


def _leaves(value: np.ndarray) -> Iterator[np.ndarray]:
    """What lies in nested cells and structs, in the order of reading; a pair may be a column."""
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
    """Boxes of an n×4 array; one box may be a column; none where it is empty."""
    if values.size == 0:
        return ()
    rows = values.reshape(1, 4) if values.size == 4 else values
    if rows.dtype.kind not in "iuf" or rows.ndim != 2 or rows.shape[1] != 4:
        raise UserError(f"{path}: a box must be four numbers x0 y0 x1 y1")
    if not np.isfinite(rows).all():
        raise UserError(f"{path}: a box with a coordinate that is not a number")
    return tuple(tuple(float(value) for value in row) for row in rows)
