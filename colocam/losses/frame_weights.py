"""Frame weights: a frame inherits the tag of its video even where the object is not visible."""

from typing import Literal

from torch import Tensor

TagWeighting = Literal["off", "weight", "discard"]


def tag_weights(
    logits: Tensor, labels: Tensor, weighting: TagWeighting, threshold: float
) -> Tensor | None:
    """Weights of frames from the classifier's probability p of their video's tag.

    The paper (CoLo-CAM, Section 5) leaves frames without the object as an open problem.

    Args:
        logits: (B, K) of a trained classifier.
        labels: (B,) class numbers, the tags.
        weighting: "off": every frame counts alike; "weight": by p; "discard": not at all where
            p < `threshold`, else 1.
        threshold: in [0, 1].

    Returns:
        (B,) float32 in [0, 1]; None for "off".
    """
    if weighting == "off":
        return None
    tag = logits.float().softmax(1).gather(1, labels.long().view(-1, 1))[:, 0]  # (B,)
    return tag if weighting == "weight" else (tag >= threshold).float()
