"""Maps upsampled to the frame and min-max normalized to [0, 1]."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from colocam.cam import normalized_map


def test_maps_are_upsampled_and_normalized_individually():
    maps = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0)) * 7 - 2
    got = normalized_map(maps, (20, 30))
    for one, result in zip(maps, got, strict=True):
        up = F.interpolate(one[None, None], (20, 30), mode="bilinear")[0, 0]
        torch.testing.assert_close(result, (up - up.min()) / (up.max() - up.min()))


@given(
    npst.arrays(np.float32, (2, 3, 4), elements=st.floats(-1e4, 1e4, width=32)),
    st.sampled_from([(3, 4), (7, 9), (24, 32)]),
)
@settings(deadline=None, max_examples=60)
def test_normalized_maps_range_from_zero_to_one_or_are_zero(maps, size):
    got = normalized_map(torch.from_numpy(maps), size)
    assert got.shape == (2, *size)
    for one in got:
        assert one.min() == 0
        assert one.max() in (0, 1)


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3, -1.7, 1e3, 1e-20])
@pytest.mark.parametrize(("side", "size"), [(7, 56), (12, 96), (28, 224), (5, 33)])
def test_a_constant_map_becomes_zero(value, side, size):
    maps = torch.full((2, side, side), value)
    maps[1, 2, 3] += 1 + abs(value)
    got = normalized_map(maps, (size, size))
    assert (got[0] == 0).all()
    assert got[1].max() == 1


def test_a_map_of_tiny_values_is_normalized():
    maps = torch.zeros(1, 4, 4)
    maps[0, 1, 1] = 1e-30
    assert normalized_map(maps, (16, 16)).max() == 1


def test_the_normalization_does_not_synchronize():
    """Meta tensors have no data: reading them raises an error."""
    maps = torch.empty(2, 5, 5, device="meta")
    assert normalized_map(maps, (40, 40)).shape == (2, 40, 40)
