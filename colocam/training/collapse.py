"""Collapse: the joint term can carry whole videos to one side, all foreground or none.

Its adaptive weight makes it as strong on maps that say nothing yet as on sound ones, and it pushes
every colour toward its majority.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from colocam.evaluation.metric_names import FOREGROUND_SHARE, ONE_SIDED

LEAST, MOST = 0.005, 0.95  # mean of S¹ over a video's frames outside of which it is on one side
TELLING = 0.5  # share of the frames from which on the user is told


@torch.no_grad()
def sides(maps: Tensor, sequence: Tensor, num_sequences: int, frames: Tensor) -> dict[str, Tensor]:
    """How much of the frames is foreground, and how many lie in sequences that are on one side.

    Args:
        maps: (B, 2, H, W) before softmax.
        sequence: (B,) integers 0…G−1.
        num_sequences: G.
        frames: scalar that the sums are divided by, see `colocam.losses.Counts`.

    Returns:
        `FOREGROUND_SHARE`: mean of S¹, and `ONE_SIDED`: share of the frames; scalars.
    """
    shares = (maps[:, 1] - maps[:, 0]).float().sigmoid().mean((1, 2))  # (B,)
    both = torch.stack([shares, torch.ones_like(shares)])  # (2, B)
    sums, counts = both.new_zeros(2, num_sequences).index_add(1, sequence.long(), both)
    means = sums / counts.clamp(min=1)  # (G,)
    gone = ((means < LEAST) | (means > MOST))[sequence.long()]
    frames = frames.clamp(min=1)
    return {FOREGROUND_SHARE: shares.sum() / frames, ONE_SIDED: gone.sum() / frames}


def remark(means: Mapping[str, float], joint: bool) -> str | None:
    """A line for the user where an epoch's means tell of a collapse; None: they do not.

    Args:
        means: of `sides` over an epoch.
        joint: whether the joint term is on.
    """
    share = means.get(ONE_SIDED, 0.0)
    if share < TELLING:
        return None
    side = "foreground" if means[FOREGROUND_SHARE] > 0.5 else "background"
    told = f"in {100 * share:.0f} % of the frames the maps have become all {side}"
    if not joint:
        return told
    return (
        f"{told}: the joint term has collapsed; lower --coloc-weight, or let it grow for longer "
        "with --coloc-ramp"
    )
