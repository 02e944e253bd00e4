"""Size barrier: the extended log barrier against values computed by hand, and its areas."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.losses import barrier_sharpness, log_barrier, size_barrier


def barrier(f: float, z: float) -> float:
    return log_barrier(torch.tensor(f, dtype=torch.float64), z).item()


@pytest.mark.parametrize(
    ("f", "z", "expected"),
    [
        (-math.e, 1.0, -1.0),  # −log e
        (-1.0, 1.0, 0.0),  # boundary of the branches at z = 1: −log 1
        (-0.5, 1.0, 0.5),  # linear branch: −0.5 − 0 + 1
        (0.0, 1.0, 1.0),
        (2.0, 1.0, 3.0),
        (-4.0, 2.0, -math.log(2)),  # −½ log 4
        (-0.25, 2.0, math.log(2)),  # boundary of the branches at z = 2: −½ log ¼
        (0.0, 2.0, math.log(2) + 0.5),  # −½ log ¼ + ½
        (1.0, 2.0, math.log(2) + 2.5),
        (-50176.0, 1.01, -math.log(50176) / 1.01),  # a whole 224×224 frame in its second epoch
    ],
)
def test_values_of_both_branches_computed_by_hand(f, z, expected):
    assert barrier(f, z) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("z", [1.0, 1.01, 2.5, 10.0])
def test_value_and_slope_are_continuous_between_the_branches(z):
    boundary, step = -1 / z**2, 1e-7 / z**2
    assert barrier(boundary + step, z) == pytest.approx(barrier(boundary - step, z), abs=3e-7)
    assert barrier(boundary, z) == pytest.approx(2 * math.log(z) / z, abs=1e-12)
    f = torch.tensor(
        [boundary - step, boundary, boundary + step], dtype=torch.float64, requires_grad=True
    )
    log_barrier(f, z).sum().backward()
    torch.testing.assert_close(f.grad, torch.full_like(f, z), rtol=1e-6, atol=0)


@given(st.floats(-1e5, 1e3), st.floats(1e-3, 10), st.floats(1.0, 10.0))
@settings(deadline=None, max_examples=80)
def test_the_barrier_increases_with_slope_at_most_z(f, step, z):
    rise = barrier(f + step, z) - barrier(f, z)
    assert -1e-9 <= rise <= z * step * (1 + 1e-9) + 1e-9


def test_the_gradient_is_the_derivative_on_both_branches():
    f = torch.tensor([-30.0, -2.0, -0.3, -0.2, 0.0, 5.0], dtype=torch.float64, requires_grad=True)
    for z in (1.0, 2.0):
        assert torch.autograd.gradcheck(lambda x, z=z: log_barrier(x, z), f)


@pytest.mark.parametrize("z", [1.0, 3.0])
def test_the_barrier_of_areas_is_averaged_over_maps_and_frames(logits, z):
    probs = logits.softmax(1)
    terms = []
    for frame in probs.numpy():
        for scores in frame:
            area = math.fsum(scores.reshape(-1).tolist())
            assert area > 1  # the logarithmic branch
            terms.append(-math.log(area) / z)
    got = size_barrier(probs, z)
    assert got.item() == pytest.approx(sum(terms) / 10, rel=1e-12)
    assert size_barrier(probs.float(), z).item() == pytest.approx(sum(terms) / 10, rel=1e-6)


def test_an_empty_area_has_the_gradient_of_the_linear_branch():
    """Area 0 of 9 pixels at z = 1: value 1, and −log 9 for the other map; slope z/2 per pixel."""
    probs = torch.zeros(1, 2, 3, 3, dtype=torch.float64)
    probs[:, 0] = 1
    probs.requires_grad_()
    loss = size_barrier(probs, 1.0)
    loss.backward()
    assert loss.item() == pytest.approx((1 - math.log(9)) / 2, abs=1e-12)
    torch.testing.assert_close(probs.grad[0, 1], torch.full((3, 3), -0.5, dtype=torch.float64))
    torch.testing.assert_close(probs.grad[0, 0], torch.full((3, 3), -1 / 18, dtype=torch.float64))


def test_equal_areas_have_the_smallest_loss():
    def loss(share):
        probs = torch.full((1, 2, 8, 8), share, dtype=torch.float64)
        probs[:, 0] = 1 - share
        return size_barrier(probs, 1.0).item()

    assert loss(0.5) < loss(0.4) < loss(0.1) < loss(0.001)
    assert loss(0.4) == pytest.approx(loss(0.6))


def test_gradcheck_of_the_barrier_of_areas(logits):
    maps = logits[:2, :, :3, :4].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda m: size_barrier(m.softmax(1), 1.5), maps)


def test_the_barrier_is_independent_of_the_order_of_pixels_and_frames(logits):
    probs = logits.softmax(1)
    order = torch.randperm(12 * 14, generator=torch.Generator().manual_seed(2))
    moved = probs.flatten(2)[:, :, order].view_as(probs)[torch.tensor([3, 0, 4, 1, 2])]
    torch.testing.assert_close(size_barrier(moved, 1.2), size_barrier(probs, 1.2))


def test_frames_are_independent_of_each_other(logits):
    maps, other = logits.clone().requires_grad_(), logits.clone()
    other[2] += 4
    other[2, 0] -= 9
    other.requires_grad_()
    size_barrier(maps.softmax(1), 1.0).backward()
    size_barrier(other.softmax(1), 1.0).backward()
    kept = [0, 1, 3, 4]
    assert torch.equal(maps.grad[kept], other.grad[kept])
    assert not torch.equal(maps.grad[2], other.grad[2])


@pytest.mark.parametrize("z", [0.0, -1.0])
def test_a_sharpness_that_is_not_positive_is_refused(logits, z):
    with pytest.raises(ValueError, match="z"):
        size_barrier(logits.softmax(1), z)


def test_sharpness_starts_at_1_grows_by_1_percent_and_stops_at_10():
    assert barrier_sharpness(0) == 1
    assert barrier_sharpness(1) == pytest.approx(1.01)
    assert barrier_sharpness(9) == pytest.approx(1.0936852726843609)  # last of ten epochs
    assert barrier_sharpness(231) == pytest.approx(9.9595, abs=1e-4)
    assert barrier_sharpness(232) == 10
    assert barrier_sharpness(10_000) == 10
    assert barrier_sharpness(3, first=2, growth=2, last=100) == 16


@pytest.mark.parametrize("first", [1, 2, 4])
def test_parts_divided_by_all_frames_sum_to_the_mean_over_all(logits, first):
    whole, parts = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    size_barrier(whole.softmax(1), 1.3).backward()
    halves = [
        size_barrier(parts[own].softmax(1), 1.3, torch.tensor(5.0))
        for own in (slice(first), slice(first, None))
    ]
    sum(halves).backward()
    torch.testing.assert_close(sum(halves), size_barrier(logits.softmax(1), 1.3))
    torch.testing.assert_close(parts.grad, whole.grad)
