"""Summaries of small evaluations, and a reader of pages."""

from html.parser import HTMLParser

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


class Reader(HTMLParser):
    """Texts of a page by their tag, and URLs; every tag must be closed."""

    VOID = ("meta", "img")

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.addresses, self.tags = [], [], [], []
        self.feed(text)
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag):
        return [text for own, text in self.texts if own == tag]


@pytest.fixture
def read_page():
    """Reads the text of a page."""
    return Reader
