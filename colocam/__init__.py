"""CoLo-CAM and its kin: from videos with class tags to boxes, trained without a box."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from colocam.localization.inference import VideoLocalizer

__version__ = "0.1.0"


def load(ckpt: Path | str, device: str = "auto") -> "VideoLocalizer":
    """A ready model from a localizer's checkpoint: `.localize(frames)`, `.classes`.

    `.localize` takes frames as arrays or tensors, and gives for each its box, score, class and
    score map; see `colocam.localization.inference.VideoLocalizer`.

    Args:
        ckpt: a file that train.py wrote.
        device: "auto", "cpu" or "cuda".

    Raises:
        colocam.runtime.errors.UserError: the checkpoint cannot be used.
    """
    from colocam.localization.inference import (
        VideoLocalizer,  # torch and OpenCV load only when needed
    )

    return VideoLocalizer(ckpt, device)
