"""Collapse: score maps of whole sequences that are all foreground or all background.

The joint term can cause it: its adaptive weight is as strong on untrained maps as on trained ones,
and its gradient moves every colour toward its majority label.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from colocam.evaluation.metric_names import FOREGROUND_SHARE, ONE_SIDED

LEAST, MOST = 0.005, 0.95  # a sequence is one-sided if its mean of S¹ is outside of these
WARN_FROM = 0.5  # share of frames in one-sided sequences from which the user is warned


@torch.no_grad()
def collapse_metrics(
    maps: Tensor, sequence: Tensor, num_sequences: int, frames: Tensor
) -> dict[str, Tensor]:
    """Returns the foreground share, and the share of frames in one-sided sequences.

    Args:
        maps: (B, 2, H, W) before softmax.
        sequence: (B,) integers 0…G−1.
        num_sequences: G.
        frames: scalar, divisor of the sums over frames, see `colocam.losses.Counts`.

    Returns:
        scalars `FOREGROUND_SHARE`, mean of S¹, and `ONE_SIDED`, share of the frames.
    """
    shares = (maps[:, 1] - maps[:, 0]).float().sigmoid().mean((1, 2))  # (B,)
    both = torch.stack([shares, torch.ones_like(shares)])  # (2, B)
    sums, counts = both.new_zeros(2, num_sequences).index_add(1, sequence.long(), both)
    means = sums / counts.clamp(min=1)  # (G,)
    one_sided = ((means < LEAST) | (means > MOST))[sequence.long()]  # (B,)
    frames = frames.clamp(min=1)
    return {FOREGROUND_SHARE: shares.sum() / frames, ONE_SIDED: one_sided.sum() / frames}


def collapse_warning(means: Mapping[str, float], joint: bool) -> str | None:
    """Returns a warning if the maps of an epoch have collapsed, else None.

    Args:
        means: of `collapse_metrics` over the epoch.
        joint: whether the joint term is used.
    """
    share = means.get(ONE_SIDED, 0.0)
    if share < WARN_FROM:
        return None
    side = "foreground" if means[FOREGROUND_SHARE] > 0.5 else "background"
    line = f"in {100 * share:.0f} % of the frames the maps have become all {side}"
    if not joint:
        return line
    return (
        f"{line}: the joint term has collapsed; use a lower --coloc-weight or a longer --coloc-ramp"
    )
