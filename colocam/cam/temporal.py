"""Temporal max pooling of activation maps (TCAM, Belharbi et al. 2023, Eq. 1: CAM-TMP)."""

import torch
from torch import Tensor


def temporal_max(maps: Tensor, sequence: Tensor, window: int | None = None) -> Tensor:
    """Pixelwise maximum over a frame's map and the maps of earlier frames of its sequence.

    Maps should be normalized to [0, 1] first, so that none dominates by its scale. Only frames in
    the batch are pooled: the first frame of a sequence keeps its map.

    Args:
        maps: (B, h, w).
        sequence: (B,) integers, the sequence of each frame; frames of one sequence are in temporal
            order, but need not be adjacent in the batch.
        window: number of frames pooled, the frame itself included (the paper's n counts earlier
            frames only); None: all earlier frames of the sequence.

    Returns:
        (B, h, w).

    Raises:
        ValueError: the shape of `sequence` does not match `maps`, or `window` is below 1.
    """
    if maps.ndim != 3 or sequence.shape != maps.shape[:1]:
        raise ValueError(
            f"sequence: {tuple(sequence.shape)} does not fit maps {tuple(maps.shape)}; "
            "pass one integer per map (B, h, w)"
        )
    if window is not None and window < 1:
        raise ValueError(f"window: {window} frames; it must be at least 1, the frame itself")
    order = sequence.argsort(stable=True)
    sequence, pooled = sequence[order], maps[order]
    target = len(maps) if window is None else min(window, len(maps))
    covered = 1  # frames pooled into each map so far
    while covered < target:
        step = min(covered, target - covered)
        same = (sequence[step:] == sequence[:-step])[:, None, None]
        # Where the map `step` frames earlier is of another sequence, all frames are pooled already.
        later = torch.where(same, torch.maximum(pooled[step:], pooled[:-step]), pooled[step:])
        pooled = torch.cat([pooled[:step], later])
        covered += step
    return pooled[order.argsort()]
