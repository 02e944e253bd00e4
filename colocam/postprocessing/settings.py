"""Settings of the postprocessing, and the options of the commands that set them."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from colocam.postprocessing.smoothing import frames_back
from colocam.runtime.errors import UserError

MOST_REFINED = 16  # frames of a refinement, at most


@dataclass(frozen=True)
class Postprocessing:
    """What is applied to score maps along a video, refinement first.

    Attributes:
        smooth: X of `Smoothing`; None: no smoothing.
        refine: number of frames of `Refinement`, the frame itself included; None: no refinement.
    """

    smooth: float | None = None
    refine: int | None = None

    def __bool__(self) -> bool:
        return self.smooth is not None or self.refine is not None

    @property
    def smoothed_back(self) -> int:
        """Number of earlier frames whose maps enter the smoothed map of a frame."""
        return 0 if self.smooth is None else frames_back(self.smooth)

    @property
    def frames_back(self) -> int:
        """Number of earlier frames that the map of a frame depends on."""
        return self.smoothed_back + (self.refine or 1) - 1

    def describe(self) -> str:
        """In words: "refined over 2 frames, smoothed 0.3"; empty if nothing is applied."""
        parts = []
        if self.refine is not None:
            parts.append(f"refined over {self.refine} frame{'s' * (self.refine > 1)}")
        if self.smooth is not None:
            parts.append(f"smoothed {self.smooth:g}")
        return ", ".join(parts)


NO_POSTPROCESSING = Postprocessing()


def add_options(add: Callable[..., Any], smoothed: str) -> None:
    """Adds --smooth and --refine.

    Args:
        add: `add_argument` of a parser.
        smoothed: what is smoothed, in words.
    """
    add(
        "--smooth",
        type=float,
        metavar="X",
        help=f"exponential smoothing of {smoothed} along each video: X times the previous smoothed "
        "value plus 1 - X times that of the frame, 0<X<1; reset at each cut (default: none)",
    )
    add(
        "--refine",
        type=int,
        metavar="N",
        help="refine score maps by the joint CRF, colours and features, over the frame and the "
        "N - 1 before it, 1 to 16; reset at each cut (default: none)",
    )


def read_options(options: argparse.Namespace) -> Postprocessing:
    """Settings of the options that `add_options` added.

    Raises:
        UserError: a value is out of range.
    """
    if options.smooth is not None and not 0 < options.smooth < 1:
        raise UserError(f"--smooth {options.smooth}: must be between 0 and 1")
    if options.refine is not None and not 1 <= options.refine <= MOST_REFINED:
        raise UserError(f"--refine {options.refine}: must be 1 to {MOST_REFINED} frames")
    return Postprocessing(options.smooth, options.refine)
