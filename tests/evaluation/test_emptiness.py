"""Emptiness of frames, and the area under the ROC curve."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.evaluation.emptiness import area_under_roc, emptiness

LIKELY, MAP = np.array([0.1, 0.7, 0.2]), np.array([[0.0, 0.5], [0.25, 0.0]])


@pytest.mark.parametrize(("how", "expected"), [("class", 0.3), ("map", 0.5), ("both", 0.65)])
def test_emptiness_is_one_minus_the_presence_score(how, expected):
    assert emptiness(LIKELY, MAP, how) == pytest.approx(expected)


def test_unknown_score_raises():
    with pytest.raises(ValueError, match="must be one of class, map, both, got 'colour'"):
        emptiness(LIKELY, MAP, "colour")


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=30))
def test_area_is_the_share_of_correctly_ordered_pairs(frames):
    own = [score for score, positive in frames if positive]
    others = [score for score, positive in frames if not positive]
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in own for b in others]
    found = area_under_roc([score for score, _ in frames], [positive for _, positive in frames])
    if pairs:
        assert found == pytest.approx(sum(pairs) / len(pairs))
    else:
        assert math.isnan(found)
