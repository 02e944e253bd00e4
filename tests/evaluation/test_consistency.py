"""Temporal consistency of boxes."""

import math

import pytest

from colocam.evaluation.consistency import Consistency

A, SHIFTED, AWAY = (0, 0, 9, 9), (5, 0, 14, 9), (50, 50, 59, 59)


def test_constant_box_has_full_consistency():
    found = Consistency()
    found.add([A] * 11)
    assert (found.pairs, found.mean_iou, found.jumps_per_100) == (10, 1.0, 0.0)


def test_overlaps_and_jumps_accumulate_over_videos():
    found = Consistency()
    found.add([A, SHIFTED, AWAY])
    found.add([A, A])
    assert found.pairs == 3
    assert found.mean_iou == pytest.approx((50 / 150 + 0 + 1) / 3)
    assert found.jumps_per_100 == pytest.approx(100 / 3)


def test_frames_without_a_box_and_video_boundaries_are_no_pairs():
    found = Consistency()
    for video in ([A, None, AWAY], [AWAY], [], [None, None]):
        found.add(video)
    assert found.pairs == 0
    assert math.isnan(found.mean_iou)
    assert math.isnan(found.jumps_per_100)
