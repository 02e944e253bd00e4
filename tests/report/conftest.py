"""Summaries of small evaluations."""

import numpy as np
import pytest

from colocam.evaluation.corloc import CorLoc

FOUND, FAR = (2, 2, 9, 9), (15, 15, 19, 19)


@pytest.fixture
def summary_of():
    """Function that makes a `CorLoc.summary()` from lists of frames, one list per class.

    Each entry is one frame: whether its predicted box is correct; None: a frame without boxes.
    """

    def make(*correct_by_class, names=("cat", "dog", "cow"), honest=None):
        scores = np.zeros((20, 20))
        scores[2:9, 2:9] = 1
        evaluation = CorLoc(names)
        for label, frames in enumerate(correct_by_class):
            for correct in frames:
                truth = [] if correct is None else [FOUND if correct else FAR]
                video = f"{names[label]}/{len(evaluation._frames)}"  # one per frame
                evaluation.add(scores, truth, label, [0, 1, 2], video)
        return evaluation.summary(honest)

    return make
