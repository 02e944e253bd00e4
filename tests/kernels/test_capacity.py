"""Capacity of the lattice's tables: at least the largest possible number of vertices."""

import itertools
import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from colocam.kernels import gaussian_filter

pytest.importorskip("triton")

from colocam.kernels.launch import Points, Window
from colocam.kernels.permutohedral.capacity import table_capacity
from colocam.kernels.permutohedral.geometry import (
    STENCILS,
    axis_factors,
    elevate,
    enclosing_simplex,
    stencil_of,
)
from colocam.kernels.permutohedral.lattice_torch import PermutohedralLattice, locate
from colocam.kernels.permutohedral.lattice_triton import Tables, TritonLattice


def filled(lattice, device):
    """Counters of one pass over all groups: simplices, occupied vertices, vertices of the ring."""
    groups = lattice.points.num_groups
    invalid_groups = torch.zeros(groups + 1, dtype=torch.int32, device=device)
    window = Window(-(2**62), 2**62, 0, groups, invalid_groups, 1.0)
    simplex_of = torch.empty(lattice.points.count, dtype=torch.int32, device=device)
    tables = Tables(lattice, window, simplex_of)
    assert not invalid_groups.any()
    return tables.counters.tolist()


def vertices_and_ring(features, factors):
    """The same numbers, counted with sets of coordinates for one group: features (d, P)."""
    d = len(features)
    origin, rank, _ = enclosing_simplex(elevate(features, factors))
    simplices, vertices = set(), set()
    for o, r in zip(origin.T.tolist(), rank.T.tolist(), strict=True):
        simplices.add((*o, *r))
        for k in range(d + 1):
            corner = [(d + 1) * a + k - (d + 1) * (b > d - k) for a, b in zip(o, r, strict=True)]
            vertices.add(tuple(corner))
    around = set()
    for vertex, axis, sign in itertools.product(vertices, range(d + 1), (1, -1)):
        step = [v + sign * (1 - (d + 1) * (i == axis)) for i, v in enumerate(vertex)]
        around.add(tuple(step))
    return len(simplices), len(vertices), len(around - vertices)


def lattice_of(images, group, num_groups, sigma_rgb, sigma_xy):
    sigmas = [sigma_rgb] * 3 + ([] if sigma_xy is None else [sigma_xy] * 2)
    points = Points(images, group, num_groups, colors=True)
    xy = sigma_xy is not None
    return TritonLattice(points, sigmas, xy=xy, stencil=STENCILS[len(sigmas)])


@pytest.mark.parametrize("d", [3, 5])
def test_points_without_shared_vertices_reach_the_capacity(device, d):
    """The worst case: no two points share a simplex, a vertex or a neighbour of one."""
    count = 24 if d == 3 else 8
    torch.manual_seed(0)
    features = torch.rand(count, d) + 12 * torch.arange(count)[:, None]
    points = Points(
        features[:, :, None, None].to(device), torch.zeros(count, dtype=torch.int64, device=device),
        1, colors=False,
    )  # fmt: skip
    lattice = TritonLattice(points, [1.0] * d, xy=False, stencil=STENCILS[d])
    simplices, occupied, ring = filled(lattice, device)
    bound = lattice.capacity(1)
    assert (simplices, occupied + ring) == (count, count * 2 * d * (d + 1))
    assert (simplices, occupied + ring) == (bound.simplices, bound.vertices)
    values = torch.rand(count, 2)
    out = lattice.apply(values[:, :, None, None].to(device)).flatten(1).cpu()
    torch.testing.assert_close(out, gaussian_filter(values, features, backend="torch"))


@pytest.mark.parametrize(("sigma", "side"), [(120.0, 24), (60.0, 40)])
def test_noise_over_all_colours_stays_within_the_capacity(device, sigma, side):
    """More pixels than the colour cube has simplices: the bound by extents applies."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8)
    corners = torch.tensor(list(itertools.product((0, 255), repeat=3)), dtype=torch.uint8)
    images[0, :, 0, :8] = corners.T
    group = torch.zeros(1, dtype=torch.int64)
    lattice = lattice_of(images.to(device), group.to(device), 1, sigma, None)
    by_points = table_capacity(side * side, 1, lattice.factors, None, True)
    bound = lattice.capacity(1)
    assert bound.vertices < by_points.vertices / 4  # the bound by extents
    simplices, occupied, ring = filled(lattice, device)
    features = images[0].flatten(1).float()
    assert (simplices, occupied, ring) == vertices_and_ring(features, lattice.factors)
    assert bound.vertices / 6 < occupied + ring <= bound.vertices
    assert simplices <= bound.simplices
    maps = torch.rand(1, 2, side, side)
    out = lattice.apply(maps.to(device)).flatten(2)[0].T.cpu()
    expected = gaussian_filter(maps.flatten(2)[0].T, features.T / sigma, backend="torch")
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    sigma_rgb=st.floats(20, 300),
    sigma_xy=st.one_of(st.none(), st.floats(1, 100)),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    groups=st.integers(1, 3),
)
def test_random_images_stay_within_the_capacity(
    device, seed, sigma_rgb, sigma_xy, height, width, groups
):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (groups, 3, height, width), generator=generator)
    images = images.to(torch.uint8).to(device)
    group = torch.arange(groups, device=device)
    lattice = lattice_of(images, group, groups, sigma_rgb, sigma_xy)
    simplices, occupied, ring = filled(lattice, device)
    bound = lattice.capacity(groups)
    assert simplices <= bound.simplices
    assert occupied + ring <= bound.vertices


@pytest.mark.parametrize("d", [1, 2, 3, 4, 5])
def test_a_densely_filled_box_stays_within_the_bound_by_extents(d):
    """Counted with sets of coordinates: points so dense that they occupy every simplex."""
    side = {1: 40.0, 2: 5.0, 3: 2.0, 4: 0.8, 5: 0.4}[d]
    torch.manual_seed(0)
    count = 4000
    features = torch.rand(d, count) * side
    features[:, : 2**d] = torch.tensor(list(itertools.product((0.0, side), repeat=d))).T
    factors = axis_factors([1.0] * d, STENCILS[d].scale)
    simplices, occupied, ring = vertices_and_ring(features, factors)
    bound = table_capacity(10**9, 1, factors, [side] * d, True)
    without = table_capacity(10**9, 1, factors, [side] * d, False)
    assert simplices <= bound.simplices
    assert occupied <= without.vertices
    assert occupied + ring <= bound.vertices
    assert math.log10(bound.vertices / (occupied + ring)) < 1.5  # and the bound is not too loose


@settings(max_examples=60, deadline=None)
@given(
    side=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    frames=st.integers(1, 4),
    groups=st.integers(1, 4),
    sigma=st.floats(2.0, 400.0),
    sigma_xy=st.one_of(st.none(), st.floats(0.5, 300.0)),
    colours=st.integers(1, 600),
    corners=st.booleans(),
    published=st.booleans(),
    seed=st.integers(0, 10**6),
)
@example((24, 24), 4, 1, 30.0, 1.0, 600, False, False, 0)
@example((24, 24), 1, 4, 300.0, None, 600, True, False, 1)
def test_bounds_hold_for_few_and_many_colours_groups_and_stencils(
    side, frames, groups, sigma, sigma_xy, colours, corners, published, seed
):
    """Counted by the PyTorch backend, which builds the same simplices and vertices faster."""
    generator = torch.Generator().manual_seed(seed)
    palette = torch.rand(3, colours, generator=generator) * 255
    if corners:
        palette = palette.div(255).round() * 255
    height, width = side
    points = frames * height * width
    features = palette[:, torch.randint(colours, (points,), generator=generator)]
    sigmas, extents = [sigma] * 3, [255.0] * 3
    if sigma_xy is not None:
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        features = torch.cat([features, torch.stack([x, y]).flatten(1).repeat(1, frames)])
        sigmas, extents = [*sigmas, sigma_xy, sigma_xy], [*extents, width - 1.0, height - 1.0]
    group = torch.randint(groups, (frames,), generator=generator)
    group = group.repeat_interleave(height * width)
    method = "permutohedral-published" if published else "permutohedral"
    stencil, ring = stencil_of(method, len(sigmas))
    factors = axis_factors(sigmas, stencil.scale)
    simplices = len(torch.unique(locate(features, group, groups, factors, stencil)[0]))
    lattice = PermutohedralLattice(
        features, group, groups, sigmas=sigmas, stencil=stencil, ring=ring
    )
    for bound in (
        table_capacity(points, groups, factors, None, ring),
        table_capacity(10**9, groups, factors, extents, ring),
        table_capacity(points, groups, factors, extents, ring),
    ):
        assert simplices <= bound.simplices
        assert lattice.count <= bound.vertices
