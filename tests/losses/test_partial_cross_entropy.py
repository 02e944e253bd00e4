"""Partial cross-entropy against values computed by hand and pixel by pixel."""

import math

import pytest
import torch

from colocam.losses import partial_cross_entropy


@pytest.fixture
def seeds() -> torch.Tensor:
    """(5, 12, 14): one pixel in three is labelled."""
    generator = torch.Generator().manual_seed(5)
    drawn = torch.randint(0, 6, (5, 12, 14), generator=generator)
    return torch.where(drawn < 2, drawn, 255).to(torch.uint8)


def test_four_pixels_computed_by_hand():
    """Scores 3/4 and 1/4 where the logits differ by log 3; one pixel in four is ignored."""
    maps = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    maps[0, 1, 0, 0] = math.log(3)  # foreground 3/4
    maps[0, 0, 0, 1] = math.log(3)  # foreground 1/4
    seeds = torch.tensor([[[1, 1], [0, 255]]], dtype=torch.uint8)
    expected = -(math.log(3 / 4) + math.log(1 / 4) + math.log(1 / 2)) / 3
    assert partial_cross_entropy(maps, seeds).item() == pytest.approx(expected, rel=1e-12)


def test_the_loss_is_the_mean_over_labelled_pixels_of_the_batch(logits, seeds):
    total, labelled = 0.0, 0
    for b, y, x in (seeds != 255).nonzero().tolist():
        zero, one = logits[b, :, y, x].tolist()
        right, wrong = (one, zero) if seeds[b, y, x] == 1 else (zero, one)
        total += math.log(1 + math.exp(wrong - right))
        labelled += 1
    got = partial_cross_entropy(logits, seeds)
    assert got.dtype == torch.float64
    assert got.item() == pytest.approx(total / labelled, rel=1e-12)
    assert partial_cross_entropy(logits.float(), seeds).item() == pytest.approx(
        total / labelled, rel=1e-5
    )


def test_the_gradient_is_the_derivative_and_zero_outside_the_seeds(logits, seeds):
    maps, seeds = logits[:2, :, :4, :4].clone().requires_grad_(), seeds[:2, :4, :4]
    assert torch.autograd.gradcheck(lambda m: partial_cross_entropy(m, seeds), maps)
    partial_cross_entropy(maps, seeds).backward()
    ignored = (seeds == 255)[:, None].expand_as(maps)
    assert (maps.grad[ignored] == 0).all()
    assert (maps.grad[~ignored] != 0).all()


def test_without_labels_loss_and_gradient_are_zero(logits):
    maps = logits.clone().requires_grad_()
    loss = partial_cross_entropy(maps, torch.full((5, 12, 14), 255, dtype=torch.uint8))
    loss.backward()
    assert loss == 0
    assert (maps.grad == 0).all()


def test_the_loss_is_independent_of_the_order_of_pixels_and_frames(logits, seeds):
    before = partial_cross_entropy(logits, seeds)
    generator = torch.Generator().manual_seed(2)
    order, frames = torch.randperm(12 * 14, generator=generator), torch.tensor([3, 0, 4, 1, 2])
    moved = logits.flatten(2)[:, :, order].view_as(logits)[frames]
    after = partial_cross_entropy(moved, seeds.flatten(1)[:, order].view_as(seeds)[frames])
    torch.testing.assert_close(after, before)


def test_a_frame_does_not_affect_the_gradient_of_others(logits, seeds):
    """With an unchanged number of labels."""
    maps, other = logits.clone().requires_grad_(), logits.clone()
    other[2] *= -3
    other.requires_grad_()
    partial_cross_entropy(maps, seeds).backward()
    partial_cross_entropy(other, seeds).backward()
    kept = [0, 1, 3, 4]
    assert torch.equal(maps.grad[kept], other.grad[kept])
    assert not torch.equal(maps.grad[2], other.grad[2])


def test_half_precision_maps_are_computed_in_float32(logits, seeds):
    half = logits.bfloat16()
    loss = partial_cross_entropy(half, seeds)
    assert loss.dtype == torch.float32
    assert loss == partial_cross_entropy(half.float(), seeds)


@pytest.mark.parametrize("shape", [(5, 12, 13), (4, 12, 14), (5, 1, 12, 14)])
def test_seeds_of_another_shape_are_refused(logits, shape):
    with pytest.raises(ValueError, match="seeds"):
        partial_cross_entropy(logits, torch.zeros(shape, dtype=torch.uint8))


@pytest.mark.parametrize("first", [1, 2, 4])
def test_parts_divided_by_all_labels_sum_to_the_mean_over_all(logits, seeds, first):
    whole, parts = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    labelled = (seeds != 255).sum()
    partial_cross_entropy(whole, seeds).backward()
    halves = [
        partial_cross_entropy(parts[own], seeds[own], labelled)
        for own in (slice(first), slice(first, None))
    ]
    sum(halves).backward()
    torch.testing.assert_close(sum(halves), partial_cross_entropy(logits, seeds))
    torch.testing.assert_close(parts.grad, whole.grad)


@pytest.mark.parametrize("gap", [30.0, 300.0, 3e4])
def test_extreme_logits_have_a_finite_loss(gap):
    """−log softmax is the difference of the logits if the wrong map is larger, else 0."""
    maps = torch.tensor([[gap, -gap], [0.0, 0.0]]).view(1, 2, 1, 2).requires_grad_()
    wrong, right = torch.tensor([[[1, 0]]]).byte(), torch.tensor([[[0, 1]]]).byte()
    loss = partial_cross_entropy(maps, wrong)
    loss.backward()
    assert loss.item() == pytest.approx(gap, rel=1e-6)
    torch.testing.assert_close(maps.grad.flatten(), torch.tensor([0.5, -0.5, -0.5, 0.5]))
    assert partial_cross_entropy(maps, right).item() == pytest.approx(0, abs=1e-12)
