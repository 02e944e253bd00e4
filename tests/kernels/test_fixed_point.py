"""Sums over points in fixed point: their scale, and what it does to results."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.kernels import gaussian_filter

pytest.importorskip("triton")

from colocam.kernels.launch import fixed_point


@given(
    points=st.integers(1, 2**30),
    largest=st.floats(2.0**-90, 2.0**90, width=32),
)
@settings(max_examples=200, deadline=None)
def test_a_sum_of_all_points_fits_and_the_unit_is_a_power_of_two(points, largest):
    maps = torch.tensor([-largest, math.nan, math.inf, 0.0]).view(2, 1, 1, 2)
    for known in (largest, None):
        (unit,), bound = fixed_point(points, maps, known)
        assert math.frexp(unit.item())[0] == 0.5
        assert largest * unit.item() <= bound / 2
        assert points * bound < 2**62
        # and no more digits are given away than the sum needs
        assert points * largest * unit.item() > 2**57 or unit == 2.0**126


@pytest.mark.parametrize("method", ["grid", "permutohedral"])
@pytest.mark.parametrize("power", [-60, -7, 40, 90])
def test_values_times_a_power_of_two_give_the_same_bits(device, method, power):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(90, 2, generator=generator).to(device)
    features = torch.rand(90, 3, generator=generator).mul(3).to(device)
    usual, scaled = (
        gaussian_filter(factor * values, features, method=method, backend="triton")
        for factor in (1.0, 2.0**power)
    )
    assert torch.equal(scaled, usual * 2.0**power)


@pytest.mark.parametrize("method", ["grid", "permutohedral"])
def test_a_small_channel_keeps_its_digits_beside_a_large_one(device, method):
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(90, 1, generator=generator).to(device)
    features = torch.rand(90, 3, generator=generator).mul(3).to(device)
    alone = gaussian_filter(values, features, method=method, backend="triton")
    beside = torch.cat([2.0**70 * values, values], dim=1)
    together = gaussian_filter(beside, features, method=method, backend="triton")
    torch.testing.assert_close(together[:, 1:], alone, rtol=1e-6, atol=0)


@pytest.mark.parametrize("method", ["grid", "permutohedral"])
def test_values_that_are_all_zero_stay_zero(device, method):
    values, features = torch.zeros(20, 1, device=device), torch.rand(20, 3).to(device)
    filtered = gaussian_filter(values, features, method=method, backend="triton")
    assert torch.equal(filtered, values)
