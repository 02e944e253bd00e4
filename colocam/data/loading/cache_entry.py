"""One entry of the frame cache: the frames of one shot, resized, raw, one behind the other.

A file of known length: a head (format, side, number of frames, a checksum over what follows in it),
a row for every frame (whether there is one, its checksum), zeros up to a whole page, and the frames
as RGB bytes. A frame that could not be decoded is a hole. Files cut short, never written out to the
disk before the power went, or with flipped bits are told from whole ones.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import BinaryIO

import numpy as np

_MAGIC = b"frames\x00\x01"  # the last byte is the format's version
_HEAD = struct.Struct("<8sIII")  # magic, side, number of frames, checksum of the rows
_ROW = np.dtype([("decoded", "?"), ("checksum", "<u4")])
_PAGE = 4096


class DamagedEntry(Exception):
    """The file is not what was written."""


def entry_bytes(count: int, side: int) -> int:
    """Length of the file that holds `count` frames of `side`×`side`."""
    return _first_frame(count) + count * _frame_bytes(side)


def write_entry(file: BinaryIO, frames: Iterable[np.ndarray | None], count: int, side: int) -> None:
    """Writes an empty file full.

    Args:
        file: open for writing, at its beginning.
        frames: `count` arrays (side, side, 3) uint8, or None for a frame without a picture.
        count: how many.
        side: of the frames, pixels.

    Raises:
        OSError: the disk is full.
    """
    file.truncate(entry_bytes(count, side))  # others see at once how large it will be
    rows = np.zeros(count, _ROW)
    for place, frame in enumerate(frames):
        if frame is not None:
            data = np.ascontiguousarray(frame).reshape(-1).data
            file.seek(_first_frame(count) + place * _frame_bytes(side))
            file.write(data)
            rows[place] = True, zlib.crc32(data)
    table = rows.tobytes()
    file.seek(0)
    file.write(_HEAD.pack(_MAGIC, side, count, zlib.crc32(table)) + table)


def read_entry(
    file: BinaryIO, count: int, side: int, places: Sequence[int]
) -> list[np.ndarray | None]:
    """Some frames of an entry, memory-mapped: they stay when the file is removed meanwhile.

    Args:
        file: open for reading, without a buffer, at its beginning.
        count: frames that it should hold.
        side: of the frames, pixels.
        places: numbers 0 … count − 1 of the frames that are wanted, at least one.

    Returns:
        arrays (side, side, 3) uint8, whose changes the file does not see; None where there is no
        picture.

    Raises:
        DamagedEntry: the file holds something else.
        OSError: it cannot be read.
    """
    rows = _read_rows(file, count, side)
    size = _frame_bytes(side)
    start = _first_frame(count) + min(places) * size
    skipped = start % mmap.ALLOCATIONGRANULARITY
    length = skipped + (max(places) - min(places) + 1) * size
    mapped = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_COPY, offset=start - skipped)
    found: list[np.ndarray | None] = []
    for place in places:
        if not rows["decoded"][place]:
            found.append(None)
            continue
        frame = np.frombuffer(mapped, np.uint8, size, skipped + (place - min(places)) * size)
        if zlib.crc32(frame.data) != rows["checksum"][place]:
            raise DamagedEntry
        found.append(frame.reshape(side, side, 3))
    return found


def _read_rows(file: BinaryIO, count: int, side: int) -> np.ndarray:
    """Rows (count,) of a file that is as long as it should be."""
    length = _HEAD.size + count * _ROW.itemsize
    data = file.read(length)
    if len(data) < length or os.fstat(file.fileno()).st_size != entry_bytes(count, side):
        raise DamagedEntry
    table = data[_HEAD.size :]
    if data[: _HEAD.size] != _HEAD.pack(_MAGIC, side, count, zlib.crc32(table)):
        raise DamagedEntry
    return np.frombuffer(table, _ROW)


def _first_frame(count: int) -> int:
    """Where the frames begin: at a page."""
    return -(-(_HEAD.size + count * _ROW.itemsize) // _PAGE) * _PAGE


def _frame_bytes(side: int) -> int:
    return 3 * side * side
