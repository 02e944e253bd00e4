"""bench/floor.py: operations are counted, and the rate is that of the fastest repeat."""

import pytest
import torch

from lib import (
    floor,
    timing,
)


def test_operations_of_a_product_and_its_gradients_are_counted():
    left, right = (torch.ones(6, 6, requires_grad=True) for _ in range(2))
    assert floor.flops_of(lambda: left @ right) == 2 * 6**3
    assert floor.flops_of(lambda: (left @ right).sum().backward()) == 3 * 2 * 6**3


def test_rates_are_operations_over_the_fastest_repeat(monkeypatch, small_rates):
    times = timing.Times((5.0, 4.0, 8.0))
    monkeypatch.setattr(floor, "time_work", lambda fresh, *_: fresh()() is None or times)
    found = floor.rates(torch.device("cpu"), torch.float32)  # of arrays as `small_rates` has them
    assert found["matmul"] == pytest.approx(2 * 64**3 / 4e-3)
    assert found["convolution"] == pytest.approx(2 * 8 * 8 * 16 * 16 * 9 / 4e-3)
