"""Units of boxes: pixels, not fractions of the frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from colocam.data.records import Box
from colocam.runtime.errors import UserError
from colocam.runtime.messages import count_of

IN_PIXELS = "boxes are in pixels; multiply x by the frame's width and y by its height"


def is_fraction(box: Box) -> bool:
    """Returns whether a box looks like fractions of a frame: all in [0, 1], not all whole.

    In pixels it would be smaller than four pixels.
    """
    return all(0 <= side <= 1 for side in box) and any(side % 1 for side in box)


def check_units(file: Path, boxes: Sequence[Box], notes: list[str]) -> None:
    """Checks that boxes are not given as fractions of the frame.

    Args:
        file: file that lists the boxes.
        boxes: boxes as listed.
        notes: receives a line if some of the boxes look like fractions; they are used as pixels.

    Raises:
        UserError: all boxes look like fractions.
    """
    fractions = [box for box in boxes if is_fraction(box)]
    if not fractions:
        return
    first = ",".join(f"{side:g}" for side in fractions[0])
    if len(fractions) == len(boxes):
        raise UserError(
            f"{file}: its boxes look like fractions of the frame ({first}); {IN_PIXELS}"
        )
    what = f"{len(fractions)} of {count_of(len(boxes), 'box')}"
    verb = "looks like a fraction" if len(fractions) == 1 else "look like fractions"
    notes.append(f"{file}: {what} {verb} of the frame (first: {first}); {IN_PIXELS}")
