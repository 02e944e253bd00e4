"""Adaptive weight, and schedules of the loss terms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.losses import Schedule, adaptive_weight


def test_the_value_is_the_weight_with_the_sign_of_the_energy():
    energy = torch.tensor([-2e11, 3.0, -1e-30, 0.0, 5e9], requires_grad=True)
    expected = torch.tensor([-9.0, 9.0, -9.0, 0.0, 9.0])
    torch.testing.assert_close(adaptive_weight(energy, 9.0), expected)


def test_the_gradient_is_divided_by_the_magnitude_of_the_energy():
    x = torch.tensor([1.5, -0.5], dtype=torch.float64, requires_grad=True)
    energy = x**3  # 3.375, −0.125
    adaptive_weight(energy, 2.0).sum().backward()
    expected = [2 * 3 * 1.5**2 / 3.375, 2 * 3 * 0.25 / 0.125]
    torch.testing.assert_close(x.grad, torch.tensor(expected, dtype=torch.float64))


def test_an_energy_of_zero_has_value_and_gradient_zero():
    x = torch.tensor([2.0, 7.0], requires_grad=True)
    energy = x * torch.tensor([0.0, 1.0])
    weighted = adaptive_weight(energy, 4.0)
    weighted.sum().backward()
    assert weighted.tolist() == [0.0, 4.0]
    torch.testing.assert_close(x.grad, torch.tensor([0.0, 4 / 7]))


def test_each_energy_is_scaled_by_its_own_magnitude():
    energy = torch.tensor([-3.0, 8.0])
    assert torch.equal(
        adaptive_weight(energy, 5.0)[:1], adaptive_weight(torch.tensor([-3.0, 1e9]), 5.0)[:1]
    )


def test_an_energy_of_nan_remains_nan():
    assert adaptive_weight(torch.tensor([math.nan, 1.0]), 2.0).isnan().tolist() == [True, False]


def test_a_term_without_bounds_is_active_in_all_epochs():
    assert [Schedule(3.0).at(epoch) for epoch in (0, 0.5, 9.99, 1000)] == [3.0] * 4


def test_a_weight_of_zero_disables_the_term():
    assert [Schedule(0.0, ramp=2).at(epoch) for epoch in (0, 1, 5)] == [0.0] * 3


def test_a_term_is_active_from_its_first_to_the_end_of_its_last_epoch():
    schedule = Schedule(2.0, first_epoch=1, last_epoch=3)
    epochs = (0, 0.999, 1, 1.5, 3, 3.999, 4, 7)
    assert [schedule.at(epoch) for epoch in epochs] == [0, 0, 2, 2, 2, 2, 0, 0]


def test_the_ramp_is_linear_from_the_first_epoch():
    schedule = Schedule(8.0, first_epoch=2, ramp=4.0)
    assert [schedule.at(epoch) for epoch in (1, 2, 2.5, 3, 5, 6, 20)] == [0, 0, 1, 2, 6, 8, 8]


def test_a_ramp_ends_with_the_last_epoch():
    schedule = Schedule(8.0, last_epoch=1, ramp=4.0)
    assert [schedule.at(epoch) for epoch in (1, 1.75, 2)] == [2, 3.5, 0]


@given(
    st.floats(0, 20), st.integers(0, 5), st.none() | st.integers(0, 9), st.floats(0, 5),
    st.floats(0, 12),
)  # fmt: skip
@settings(deadline=None, max_examples=100)
def test_the_scheduled_weight_is_between_zero_and_weight(weight, first, last, ramp, epoch):
    at = Schedule(weight, first, last, ramp).at(epoch)
    assert 0 <= at <= weight
    if epoch < first or (last is not None and epoch >= last + 1):
        assert at == 0
    elif epoch >= first + ramp:
        assert at == pytest.approx(weight)
