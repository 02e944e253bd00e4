"""`boxes.csv`: boxes for the videos of a plain folder, one line a box."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from colocam.data.records import Box
from colocam.runtime.errors import UserError

HEADER = ("video", "frame", "x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class BoxLine:
    """One line of the file; `line` is its number there, counted from 1."""

    line: int
    video: str
    frame: int
    box: Box


def read_boxes_csv(path: Path) -> list[BoxLine]:
    """Read a file with the header `video,frame,x0,y0,x1,y1`.

    `video` is a path relative to the data folder, `frame` counts from 0 in decoding order, the
    coordinates are pixels of the original frame, corners included. Several lines for one frame
    are several boxes.

    Raises:
        UserError: naming the line, for a wrong header or number of columns, a value that is not a
            number, or swapped corners.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = tuple(field.strip() for field in next(reader, []))
            if header != HEADER:
                raise UserError(
                    f"{path}: the first line must be {','.join(HEADER)}, not {','.join(header)!r}"
                )
            return [_parse(path, reader.line_num, row) for row in reader if any(row)]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a table; save it as UTF-8 CSV") from error


def _parse(path: Path, line: int, row: list[str]) -> BoxLine:
    where = f"{path}, line {line}"
    if len(row) != len(HEADER):
        raise UserError(f"{where}: {len(row)} columns; it needs {','.join(HEADER)}")
    video, frame, *coordinates = (field.strip() for field in row)
    try:
        index = int(frame)
    except ValueError:
        raise UserError(f"{where}: frame {frame!r} is not a whole number") from None
    x0, y0, x1, y1 = (
        _coordinate(where, name, text) for name, text in zip(HEADER[2:], coordinates, strict=True)
    )
    if x0 > x1 or y0 > y1:
        raise UserError(
            f"{where}: corners are swapped; x0,y0 is the upper left corner, x1,y1 the lower right"
        )
    return BoxLine(line, video, index, (x0, y0, x1, y1))


def _coordinate(where: str, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where}: {name} is not a number: {text!r}")
    return value
