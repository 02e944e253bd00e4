"""Options --boxes and --min-area, shared by the commands that compute boxes."""

import argparse

from colocam.evaluation.boxes import MIN_AREA
from colocam.runtime.errors import UserError


def add_boxes(group: argparse._ActionsContainer, effect: str) -> None:
    """Adds --boxes and --min-area.

    Args:
        group: of options.
        effect: what --boxes all does in the command.
    """
    group.add_argument(
        "--boxes",
        choices=("largest", "all"),
        default="largest",
        help="largest: the box of the largest region of the score map above the threshold; all: a "
        f"box for each region, {effect}",
    )
    group.add_argument(
        "--min-area",
        type=float,
        metavar="X",
        help="smallest area of a region with a box for --boxes all, as a share of the frame; the "
        f"largest region has a box whatever its area (default: {MIN_AREA:g})",
    )


def check_boxes(options: argparse.Namespace) -> None:
    """Checks the value of --min-area.

    Raises:
        UserError: it is out of range, or has no effect.
    """
    if options.min_area is None:
        return
    if not 0 <= options.min_area < 1:
        raise UserError(f"--min-area {options.min_area}: must be at least 0 and below 1")
    if options.boxes != "all":
        raise UserError("--min-area: has no effect without --boxes all")


def min_area(options: argparse.Namespace) -> float | None:
    """Smallest area of a region with a box; None: the largest region only."""
    if options.boxes == "largest":
        return None
    return MIN_AREA if options.min_area is None else options.min_area
