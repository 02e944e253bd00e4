"""Entry of the frame cache: the resized frames of one shot in one file, uncompressed.

The file has a fixed length: a header (format, side, number of frames, checksum of the table), a
table with one row per frame (whether it was decoded, its checksum), zero padding to a multiple of
the page size, and the frames as RGB bytes. A frame that cannot be decoded is a hole. Truncated
files, files whose data did not reach the disk before a power failure, and flipped bits are
detected.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import BinaryIO

import numpy as np

_MAGIC = b"frames\x00\x01"  # the last byte is the version of the format
_HEADER = struct.Struct("<8sIII")  # magic, side, number of frames, checksum of the table
_ROW = np.dtype([("decoded", "?"), ("checksum", "<u4")])
_PAGE = 4096


class DamagedEntry(Exception):
    """The contents of the file differ from what was written."""


def entry_bytes(count: int, side: int) -> int:
    """Returns the size in bytes of an entry of `count` frames of `side`×`side` pixels."""
    return _data_offset(count) + count * _frame_bytes(side)


def write_entry(file: BinaryIO, frames: Iterable[np.ndarray | None], count: int, side: int) -> None:
    """Writes an entry to an empty file.

    Args:
        file: file opened for writing.
        frames: `count` arrays (side, side, 3) uint8, or None for a frame that cannot be decoded.
        count: number of frames.
        side: side of the frames, pixels.

    Raises:
        OSError: the file cannot be written, for example if the disk is full.
    """
    file.truncate(entry_bytes(count, side))  # other processes see the final size at once
    table = np.zeros(count, _ROW)
    for index, frame in enumerate(frames):
        if frame is not None:
            data = np.ascontiguousarray(frame).reshape(-1).data
            file.seek(_data_offset(count) + index * _frame_bytes(side))
            file.write(data)
            table[index] = True, zlib.crc32(data)
    rows = table.tobytes()
    file.seek(0)
    file.write(_HEADER.pack(_MAGIC, side, count, zlib.crc32(rows)) + rows)


def read_entry(
    file: BinaryIO, count: int, side: int, indices: Sequence[int]
) -> list[np.ndarray | None]:
    """Reads frames of an entry by memory mapping; they stay valid when the file is removed.

    Args:
        file: file opened for reading without a buffer, at its beginning.
        count: expected number of frames of the entry.
        side: expected side of the frames, pixels.
        indices: numbers 0 … count − 1 of the frames to read, at least one.

    Returns:
        Arrays (side, side, 3) uint8, whose modifications are not written to the file; None for a
        frame that could not be decoded.

    Raises:
        DamagedEntry: the file is not the expected entry.
        OSError: the file cannot be read.
    """
    table = _read_table(file, count, side)
    size = _frame_bytes(side)
    start = _data_offset(count) + min(indices) * size
    skipped = start % mmap.ALLOCATIONGRANULARITY
    length = skipped + (max(indices) - min(indices) + 1) * size
    mapped = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_COPY, offset=start - skipped)
    found: list[np.ndarray | None] = []
    for index in indices:
        if not table["decoded"][index]:
            found.append(None)
            continue
        frame = np.frombuffer(mapped, np.uint8, size, skipped + (index - min(indices)) * size)
        if zlib.crc32(frame.data) != table["checksum"][index]:
            raise DamagedEntry
        found.append(frame.reshape(side, side, 3))
    return found


def _read_table(file: BinaryIO, count: int, side: int) -> np.ndarray:
    """Reads the table (count,) of an entry and checks the header and the size of the file."""
    length = _HEADER.size + count * _ROW.itemsize
    data = file.read(length)
    if len(data) < length or os.fstat(file.fileno()).st_size != entry_bytes(count, side):
        raise DamagedEntry
    rows = data[_HEADER.size :]
    if data[: _HEADER.size] != _HEADER.pack(_MAGIC, side, count, zlib.crc32(rows)):
        raise DamagedEntry
    return np.frombuffer(rows, _ROW)


def _data_offset(count: int) -> int:
    """Returns the offset of the first frame, a multiple of the page size."""
    return -(-(_HEADER.size + count * _ROW.itemsize) // _PAGE) * _PAGE


def _frame_bytes(side: int) -> int:
    return 3 * side * side
