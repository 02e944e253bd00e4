"""Colour grid: the fitted blur, and equal results of its splatters."""

import pytest
import torch

from colocam.kernels import gaussian_filter
from colocam.kernels.color_grid import geometry, grid_torch
from colocam.kernels.color_grid.geometry import Spacing
from colocam.kernels.color_grid.grid_torch import ColorGrid, Colors, Levels


@pytest.mark.parametrize("degree", [0, 2])
def test_spline_weights_sum_to_one_and_preserve_the_position(degree):
    t = torch.linspace(0, 0.99, 34, dtype=torch.float64)
    weights = geometry.spline_weights(t, degree)
    assert weights.shape == (34, degree + 1)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(t))
    if degree:
        nodes = torch.tensor([-0.5, 0.5, 1.5], dtype=torch.float64)  # centres of the splines
        torch.testing.assert_close(weights @ nodes, t, atol=1e-12, rtol=0)


@pytest.mark.parametrize("ratio", [3.0, 3.7, 8.0, 40.0])
def test_the_fitted_blur_is_the_gaussian_between_any_two_positions(ratio):
    spacing = Spacing(1.0, 2)
    factor = geometry.blur_factor(ratio, spacing, 30)
    positions = torch.linspace(0, 27.99, 200, dtype=torch.float64)
    cell = positions.floor()
    splat = torch.zeros(200, 30, dtype=torch.float64)
    splat.scatter_(
        1, cell.long()[:, None] + torch.arange(3), geometry.spline_weights(positions - cell, 2)
    )
    pairs = splat @ factor @ factor.T @ splat.T
    gauss = torch.exp(-0.5 * ((positions[:, None] - positions) / ratio) ** 2)
    assert (pairs - gauss).abs().max() <= 1e-3


def test_a_finer_grid_is_more_accurate():
    errors = []
    for ratio in (1.5, 3.0, 6.0):
        fitted = geometry.fit_blur(ratio, Spacing(1.0, 2))
        weights = geometry.spline_weights(torch.zeros(1, dtype=torch.float64), 2)[0]
        same = sum(weights[i] * weights[j] * fitted[abs(i - j)] for i in range(3) for j in range(3))
        errors.append(abs(float(same) - 1))
    assert errors[0] > 4 * errors[1] > 16 * errors[2]


def test_the_grid_has_a_node_per_level_below_two_levels_per_cell():
    assert geometry.spacing_for_levels(5.9) == Spacing(1, 0)
    assert geometry.spacing_for_levels(6.0) == Spacing(2, 2)
    assert geometry.spacing_for_levels(15.0) == Spacing(5, 2)
    assert geometry.spacing_for_levels(500.0).step == geometry.MAX_STEP


@pytest.mark.parametrize("sigma", [300.0, 2e5])
def test_a_very_wide_gaussian_is_fitted(sigma):
    factor = geometry.blur_factor(sigma, Spacing(8, 2), 34)
    weights = geometry.spline_weights(torch.tensor([0.3], dtype=torch.float64), 2)[0]
    first, last = weights @ factor[:3], weights @ factor[-3:]
    assert abs(float(first @ first) - 1) < 1e-4
    distance = 31 * 8 / sigma
    assert float(first @ last) == pytest.approx(
        float(torch.exp(torch.tensor(-0.5 * distance**2))), abs=1e-4
    )


def grids(monkeypatch, textured, sigma):
    """The same 8-bit colours summed by level, pixel by pixel, and as real numbers."""
    levels = textured(3, 20, 20).permute(1, 0, 2, 3).reshape(3, -1)
    group = torch.tensor([0, 2, 2]).repeat_interleave(400)
    by_level = ColorGrid.from_levels(levels, group, 3, sigma)
    monkeypatch.setattr(grid_torch, "LEVELS_PER_PIXEL", 0)
    by_pixel = ColorGrid.from_levels(levels, group, 3, sigma)
    real = ColorGrid.from_colors(levels.double(), group, 3, sigma)
    return by_level, by_pixel, real


def test_summing_equal_colours_first_gives_the_same_result(monkeypatch, textured):
    monkeypatch.setattr(grid_torch, "LEVELS_PER_PIXEL", 10**6)
    by_level, by_pixel, real = grids(monkeypatch, textured, 15.0)
    assert isinstance(by_level.splatter, Levels)
    assert isinstance(by_pixel.splatter, Colors)
    values = torch.randn(2, 1200, dtype=torch.float64)
    expected = by_level.apply(values)
    torch.testing.assert_close(by_pixel.apply(values), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(real.apply(values), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("chunk", [1, 2 * 54**3, 2 * 2 * 54**3])
def test_groups_in_several_chunks_give_the_same_result(monkeypatch, textured, chunk):
    monkeypatch.setattr(grid_torch, "LEVELS_PER_PIXEL", 10**6)
    by_level, by_pixel, _ = grids(monkeypatch, textured, 15.0)
    values = torch.randn(2, 1200, dtype=torch.float64)
    expected = by_level.apply(values)
    monkeypatch.setattr(grid_torch, "CHUNK_NODES", chunk)
    torch.testing.assert_close(by_level.apply(values), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(by_pixel.apply(values), expected, rtol=1e-12, atol=1e-12)


def test_cells_are_numbered_alike_by_sorting_and_by_table(monkeypatch):
    key = torch.randint(50, (200,)) * 7
    occupied, number = grid_torch.number_cells(key, 350)
    monkeypatch.setattr(grid_torch, "TABLE_LIMIT", 10)
    for a, b in zip((occupied, number), grid_torch.number_cells(key, 350), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(occupied[number], key)


def test_the_filter_of_the_grid_is_symmetric_and_positive():
    features = torch.rand(60, 3, dtype=torch.float64) * 12
    eye = torch.eye(60, dtype=torch.float64)
    matrix = gaussian_filter(eye, features, method="grid")
    torch.testing.assert_close(matrix, matrix.T, atol=1e-12, rtol=0)
    assert torch.linalg.eigvalsh(matrix).min() > -1e-10
    exact = gaussian_filter(eye, features, method="dense")
    assert (matrix - exact).abs().max() < 5e-3


def test_features_too_wide_for_the_grid_are_refused():
    with pytest.raises(ValueError, match=r"^features span"):
        gaussian_filter(torch.ones(2, 1), torch.tensor([[0.0] * 3, [200.0] * 3]), method="grid")


def test_features_below_zero_and_far_from_it_are_as_accurate(textured, features):
    points = features(textured(1, 16, 16), 15.0, None)
    values = torch.rand(256, 1, dtype=torch.float64)
    moved = gaussian_filter(values, points - 1000.1, method="grid")
    exact = gaussian_filter(values, points, method="dense")
    assert (moved - exact).norm() / exact.norm() < 2e-3
