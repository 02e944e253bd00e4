"""Temporal max pooling, against a loop over frames."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.cam import temporal_max


def by_loop(maps, sequence, window):
    """For each frame, itself and the earlier ones of its sequence, at most `window` in all."""
    out = []
    for t in range(len(maps)):
        own = [s for s in range(t + 1) if sequence[s] == sequence[t]]
        out.append(maps[own if window is None else own[-window:]].max(axis=0))
    return np.stack(out)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=24),
    st.none() | st.integers(1, 26),
    st.booleans(),
)
@settings(deadline=None, max_examples=120)
def test_maps_are_maxima_over_a_frame_and_earlier_frames(sequence, window, ordered):
    """In any order of sequences, also interleaved."""
    sequence = np.array(sorted(sequence) if ordered else sequence)
    maps = np.random.default_rng(len(sequence)).normal(size=(len(sequence), 2, 3))
    got = temporal_max(torch.from_numpy(maps), torch.from_numpy(sequence), window)
    np.testing.assert_array_equal(got.numpy(), by_loop(maps, sequence, window))


def test_three_frames_as_in_the_figure_of_the_paper():
    """Three frames with one active pixel each: the last map has all of them."""
    maps = torch.eye(3).view(3, 1, 3)
    sequence = torch.zeros(3, dtype=torch.long)
    got = temporal_max(maps, sequence)
    assert got[:, 0].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert temporal_max(maps, sequence, 2)[:, 0].tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    assert torch.equal(temporal_max(maps, sequence, 1), maps)


@pytest.mark.parametrize("window", range(1, 12))
def test_the_window_limits_the_earlier_frames(window):
    """Values decrease over time: the maximum is the earliest frame in the window."""
    maps = -torch.arange(10.0).view(10, 1, 1)
    sequence = torch.tensor([0] * 7 + [1] * 3)
    first = [0] * 7 + [7] * 3
    want = [-max(first[t], t - window + 1) for t in range(10)]
    assert temporal_max(maps, sequence, window).flatten().tolist() == want


def test_single_frames_keep_their_maps():
    maps = torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(temporal_max(maps, torch.tensor([2, 0, 3, 1])), maps)


def test_the_input_is_unchanged():
    maps = torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(0))
    before = maps.clone()
    temporal_max(maps, torch.zeros(4, dtype=torch.long))
    assert torch.equal(maps, before)


def test_pooling_does_not_synchronize():
    """Meta tensors have no data: reading them raises an error."""
    maps = torch.empty(6, 5, 5, device="meta")
    sequence = torch.empty(6, dtype=torch.long, device="meta")
    assert temporal_max(maps, sequence, 4).shape == (6, 5, 5)


def test_sequences_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="sequence"):
        temporal_max(torch.zeros(3, 2, 2), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match="sequence"):
        temporal_max(torch.zeros(3, 1, 2, 2), torch.zeros(3, dtype=torch.long))


def test_a_window_of_no_frames_is_refused():
    with pytest.raises(ValueError, match="window: 0"):
        temporal_max(torch.zeros(3, 2, 2), torch.zeros(3, dtype=torch.long), 0)
