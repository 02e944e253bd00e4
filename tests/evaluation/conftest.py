"""Numbers of small evaluations."""

import numpy as np
import pytest

from colocam.evaluation.corloc import CorLoc

BOX, FOUND, FAR = (2, 2, 8, 8), (2, 2, 9, 9), (15, 15, 19, 19)


@pytest.fixture
def summary_of():
    """Makes a `CorLoc.summary()` of one frame an entry of each class's list.

    An entry says whether the frame's box is right; None: it has no boxes.
    """

    def make(*right_by_class, names=("cat", "dog", "cow"), honest=None):
        scores = np.zeros((20, 20))
        scores[2:9, 2:9] = 1
        evaluation = CorLoc(names)
        for label, frames in enumerate(right_by_class):
            for right in frames:
                truth = [] if right is None else [FOUND if right else FAR]
                video = f"{names[label]}/{len(evaluation._frames)}"  # one a frame
                evaluation.add(scores, truth, label, [0, 1, 2], video)
        return evaluation.summary(honest)

    return make
