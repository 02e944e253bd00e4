"""Frame weights from the classifier: frames without the object carry the video's tag as well."""

from typing import Literal

from torch import Tensor

TagWeighting = Literal["off", "weight", "discard"]


def tag_weights(
    logits: Tensor, labels: Tensor, weighting: TagWeighting, threshold: float
) -> Tensor | None:
    """Weights of frames by the classifier's probability p of their video's tag.

    Frames without the object are an open problem of the paper (CoLo-CAM, Section 5).

    Args:
        logits: (B, K) class scores of a trained classifier.
        labels: (B,) class indices, the tags.
        weighting: "off": no weights; "weight": p; "discard": 0 where p < `threshold`, else 1.
        threshold: in [0, 1].

    Returns:
        (B,) float32 in [0, 1]; None for "off".
    """
    if weighting == "off":
        return None
    tag = logits.float().softmax(1).gather(1, labels.long().view(-1, 1))[:, 0]  # (B,)
    return tag if weighting == "weight" else (tag >= threshold).float()
