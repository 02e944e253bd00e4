"""Weakly supervised video object localization: from videos with class tags to bounding boxes.

The packages, in the order of the data:

- `data`: videos, from files to batches of frame sequences
- `models`: encoder, pooling head, decoder, checkpoints
- `cam`: class activation maps
- `seeds`: pseudo-labels drawn from the maps
- `kernels`: Gaussian filtering and CRF energies
- `losses`: terms of the training loss, and their sum
- `training`: both stages, the loop, training states
- `evaluation`: boxes, CorLoc, predictions
- `localization`: a trained model on frames and videos
- `report`: tables, charts, pictures, the page
- `teachers`: maps of other models, as seeds
- `cli`: commands
- `runtime`: devices, processes, files, errors; used by all
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from colocam.localization.inference import VideoLocalizer

__version__ = "0.1.0"


def load(ckpt: Path | str, device: str = "auto") -> "VideoLocalizer":
    """Loads a localizer from a checkpoint, ready for `.localize(frames)`.

    Args:
        ckpt: checkpoint of a localizer that train.py wrote.
        device: "auto", "cpu" or "cuda".

    Returns:
        a `colocam.localization.inference.VideoLocalizer`. Its method `localize` takes frames as
        arrays or tensors and returns a box, score, class and score map for each; `classes` holds
        the class names.

    Raises:
        colocam.runtime.errors.UserError: the checkpoint cannot be used, or the device is not
            available.
    """
    # Imported here: `import colocam` does not import torch and OpenCV.
    from colocam.localization.inference import VideoLocalizer

    return VideoLocalizer(ckpt, device)
