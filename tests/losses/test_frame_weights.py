"""Frame weights from the classifier's probability of the tag."""

import pytest
import torch

from colocam.losses import tag_weights

LOGITS = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
LABELS = torch.tensor([0, 0, 1])


def test_the_weight_is_the_probability_of_the_tag():
    high = 1 / (1 + torch.exp(torch.tensor(-2.0)))
    expected = torch.stack([high, 1 - high, torch.tensor(0.5)])
    torch.testing.assert_close(tag_weights(LOGITS, LABELS, "weight", 0.9), expected)
    half = tag_weights(LOGITS.bfloat16(), LABELS, "weight", 0.9)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, expected)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(0.0, [1, 1, 1]), (0.5, [1, 0, 1]), (0.6, [1, 0, 0]), (1, [0, 0, 0])],
)
def test_a_frame_below_the_threshold_is_discarded(threshold, expected):
    assert tag_weights(LOGITS, LABELS, "discard", threshold).tolist() == expected


def test_off_returns_no_weights():
    assert tag_weights(LOGITS, LABELS, "off", 0.5) is None
