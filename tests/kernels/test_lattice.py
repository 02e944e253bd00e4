"""Permutohedral lattice: geometry, keys, symmetry of the filter."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from colocam.kernels import gaussian_filter
from colocam.kernels.permutohedral.geometry import (
    STENCILS,
    Keys,
    Stencil,
    axis_factors,
    elevate,
    enclosing_simplex,
    published_stencil,
    self_weight,
)
from colocam.kernels.permutohedral.lattice_torch import PermutohedralLattice, find_neighbors
from colocam.kernels.sorted_keys import search_sorted, sorted_unique


def vertex_coordinates(origin, rank):
    """All d+1 coordinates of the simplex's vertices: (d+1 vertices, d+1 coordinates, P)."""
    sides = len(origin)
    d = sides - 1
    return torch.stack([origin * sides + k - sides * (rank > d - k).int() for k in range(sides)])


@pytest.mark.parametrize("d", sorted(STENCILS))
def test_a_point_is_the_weighted_mean_of_its_vertices(d):
    torch.manual_seed(d)
    elevated = elevate(torch.randn(d, 500, dtype=torch.float64) * 9, axis_factors([1.0] * d, 1.0))
    torch.testing.assert_close(
        elevated.sum(0), torch.zeros(500, dtype=torch.float64), atol=1e-10, rtol=0
    )
    origin, rank, weights = enclosing_simplex(elevated)
    assert (weights > -1e-12).all()
    torch.testing.assert_close(weights.sum(0), torch.ones(500, dtype=torch.float64))
    vertices = vertex_coordinates(origin, rank)
    assert (vertices.sum(1) == 0).all()
    for k in range(d + 1):
        assert (vertices[k] % (d + 1) == k).all()
    mean = (vertices * weights[:, None]).sum(0)
    torch.testing.assert_close(mean, elevated, atol=1e-9, rtol=0)


@pytest.mark.parametrize("d", sorted(STENCILS))
def test_ranks_are_permutations_also_on_vertices_and_edges(d):
    whole = torch.tensor(list(itertools.product((-1.0, 0.0, 0.5, 2.0), repeat=d))).T
    origin, rank, weights = enclosing_simplex(torch.cat([whole, -whole.sum(0, keepdim=True)]))
    expected = torch.arange(d + 1, dtype=torch.int32)[:, None].expand_as(rank)
    assert torch.equal(rank.sort(0).values, expected)
    assert (origin.sum(0) == 0).all()
    assert (weights >= -1e-6).all()


@pytest.mark.parametrize("d", [1, 3, 5])
def test_elevation_keeps_distances_up_to_one_factor(d):
    points = torch.randn(d, 40, dtype=torch.float64)
    elevated = elevate(points, axis_factors([1.0] * d, 1.3))
    ratio = torch.pdist(elevated.T) / torch.pdist(points.T)
    torch.testing.assert_close(ratio, torch.full_like(ratio, 1.3 * (d + 1)))


@pytest.mark.parametrize("d", sorted(STENCILS))
def test_keys_of_vertices_and_their_neighbours_never_collide(d):
    """Two keys are equal exactly if group and coordinates are, up to two steps from a vertex."""
    torch.manual_seed(d)
    points, groups = 60, 3
    group = torch.randint(groups, (points,))
    origin, rank, _ = enclosing_simplex(
        elevate(torch.rand(d, points) * 8 - 3, axis_factors([1.0] * d, 1.0))
    )
    low, high = (b.tolist() for b in origin[:d].aminmax(dim=1))
    keys = Keys(low, high, groups)
    simplex = keys.pack_simplex(group, origin, rank)
    vertices = vertex_coordinates(origin, rank)  # (d+1, d+1, P)
    rows = torch.cat([group.expand(d + 1, 1, points), vertices], 1)
    rows = rows.permute(0, 2, 1).reshape(-1, d + 2)
    packed = keys.vertices(simplex).reshape(-1)
    for _ in range(keys.MARGIN):
        more_rows, more_keys = [rows], [packed]
        for axis, step in enumerate(keys.axis_steps()):
            move = torch.ones(d + 2, dtype=torch.int64)
            move[0], move[1 + axis] = 0, -d
            for sign in (1, -1):
                more_rows.append(rows + sign * move)
                more_keys.append(packed + sign * step)
        rows, packed = torch.cat(more_rows), torch.cat(more_keys)
        order = torch.randperm(len(rows))[:20000]
        rows, packed = rows[order], packed[order]
    different = {tuple(r) for r in rows.tolist()}
    assert len(different) == len(set(packed.tolist()))
    assert len({(*r, k) for r, k in zip(rows.tolist(), packed.tolist(), strict=True)}) == len(
        different
    )
    assert packed.min() >= 0
    assert packed.max() < 2**62


@given(st.lists(st.integers(-(2**62), 2**62)), st.lists(st.integers(-(2**62), 2**62)))
def test_sorted_keys_match_torch(keys, searched):
    keys, searched = (torch.tensor(k, dtype=torch.int64) for k in (keys, searched))
    ordered = sorted_unique(keys)
    assert torch.equal(ordered, torch.unique(keys))
    assert torch.equal(search_sorted(ordered, searched), torch.searchsorted(ordered, searched))


def test_neighbours_are_mutual():
    keys = torch.tensor([1, 4, 5, 9, 14])
    after, before = find_neighbors(keys, 4)
    assert after.tolist() == [2, 5, 3, 5, 5, 5]
    assert before.tolist() == [5, 5, 0, 2, 5, 5]
    after, before = find_neighbors(keys, -5)
    assert after.tolist() == [5, 5, 5, 1, 3, 5]
    assert before.tolist() == [5, 3, 5, 4, 5, 5]


@pytest.mark.parametrize("d", sorted(STENCILS))
def test_self_weight_is_the_diagonal_of_the_unnormalized_filter(d):
    """In a lattice without missing vertices around the pixels."""
    torch.manual_seed(d)
    points = torch.rand(d, {1: 50, 2: 400, 3: 2000, 4: 6000, 5: 20000}[d], dtype=torch.float64) * 5
    points[:, :5] = 2 + torch.rand(d, 5, dtype=torch.float64)
    plain = Stencil(0.9, 0.55, 1.0, self_normalized=False)
    lattice = PermutohedralLattice(points, torch.zeros_like(points[0]).long(), 1, stencil=plain)
    single = torch.zeros(5, points.shape[1], dtype=torch.float64)
    single[:, :5] = torch.eye(5)
    diagonal = lattice.apply(single)[:, :5].diagonal()
    _, _, weights = enclosing_simplex(elevate(points[:, :5], axis_factors([1.0] * d, 0.9)))
    torch.testing.assert_close(diagonal, self_weight(weights, 0.55), rtol=1e-3, atol=0)


@pytest.mark.parametrize("d", [3, 5])
@pytest.mark.parametrize("ring", [True, False])
def test_the_filter_is_symmetric_where_vertices_are_missing(d, ring):
    torch.manual_seed(0)
    lattice = PermutohedralLattice(
        torch.rand(d, 40, dtype=torch.float64) * 6, torch.zeros(40, dtype=torch.int64), 1, ring=ring
    )
    matrix = lattice.apply(torch.eye(40, dtype=torch.float64))
    assert matrix.diagonal().min() > 0.4
    torch.testing.assert_close(matrix, matrix.T, atol=1e-12, rtol=0)


def test_the_ring_connects_pixels_without_common_vertices():
    """Two pixels 1.7 sigma apart, none between them: without the ring their weight is too small."""
    torch.manual_seed(1)
    start = torch.rand(200, 3, dtype=torch.float64) * 9
    offset = torch.nn.functional.normalize(torch.randn(200, 3, dtype=torch.float64), dim=1) * 1.7
    points = torch.stack([start, start + offset], 1).view(-1, 3)
    pairs = torch.arange(400) // 2
    values = torch.tensor([[1.0], [0.0]], dtype=torch.float64).repeat(200, 1)
    weight = {}
    for ring in (True, False):
        lattice = PermutohedralLattice(points.T, pairs, 200, ring=ring)
        weight[ring] = float(lattice.apply(values.T)[0, 1::2].mean())
    exact = float(torch.exp(torch.tensor(-0.5 * 1.7**2)))
    assert abs(weight[True] / exact - 1) < 0.12
    assert weight[False] < 0.85 * weight[True]


def test_pixels_without_shared_simplices_are_filtered():
    """Nearly the largest number of vertices: (d+1) per pixel and their rings, few shared."""
    d, points = 5, 300
    features = torch.rand(points, d, generator=torch.Generator().manual_seed(0)) * 150
    lattice = PermutohedralLattice(features.T, torch.zeros(points, dtype=torch.int64), 1)
    assert lattice.count <= points * 2 * d * (d + 1)
    assert lattice.count > points * (d + 1) * 4
    ones = lattice.apply(torch.ones(1, points))
    assert ones.min() >= 0.8


def test_features_too_wide_for_the_keys_are_refused():
    with pytest.raises(ValueError, match=r"^features span"):
        gaussian_filter(torch.ones(2, 1), torch.tensor([[0.0] * 5, [1e5] * 5]))


def test_the_published_amplitude_is_the_published_one():
    stencil = published_stencil(3)
    assert stencil.amplitude == pytest.approx(1 / 1.125)
    assert stencil.neighbor == 0.5
    single = gaussian_filter(torch.ones(1, 1), torch.zeros(1, 3), method="permutohedral-published")
    # the four vertices of a simplex form a cycle of one step along each axis: besides 1, a value
    # reaches its own vertex once around it
    assert float(single) == pytest.approx((1 + 0.5**4) / 1.125, rel=1e-6)
