"""Frame sampling: the window, the distributions of the three samplings, the anchor."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.data.loading.sampling import anchor_index, frame_window, sample_frames

SCHEMES = ["adjacent", "interval", "gaussian"]
DRAWS = 4000


def draw(num_frames, n, sampling, draws=DRAWS):
    rng = np.random.default_rng(0)
    return np.array([sample_frames(num_frames, n, sampling, rng) for _ in range(draws)])


def assert_distributed(values, probabilities):
    """Chi-square test of draws against {value: probability}, at more than 5 deviations."""
    keys, counts = np.unique(values, return_counts=True)
    assert set(keys.tolist()) <= set(probabilities)
    found = dict(zip(keys.tolist(), counts.tolist(), strict=True))
    expected = {key: len(values) * p for key, p in probabilities.items()}
    assert sum(expected.values()) == pytest.approx(len(values))
    assert min(expected.values()) > 5  # required by the chi-square approximation
    total = sum((found.get(key, 0) - e) ** 2 / e for key, e in expected.items())
    freedom = len(expected) - 1
    assert total < freedom + 5 * math.sqrt(2 * freedom) + 10


def assert_uniform(values, first, last):
    assert_distributed(values, dict.fromkeys(range(first, last + 1), 1 / (last - first + 1)))


def gaussian(first, size):
    """{frame: probability} of a Gaussian around the middle of a window of ± three deviations."""
    middle, deviation = first + (size - 1) / 2, size / 6
    heights = [
        math.exp(-((frame - middle) ** 2) / (2 * deviation**2))
        for frame in range(first, first + size)
    ]
    return {first + offset: height / sum(heights) for offset, height in enumerate(heights)}


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [
        (1, range(0, 1)),
        (2, range(0, 1)),
        (5, range(1, 4)),
        (10, range(2, 8)),
        (20, range(4, 16)),
        (30, range(6, 24)),
    ],
)
def test_the_window_is_the_middle_60_percent(num_frames, expected):
    assert frame_window(num_frames) == expected


def test_the_window_for_limit_1_is_the_whole_shot():
    assert frame_window(7, limit=1.0) == range(7)


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 500), st.floats(0.01, 1.0))
def test_the_window_is_centred_in_the_shot_and_never_empty(num_frames, limit):
    window = frame_window(num_frames, limit)
    left, right = window.start, num_frames - window.stop
    assert left >= 0
    assert right >= 0
    assert right - left in (0, 1)
    assert len(window) >= 1
    assert abs(len(window) - limit * num_frames) <= 0.5 or len(window) == 1


@settings(deadline=None, max_examples=200)
@given(
    st.integers(1, 200),
    st.integers(1, 64),
    st.sampled_from(SCHEMES),
    st.integers(0, 2**32 - 1),
    st.floats(0.05, 1.0),
)
def test_frames_are_sorted_distinct_and_in_the_window(num_frames, n, sampling, seed, limit):
    frames = sample_frames(num_frames, n, sampling, np.random.default_rng(seed), limit)
    window = frame_window(num_frames, limit)
    assert len(frames) == min(n, len(window))
    assert frames == sorted(set(frames))
    assert set(frames) <= set(window)
    assert all(type(frame) is int for frame in frames)


@pytest.mark.parametrize("sampling", SCHEMES)
def test_all_frames_of_a_window_of_at_most_n_frames_are_drawn(sampling):
    rng = np.random.default_rng(0)
    assert sample_frames(20, 12, sampling, rng) == list(range(4, 16))
    assert sample_frames(20, 18, sampling, rng) == list(range(4, 16))


def test_up_to_64_frames_can_be_drawn():
    rng = np.random.default_rng(0)
    for n, sampling in itertools.product(range(1, 65), SCHEMES):
        for num_frames in (1, 10, 107, 1000):
            window = frame_window(num_frames)
            frames = sample_frames(num_frames, n, sampling, rng)
            assert len(set(frames)) == len(frames) == min(n, len(window))
            assert frames == sorted(frames)
            assert set(frames) <= set(window)
            if sampling == "adjacent":
                assert frames == list(range(frames[0], frames[-1] + 1))


@pytest.mark.parametrize(("num_frames", "n"), [(20, 1), (20, 3), (20, 11), (110, 4), (110, 64)])
def test_adjacent_draws_any_n_consecutive_frames_with_equal_probability(num_frames, n):
    frames = draw(num_frames, n, "adjacent")
    window = frame_window(num_frames)
    assert np.all(np.diff(frames, axis=1) == 1)
    assert_uniform(frames[:, 0], window[0], window[-1] - n + 1)


@pytest.mark.parametrize(
    ("direction", "first", "last"), [("before", 7, 15), ("after", 4, 12), ("both", 6, 14)]
)
def test_the_anchor_is_uniform_over_frames_with_neighbours_in_the_window(direction, first, last):
    """The window is 4 … 15; for "both", two of three neighbours are before the anchor."""
    index = anchor_index(4, direction)
    assert_uniform(draw(20, 4, "adjacent")[:, index], first, last)


@given(st.integers(1, 64))
def test_the_anchor_is_the_last_first_or_middle_frame(count):
    assert anchor_index(count, "before") == count - 1
    assert anchor_index(count, "after") == 0
    before = anchor_index(count, "both")
    assert before - (count - 1 - before) in (0, 1)


@pytest.mark.parametrize(("num_frames", "n"), [(20, 4), (20, 5), (110, 8), (110, 64), (30, 1)])
def test_interval_draws_one_frame_uniformly_from_each_part(num_frames, n):
    frames = draw(num_frames, n, "interval")
    window = frame_window(num_frames)
    for part in range(n):
        first, end = part * len(window) // n, (part + 1) * len(window) // n
        assert_uniform(frames[:, part], window[first], window[end - 1])


@given(st.integers(2, 400), st.integers(1, 64), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_the_parts_of_interval_partition_the_window_and_differ_by_at_most_one_frame(
    num_frames, n, seed
):
    window = frame_window(num_frames)
    n = min(n, len(window))
    edges = [part * len(window) // n for part in range(n + 1)]
    sizes = np.diff(edges)
    assert edges[-1] == len(window)
    assert sizes.max() - sizes.min() <= 1
    frames = sample_frames(num_frames, n, "interval", np.random.default_rng(seed))
    for frame, first, end in zip(frames, edges[:-1], edges[1:], strict=True):
        assert frame in window[first:end]


def test_interval_draws_from_its_parts_independently():
    frames = draw(20, 4, "interval")
    correlation = np.corrcoef(frames.T)
    assert np.abs(correlation[~np.eye(4, dtype=bool)]).max() < 5 / np.sqrt(DRAWS)


@pytest.mark.parametrize(("num_frames", "first", "size"), [(30, 6, 18), (50, 10, 30), (19, 4, 11)])
def test_the_standard_deviation_of_gaussian_is_a_sixth_of_the_window(num_frames, first, size):
    assert frame_window(num_frames) == range(first, first + size)
    frames = draw(num_frames, 1, "gaussian", 20_000)[:, 0]
    assert_distributed(frames, gaussian(first, size))
    deviation = size / 6
    assert abs(frames.mean() - (first + (size - 1) / 2)) < 5 * deviation / np.sqrt(20_000)
    assert abs(frames.std() / deviation - 1) < 0.04  # truncation reduces it by 1.4 %


def test_gaussian_draws_without_replacement():
    share = gaussian(2, 6)
    pairs = {
        10 * i + j: share[i] * share[j] * (1 / (1 - share[i]) + 1 / (1 - share[j]))
        for i, j in itertools.combinations(share, 2)
    }
    frames = draw(10, 2, "gaussian", 20_000)
    assert_distributed(10 * frames[:, 0] + frames[:, 1], pairs)


@pytest.mark.parametrize("n", [4, 16, 59])
def test_gaussian_frames_are_symmetric_around_the_middle(n):
    frames = draw(100, n, "gaussian", 1000)
    counts = np.bincount(frames.flatten(), minlength=100)[20:80]
    assert abs(frames.mean() - 49.5) < 5 * frames.mean(1).std() / np.sqrt(1000)
    thirds = counts.reshape(3, 20).sum(1)
    assert thirds[1] > max(thirds[0], thirds[2])


def test_the_spread_of_gaussian_is_between_adjacent_and_interval():
    spread = {scheme: np.ptp(draw(100, 4, scheme, 500), axis=1).mean() for scheme in SCHEMES}
    assert spread["adjacent"] < spread["gaussian"] < spread["interval"]


@pytest.mark.parametrize("sampling", SCHEMES)
def test_the_same_seed_gives_the_same_frames(sampling):
    assert np.array_equal(draw(60, 4, sampling, 20), draw(60, 4, sampling, 20))


def test_invalid_arguments_are_rejected():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="num_frames"):
        frame_window(0)
    with pytest.raises(ValueError, match="limit"):
        frame_window(10, limit=0.0)
    with pytest.raises(ValueError, match="n must"):
        sample_frames(10, 0, "adjacent", rng)
    for n in (2, 20):  # also for a short shot
        with pytest.raises(ValueError, match="sampling"):
            sample_frames(10, n, "random", rng)
    with pytest.raises(ValueError, match="direction"):
        anchor_index(3, "around")
