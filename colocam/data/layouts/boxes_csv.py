"""`boxes.csv`: ground truth boxes of a plain folder, one box per line."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from colocam.data.layouts.box_units import IN_PIXELS, is_fraction
from colocam.data.records import Box
from colocam.runtime.errors import UserError

HEADER = ("video", "frame", "x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class BoxLine:
    """One line of the file.

    Attributes:
        line: number of the line, counted from 1.
        video: path of the video relative to the data folder.
        frame: number of the frame, counted from 0.
        box: the box, pixels of the original frame.
    """

    line: int
    video: str
    frame: int
    box: Box


def read_boxes_csv(path: Path) -> list[BoxLine]:
    """Reads a file with the header `video,frame,x0,y0,x1,y1`.

    `video` is a path relative to the data folder, `frame` counts from 0 in decoding order, the
    coordinates are pixels of the original frame, corners included. Each line is one box; a frame
    may have several.

    Args:
        path: the file.

    Returns:
        The lines in file order, blank ones skipped.

    Raises:
        UserError: the file cannot be read, its header or a line's number of columns is wrong, a
            value is not a number, or corners are swapped. The message names the line.
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
        raise UserError(f"{where}: {len(row)} columns; expected {','.join(HEADER)}")
    video, frame, *coordinates = (field.strip() for field in row)
    try:
        index = int(frame)
    except ValueError:
        raise UserError(f"{where}: frame {frame!r} is not a whole number") from None
    x0, y0, x1, y1 = (
        _coordinate(where, name, text) for name, text in zip(HEADER[2:], coordinates, strict=True)
    )
    if (x0 > x1 or y0 > y1) and is_fraction((x0, y0, x1, y1)):
        raise UserError(f"{where}: the box looks like fractions of the frame; {IN_PIXELS}")
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
