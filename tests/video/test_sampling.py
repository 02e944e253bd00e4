import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.video.sampling import frame_window, sample_frames

SCHEMES = ["adjacent", "interval", "gaussian"]
DRAWS = 4000


def draw(num_frames, n, sampling, draws=DRAWS):
    rng = np.random.default_rng(0)
    return np.array([sample_frames(num_frames, n, sampling, rng) for _ in range(draws)])


def assert_uniform(values, first, last):
    """Every value first … last as often as chance allows (5 standard deviations)."""
    counts = np.bincount(values, minlength=last + 1)
    places = last - first + 1
    assert counts[:first].sum() == 0
    assert len(counts) == last + 1
    expected = len(values) / places
    deviation = np.sqrt(expected * (1 - 1 / places))
    assert np.abs(counts[first:] - expected).max() < 5 * deviation


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
def test_the_window_is_the_middle_sixty_percent(num_frames, expected):
    assert frame_window(num_frames) == expected


def test_the_window_of_a_full_limit_is_the_whole_shot():
    assert frame_window(7, limit=1.0) == range(7)


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 500), st.floats(0.01, 1.0))
def test_the_window_is_centred_inside_the_shot_and_never_empty(num_frames, limit):
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
    st.integers(1, 40),
    st.sampled_from(SCHEMES),
    st.integers(0, 2**32 - 1),
    st.floats(0.05, 1.0),
)
def test_frames_are_sorted_distinct_and_inside_the_window(num_frames, n, sampling, seed, limit):
    frames = sample_frames(num_frames, n, sampling, np.random.default_rng(seed), limit)
    window = frame_window(num_frames, limit)
    assert len(frames) == min(n, len(window))
    assert frames == sorted(set(frames))
    assert set(frames) <= set(window)
    assert all(type(frame) is int for frame in frames)


@pytest.mark.parametrize("sampling", SCHEMES)
def test_a_window_of_n_frames_or_fewer_is_given_whole(sampling):
    rng = np.random.default_rng(0)
    assert sample_frames(20, 12, sampling, rng) == list(range(4, 16))
    assert sample_frames(20, 18, sampling, rng) == list(range(4, 16))


def test_adjacent_draws_a_frame_uniformly_and_takes_its_predecessors():
    frames = draw(20, 3, "adjacent")
    assert np.all(np.diff(frames, axis=1) == 1)
    assert_uniform(frames[:, -1], 6, 15)  # the window is 4 … 15, two predecessors are needed


def test_interval_draws_one_frame_uniformly_from_each_equal_part():
    frames = draw(20, 4, "interval")
    for part in range(4):
        assert_uniform(frames[:, part], 4 + 3 * part, 6 + 3 * part)


def test_interval_draws_its_parts_independently():
    frames = draw(20, 4, "interval")
    correlation = np.corrcoef(frames.T)
    assert np.abs(correlation[~np.eye(4, dtype=bool)]).max() < 5 / np.sqrt(DRAWS)


def test_gaussian_draws_around_the_middle_with_a_sixth_of_the_window_as_deviation():
    frames = draw(100, 1, "gaussian")[:, 0]
    assert abs(frames.mean() - 49.5) < 5 * 10 / np.sqrt(DRAWS)
    assert abs(frames.std() - 10) < 0.6  # the ends cut off at three deviations take 1.4 %


def test_gaussian_lies_between_adjacent_and_interval_in_spread():
    spread = {scheme: np.ptp(draw(100, 4, scheme, 500), axis=1).mean() for scheme in SCHEMES}
    assert spread["adjacent"] < spread["gaussian"] < spread["interval"]


@pytest.mark.parametrize("sampling", SCHEMES)
def test_the_same_seed_gives_the_same_frames(sampling):
    assert np.array_equal(draw(60, 4, sampling, 20), draw(60, 4, sampling, 20))


def test_bad_arguments_are_named():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="num_frames"):
        frame_window(0)
    with pytest.raises(ValueError, match="limit"):
        frame_window(10, limit=0.0)
    with pytest.raises(ValueError, match="n must"):
        sample_frames(10, 0, "adjacent", rng)
    with pytest.raises(ValueError, match="sampling"):
        sample_frames(10, 2, "random", rng)
