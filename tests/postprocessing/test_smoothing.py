"""Temporal smoothing of score maps."""

import numpy as np
import pytest

from colocam.postprocessing import Smoothing


def scene(seed):
    """Frame of one color, which depends on the seed."""
    rng = np.random.default_rng(seed)
    color = rng.integers(0, 256, 3)
    return (np.ones((48, 64, 1)) * color).astype(np.uint8)


def maps(number, shape=(8, 8)):
    return np.random.default_rng(0).random((number, *shape), np.float32)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_smoothed_map_is_the_weighted_mean_of_all_maps_so_far(share):
    scores, smoothing = maps(6), Smoothing(share)
    for t in range(6):
        weights = [share**t, *((1 - share) * share ** (t - i) for i in range(1, t + 1))]
        assert sum(weights) == pytest.approx(1)
        expected = np.tensordot(weights, scores[: t + 1], 1)
        np.testing.assert_allclose(smoothing.next(scores[t], scene(0)), expected, rtol=1e-5)


def test_cut_resets_the_mean():
    scores, smoothing = maps(4), Smoothing(0.5)
    for t in range(2):
        smoothing.next(scores[t], np.full((48, 64, 3), 20, np.uint8))
    after = np.full((48, 64, 3), 230, np.uint8)
    np.testing.assert_array_equal(smoothing.next(scores[2], after), scores[2])
    np.testing.assert_allclose(smoothing.next(scores[3], after), (scores[2] + scores[3]) / 2)


def test_inputs_are_not_modified():
    scores, smoothing = maps(3), Smoothing(0.5)
    before = scores.copy()
    for score_map in scores:
        smoothed = smoothing.next(score_map, scene(0))
        assert smoothed.dtype == np.float32
    np.testing.assert_array_equal(scores, before)


def test_smoothed_class_probabilities_sum_to_one():
    likely, smoothing = maps(5, (4,)), Smoothing(0.7)
    likely /= likely.sum(1, keepdims=True)
    for one in likely:
        assert smoothing.next(one, scene(1)).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_share_out_of_range_raises(share):
    with pytest.raises(ValueError, match=r"^share: "):
        Smoothing(share)


def test_several_arrays_are_smoothed_as_each_would_be_alone():
    scores, shares, frame = maps(4), maps(4, (3,)), scene(0)
    together, alone = Smoothing(0.5), (Smoothing(0.5), Smoothing(0.5))
    for values in zip(scores, shares, strict=True):
        found = together.next_of_all(values, frame)
        for one, value, smoothing in zip(found, values, alone, strict=True):
            np.testing.assert_array_equal(one, smoothing.next(value, frame))
