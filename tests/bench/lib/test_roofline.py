"""bench/lib/roofline.py: operation counts and peak rates."""

import pytest
import torch

from lib import roofline, timing


def test_flops_of_a_product_and_its_gradients_are_counted():
    left, right = (torch.ones(6, 6, requires_grad=True) for _ in range(2))
    assert roofline.count_flops(lambda: left @ right) == 2 * 6**3
    assert roofline.count_flops(lambda: (left @ right).sum().backward()) == 3 * 2 * 6**3


def test_rate_is_flops_over_the_fastest_repeat(monkeypatch, small_rates):
    times = timing.Times((5.0, 4.0, 8.0))
    monkeypatch.setattr(roofline, "time_work", lambda make_work, *_: make_work()() is None or times)
    found = roofline.peak_rates(torch.device("cpu"), torch.float32)  # sizes of `small_rates`
    assert found["matmul"] == pytest.approx(2 * 64**3 / 4e-3)
    assert found["convolution"] == pytest.approx(2 * 8 * 8 * 16 * 16 * 9 / 4e-3)
