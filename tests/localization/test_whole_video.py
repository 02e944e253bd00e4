"""Whole-video localization, with a localizer whose outputs are the first pixel of a frame."""

import numpy as np
import pytest
import torch

import colocam.localization.whole_video
from colocam.data.decoding.images import ImageFrames
from colocam.localization.whole_video import localized_frames
from colocam.postprocessing import Postprocessing


class Localizer:
    """Outputs the value of the first pixel of every frame."""

    batch_size = 16

    def __init__(self):
        self.batches = []

    def inputs(self, images):
        return torch.tensor([float(image[0, 0, 0]) for image in images])

    def infer(self, images, refinement, inputs):
        assert refinement is None
        self.batches.append(len(images))
        values = inputs.numpy()
        return values[:, None], values[:, None, None]

    def locate(self, likely, score_map, size, label, min_area):
        return float(likely[0]), float(score_map[0, 0]), size, label


class Frames(ImageFrames):
    """Frames of 80×40 pixels, dark or bright as their first pixel; None for None."""

    def __iter__(self):
        for value in self.paths:
            if value is None:
                yield None
                continue
            frame = np.full((40, 80, 3), 60 if value < 128 else 240, np.uint8)
            frame[0, 0] = value
            yield frame


def localized(values, **options):
    localizer = Localizer()
    found = list(localized_frames(localizer, Frames(tuple(values), "clip"), **options))
    assert [frame.index for frame, _ in found] == list(range(len(values)))
    return [one for _, one in found], localizer.batches


def test_every_frame_is_returned_in_order_with_its_result():
    values = [10, None, 12, None, None, None, 16, 17]
    found, batches = localized(values, batch_size=3, label=1)
    assert found == [value and (value, value, (80, 40), 1) for value in values]
    assert batches == [2, 2]  # no batch of missing frames only


def test_large_frames_are_run_in_smaller_batches(monkeypatch):
    monkeypatch.setattr(colocam.localization.whole_video, "_BATCH_BYTES", 2 * 40 * 80 * 3 + 5)
    assert localized([1] * 5)[1] == [2, 2, 1]
    monkeypatch.setattr(colocam.localization.whole_video, "_BATCH_BYTES", 1)
    assert localized([1] * 3)[1] == [1, 1, 1]


def test_smoothing_spans_batches_and_missing_frames_and_is_reset_by_a_cut():
    found, _ = localized(
        [100, None, 104, 104, 250, 250], batch_size=2, postprocessing=Postprocessing(smooth=0.5)
    )
    maps = [one and one[1] for one in found]
    assert maps == pytest.approx([100, None, 102, 103, 250, 250])
    assert [one and one[0] for one in found] == pytest.approx(maps)
