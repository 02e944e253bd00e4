"""Temporal max pooling of activation maps (TCAM, Belharbi et al. 2023, Eq. 1: CAM-TMP)."""

import torch
from torch import Tensor


def temporal_max(maps: Tensor, sequence: Tensor, window: int | None = None) -> Tensor:
    """Pixelwise maximum over a frame's map and those of earlier frames of its sequence.

    A map counts as much as its values: normalize each to [0, 1] before. Earlier frames that are
    not in the batch cannot take part: a sequence's first frame keeps its map.

    Args:
        maps: (B, h, w).
        sequence: (B,) integers, the sequence that each frame belongs to; the frames of one follow
            each other in time, wherever they stand in the batch.
        window: n, frames counted with the frame itself (the paper's n counts the earlier ones
            only); None: all earlier frames of the sequence.

    Returns:
        (B, h, w).

    Raises:
        ValueError: `sequence` does not fit `maps`, or a window below 1.
    """
    if maps.ndim != 3 or sequence.shape != maps.shape[:1]:
        raise ValueError(
            f"sequence: {tuple(sequence.shape)} does not fit maps {tuple(maps.shape)}; "
            "one integer a map (B, h, w) is needed"
        )
    if window is not None and window < 1:
        raise ValueError(f"window: {window} frames; at least 1, the frame itself, is needed")
    order = sequence.argsort(stable=True)
    sequence, pooled = sequence[order], maps[order]
    wanted = len(maps) if window is None else min(window, len(maps))
    reach = 1  # frames that each map covers so far
    while reach < wanted:
        step = min(reach, wanted - reach)
        beside = (sequence[step:] == sequence[:-step])[:, None, None]
        # Where the map `step` before is another sequence's, all of its own are covered already.
        later = torch.where(beside, torch.maximum(pooled[step:], pooled[:-step]), pooled[step:])
        pooled = torch.cat([pooled[:step], later])
        reach += step
    return pooled[order.argsort()]
