"""The Triton backend matches the PyTorch backend: on a GPU, or in Triton's interpreter.

The PyTorch backend runs on the CPU. Interpreted kernels are slow, so that frames are small.
"""

from unittest.mock import Mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from colocam.kernels import crf_energy, gaussian_filter

pytest.importorskip("triton")

from colocam.kernels.color_grid import blur_triton, grid_torch, grid_triton
from colocam.kernels.color_grid.geometry import Spacing, spacing_for_colors
from colocam.kernels.color_grid.grid_triton import LevelGrid, NodeGrid, grid_for_features
from colocam.kernels.dense import DensePairs
from colocam.kernels.launch import SCRATCH_BYTES, Points, filter_in_passes, scratch_bytes
from colocam.kernels.permutohedral import lattice_triton
from colocam.kernels.permutohedral.geometry import STENCILS, stencil_of
from colocam.kernels.permutohedral.lattice_triton import TritonLattice

CLOSE = 1e-4  # relative to the largest value
METHODS = ("grid", "permutohedral", "spatial")
MIXED = torch.tensor([0, 3, 1, 3, 3])  # groups of unequal size in mixed order; group 2 is empty


def assert_near(actual, expected, bound=CLOSE):
    """No error larger than `bound` times the largest value."""
    assert actual.shape == expected.shape
    actual, expected = actual.detach().cpu().double(), expected.detach().cpu().double()
    scale = expected.abs().max().clamp_min(1e-30) if expected.numel() else 1
    error = (actual - expected).abs().amax() / scale if expected.numel() else 0
    assert error <= bound, f"relative error {error:.2e}"


def energy_and_gradient(images, probs, group, backend, method, *, num_groups=None, **options):
    """Energies, and the gradient of their sum with weights 1, 2, ...; "spatial": with position."""
    if method.startswith("spatial"):
        options = {"sigma_xy": 100.0, **options}
        method = method.replace("spatial", "permutohedral")
    options = {"sigma_rgb": 26.0, "form": "association", **options}
    leaf = probs.detach().requires_grad_()
    energy = crf_energy(
        images,
        leaf,
        group,
        num_groups=num_groups or int(group.max()) + 1,
        method=method,
        backend=backend,
        **options,
    )
    (energy * torch.arange(1, len(energy) + 1, device=energy.device)).sum().backward()
    return energy.detach(), leaf.grad


def compare_backends(device, images, probs, group, method, **options):
    """Both backends give the same energies and gradient; returns those of Triton."""
    expected = energy_and_gradient(images, probs, group, "torch", method, **options)
    on_device = (images.to(device), probs.to(device), group.to(device))
    energy, grad = energy_and_gradient(*on_device, "triton", method, **options)
    torch.testing.assert_close(energy.cpu(), expected[0], rtol=CLOSE, atol=1e-4)
    assert_near(grad, expected[1])
    return energy, grad


@pytest.fixture(scope="module")
def small(textured):
    """Frames cut out of larger ones: their colours occupy few cells, as in real frames."""

    def cut(frames, height, width):
        return textured(frames, 64, 64)[..., 20 : 20 + height, 20 : 20 + width]

    return cut


@pytest.fixture(scope="module")
def scene(small, maps):
    """Five small frames in four groups, one of them empty: (images, probs, group)."""
    return small(5, 5, 8), maps(5, 2, 5, 8, dtype=torch.float32), MIXED


@pytest.mark.parametrize(
    ("method", "form"),
    [
        ("grid", "association"),
        ("permutohedral", "association"),
        ("permutohedral", "cut"),
        ("spatial", "cut"),
    ],
)
def test_energies_and_gradients_match_the_torch_backend(device, scene, method, form):
    energy, _ = compare_backends(device, *scene, method, form=form)
    assert energy[2] == 0  # a group without frames


def test_features_are_limited(scene):
    images, probs, group = scene
    features = torch.randn(5, 2, 5, 8, generator=torch.Generator().manual_seed(2)) * 3
    far = features.clone()
    far[0, 0, 0, 0], features[0, 0, 0, 0] = 1e6, 4.0
    how = {"features": far, "feature_limit": 4.0}
    both = [
        energy_and_gradient(images, probs, group, "torch", "permutohedral", **how),
        energy_and_gradient(
            images, probs, group, "torch", "permutohedral",
            **how | {"features": features.clamp(-4, 4)},
        ),
    ]  # fmt: skip
    assert torch.equal(both[0][0], both[1][0])
    narrow, wide = (
        lattice_triton.table_capacity(10**6, 4, [1.0] * 5, [17.0] * 3 + [limit] * 2, True)
        for limit in (8.0, 80.0)
    )
    assert narrow.vertices < wide.vertices


@pytest.mark.parametrize(("count", "sigma_rgb"), [(2, 15.0), (3, None)])
def test_energies_with_features_match_the_torch_backend(device, scene, count, sigma_rgb):
    images, probs, group = scene
    features = torch.randn(5, count, 5, 8, generator=torch.Generator().manual_seed(2)) * 3
    both = [
        energy_and_gradient(
            images.to(to), probs.to(to), group.to(to), backend, "permutohedral",
            features=features.to(to), form="cut", sigma_rgb=sigma_rgb,
        )
        for to, backend in (("cpu", "torch"), (device, "triton"))
    ]  # fmt: skip
    torch.testing.assert_close(both[1][0].cpu(), both[0][0], rtol=CLOSE, atol=1e-4)
    assert_near(both[1][1], both[0][1])


def test_the_published_lattice_matches_the_torch_backend(device, scene):
    compare_backends(device, *scene, "spatial-published")


@pytest.mark.parametrize("method", METHODS)
def test_energies_of_real_frames_match_the_torch_backend(device, real_clips, maps, method):
    crops = [torch.from_numpy(frames[0][60:80, 60:78].copy()) for frames in real_clips.values()]
    images = torch.stack(crops).permute(0, 3, 1, 2)  # channels last in memory, as decoded
    group = torch.tensor([0, 2, 1, 2, 0])
    probs = maps(5, 2, 20, 18, dtype=torch.float32)
    compare_backends(device, images, probs, group, method, sigma_rgb=15.0)


@pytest.mark.parametrize(
    ("method", "count", "form"),
    [("grid", 3, "cut"), ("grid", 5, "association"), ("permutohedral", 5, "cut")],
)
def test_more_maps_than_one_launch_filters(device, small, maps, method, count, form):
    limits = {"grid": grid_triton.CHANNELS, "permutohedral": lattice_triton.CHANNELS}
    assert count > limits[method]
    probs = maps(2, count, 5, 7, dtype=torch.float32)
    compare_backends(device, small(2, 5, 7), probs, torch.tensor([1, 0]), method, form=form)


def test_five_maps_by_colour_and_position(device, small, maps):
    probs = maps(1, 5, 4, 7, dtype=torch.float32)
    compare_backends(device, small(1, 4, 7), probs, torch.tensor([0]), "spatial", form="cut")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(1, 1), (13, 5)])
def test_frames_of_one_pixel_and_of_prime_sides(device, small, maps, method, size):
    probs = maps(2, 2, *size, dtype=torch.float32)
    compare_backends(device, small(2, *size), probs, torch.tensor([1, 0]), method, sigma_rgb=19.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("colours", ["one", "extremes"])
def test_uniform_frames_and_the_corners_of_the_colour_cube(device, maps, method, colours):
    images = torch.full((2, 3, 8, 8), 255, dtype=torch.uint8)
    if colours == "extremes":
        corners = [[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)]
        rows = torch.tensor(corners, dtype=torch.uint8).T.reshape(3, 8, 1)
        images = rows.expand(2, 3, 8, 8).contiguous()
    probs = maps(2, 2, 8, 8, dtype=torch.float32)
    compare_backends(device, images, probs, torch.tensor([0, 0]), method)


@pytest.mark.parametrize(
    ("kind", "sigma"), [("levels", 6.5), ("levels", 300.0), ("colours", 4.0), ("colours", 24.0)]
)
def test_grids_of_different_cell_sizes(device, scene, monkeypatch, sigma, kind):
    """One, two and eight levels per cell; colours 0...31 keep the grid small."""
    for module in (grid_triton, grid_torch):
        monkeypatch.setattr(module, "LEVELS", 32)
    images, probs, group = scene
    images = images // 8
    if kind == "colours":
        images = images * 0.987 + 0.31
    compare_backends(device, images, probs, group, "grid", sigma_rgb=sigma)


def test_a_grid_with_a_node_per_colour_is_exact(device, scene, monkeypatch):
    monkeypatch.setattr(grid_triton, "LEVELS", 32)
    images, probs, group = scene
    images = images // 8
    exact = energy_and_gradient(images, probs, group, "torch", "dense", sigma_rgb=5.0)
    on_device = (images.to(device), probs.to(device), group.to(device))
    grid = energy_and_gradient(*on_device, "triton", "grid", sigma_rgb=5.0)
    assert_near(grid[0], exact[0], 1e-5)
    assert_near(grid[1], exact[1], 1e-5)


@pytest.mark.parametrize(
    ("method", "dtype"), [("grid", torch.float16), ("permutohedral", torch.float64)]
)
def test_colours_that_are_not_integers(device, scene, method, dtype):
    images, probs, group = scene
    images = (images * 0.984375 + 0.5).to(dtype)
    compare_backends(device, images, probs, group, method)


def points_of(count, d, channels, groups, extent, seed=0):
    """Values, features and unsorted groups of random points; the last group is empty."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, channels, generator=generator)
    features = (torch.rand(count, d, generator=generator) - 0.3) * extent
    return values, features, torch.randint(max(1, groups - 1), (count,), generator=generator)


@pytest.mark.parametrize(
    ("d", "method"),
    [*((d, "permutohedral") for d in sorted(STENCILS)), (3, "permutohedral-published")],
)
def test_filtered_points_match_the_torch_backend(device, d, method):
    values, features, group = points_of(300 // d**2 + 10, d, 3, 4, 5.0)
    expected = gaussian_filter(values, features, group, num_groups=4, method=method)
    on_device = (values.to(device), features.to(device), group.to(device))
    out = gaussian_filter(*on_device, num_groups=4, method=method, backend="triton")
    assert_near(out, expected)


def test_features_filtered_on_the_grid_match_the_torch_backend(device):
    values, features, group = points_of(200, 3, 3, 3, 7.0)
    for shift in (0.0, -50.0):
        expected = gaussian_filter(values, features + shift, group, num_groups=3, method="grid")
        on_device = (values.to(device), (features + shift).to(device), group.to(device))
        out = gaussian_filter(*on_device, num_groups=3, method="grid", backend="triton")
        assert_near(out, expected)


def test_features_on_the_border_of_a_cell_are_on_the_grid(device):
    """At thirds quotient and product round to different cells."""
    thirds = torch.tensor([5 / 3, 7 / 3, torch.nextafter(torch.tensor(-63.0), torch.tensor(-64.0))])
    for end in thirds.tolist():
        for side in (1, -1):
            features = end + side * torch.arange(6).float()[:, None].expand(6, 3)
            values = torch.ones(6, 1)
            out = gaussian_filter(
                values.to(device), features.to(device), method="grid", backend="triton"
            )
            assert_near(out, gaussian_filter(values, features, method="grid"))


@pytest.mark.parametrize("method", ["grid", "permutohedral"])
def test_first_and_second_derivatives_match_the_torch_backend(device, method):
    values, features, group = points_of(40, 3, 2, 3, 5.0)
    results = {}
    for backend, target in (("torch", torch.device("cpu")), ("triton", device)):
        leaf = values.to(target).requires_grad_()
        where = (features.to(target), group.to(target))
        out = gaussian_filter(leaf, *where, num_groups=3, method=method, backend=backend)
        (grad,) = torch.autograd.grad(out.square().sum(), leaf, create_graph=True)
        (second,) = torch.autograd.grad(grad.sum(), leaf)
        results[backend] = (grad, second)
    assert results["torch"][1].abs().max() > 0
    for actual, expected in zip(results["triton"], results["torch"], strict=True):
        assert_near(actual, expected)


@pytest.mark.parametrize(
    ("method", "layout"),
    [
        ("grid", "strided"),
        ("grid", "expanded"),
        ("permutohedral", "channels last"),
        ("permutohedral", "expanded"),
        ("spatial", "strided"),
    ],
)
def test_the_memory_layout_does_not_change_the_result(device, scene, method, layout):
    images, probs, group = (x[:3].to(device) for x in scene)
    if layout == "expanded":
        images, probs = images[:1].expand(3, -1, -1, -1), probs[:1].expand(3, -1, -1, -1)
    expected = energy_and_gradient(
        images.contiguous(), probs.contiguous(), group, "triton", method, num_groups=4
    )
    if layout == "channels last":
        images = images.contiguous(memory_format=torch.channels_last)
        probs = probs.contiguous(memory_format=torch.channels_last)
    if layout == "strided":
        images = images.repeat_interleave(2, 3)[..., ::2]
        probs = probs.repeat_interleave(3, 2)[:, :, ::3].transpose(0, 1).contiguous()
        probs = probs.transpose(0, 1)
        group = group.repeat_interleave(2)[::2]
    if layout != "expanded":
        assert not images.is_contiguous()
        assert not probs.is_contiguous()
    actual = energy_and_gradient(images, probs, group, "triton", method, num_groups=4)
    assert_near(actual[0], expected[0], 1e-6)
    assert_near(actual[1], expected[1], 1e-6)


def test_strided_and_expanded_values_and_features_give_the_same_result(device):
    values, features, group = (x.to(device) for x in points_of(40, 3, 2, 3, 5.0))
    arguments = {"num_groups": 3, "method": "permutohedral", "backend": "triton"}
    expanded = values[:1].expand(40, 2)
    expected = gaussian_filter(values, features, group, **arguments)
    twice = group.repeat_interleave(2)
    strided = (values.T.contiguous().T, features.repeat(1, 2)[:, :3], twice[::2])
    assert_near(gaussian_filter(*strided, **arguments), expected, 1e-6)
    expected = gaussian_filter(expanded.contiguous(), features, group, **arguments)
    assert_near(gaussian_filter(expanded, features, group, **arguments), expected, 1e-6)


def filters_of(images):
    """Filters of four images in three groups, one of them empty, by name."""
    group = torch.tensor([2, 0, 0, 2], device=images.device)
    points = Points(images, group, 3, colors=True)
    floats = Points(images.float(), group, 3, colors=True)
    features = Points(images.float() / 15, group, 3, colors=False)
    spacing = spacing_for_colors(30.0)
    stencil, ring = stencil_of("permutohedral", 5)
    return {
        "levels": LevelGrid(points, 30.0, spacing),
        "nodes": NodeGrid(floats, 30.0, spacing, (34,) * 3),
        "features": grid_for_features(features),
        "lattice": TritonLattice(
            points, [30.0] * 3 + [100.0] * 2, xy=True, stencil=stencil, ring=ring
        ),
    }


@pytest.mark.parametrize("name", ["levels", "nodes", "features", "lattice"])
def test_a_pass_per_group_gives_the_result_of_one_pass(device, small, maps, name):
    images = small(4, 4, 6).to(device)
    values = maps(4, 2, 4, 6, dtype=torch.float32).to(device)
    built = filters_of(images)[name]
    at_once = built.apply(values)
    assert at_once.is_contiguous()
    assert_near(built.apply(values, limit=1), at_once, 1e-6)


@pytest.mark.parametrize("name", ["levels", "nodes", "lattice"])
def test_small_blocks_give_the_same_result(device, small, maps, monkeypatch, name):
    """Many programs per launch, several iterations of loops over lists, copies of sums."""
    images = small(4, 8, 6).to(device)
    values = maps(4, 2, 8, 6, dtype=torch.float32).to(device)
    expected = filters_of(images)[name].apply(values)
    sizes = {grid_triton: {"BLOCK": 32}, lattice_triton: {"BLOCK": 128}}
    sizes[grid_triton] |= {"WORD_BLOCK": 2048, "ROW_BLOCK": 16, "MANY": 1}
    sizes[blur_triton] = {"BLUR_LINES": 512}
    sizes[lattice_triton] |= {"ROW_BLOCK": 256}
    for module, changed in sizes.items():
        for constant, size in changed.items():
            assert hasattr(module, constant)
            monkeypatch.setattr(module, constant, size)
    assert_near(filters_of(images)[name].apply(values), expected, 1e-6)


def test_a_grid_of_unequal_sides_with_a_node_per_colour_is_exact(device):
    generator = torch.Generator().manual_seed(0)
    sides = torch.tensor([5, 9, 3])
    colours = (torch.rand(40, 3, generator=generator) * sides).floor()
    values, group = torch.rand(40, 2, generator=generator), torch.arange(40) % 3
    points = Points(colours.view(40, 3, 1, 1).to(device), group.to(device), 3, colors=True)
    built = NodeGrid(points, 2.0, Spacing(1, 0), (5, 9, 3))
    out = built.apply(values[:, :, None, None].to(device)).flatten(1)
    assert_near(out, DensePairs(colours / 2, group, 3).apply(values.T).T, 1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_two_runs_give_the_same_bits_and_doubled_values_scale_the_result(device, scene, method):
    images, probs, group = (x[:3].to(device) for x in scene)
    first = energy_and_gradient(images, probs, group, "triton", method)
    second = energy_and_gradient(images, probs, group, "triton", method)
    doubled = energy_and_gradient(images, 2 * probs, group, "triton", method)
    for k, factor in enumerate((4, 2)):
        assert torch.equal(second[k], first[k])
        assert_near(doubled[k], factor * first[k], 1e-5)


@pytest.mark.parametrize(
    ("method", "dtype"),
    [("grid", torch.float16), ("permutohedral", torch.bfloat16)],
)
def test_half_precision_and_autocast_are_computed_in_float32(device, scene, method, dtype):
    images, probs, group = (x[:2].to(device) for x in scene)
    half = probs.to(dtype)
    expected = energy_and_gradient(images, half.float(), group, "triton", method, num_groups=4)
    with torch.autocast(device.type, dtype=dtype):
        energy, grad = energy_and_gradient(images, half, group, "triton", method, num_groups=4)
    assert energy.dtype == torch.float32
    assert grad.dtype == dtype
    assert_near(energy, expected[0], 1e-6)
    assert_near(grad, expected[1].to(dtype), 1e-6)


@pytest.mark.parametrize("method", ["grid", "permutohedral", "dense"])
def test_the_torch_backend_ignores_reduced_matmul_precision(device, scene, method):
    images, probs, group = (x[:3].to(device) for x in scene)
    expected = energy_and_gradient(images, probs, group, "torch", method, num_groups=4)
    torch.set_float32_matmul_precision("high")
    try:
        actual = energy_and_gradient(images, probs, group, "torch", method, num_groups=4)
    finally:
        torch.set_float32_matmul_precision("highest")
    for one, other in zip(actual, expected, strict=True):
        assert_near(one, other, 1e-5)


def test_half_precision_values_are_filtered_in_float32(device):
    values, features, group = (x.to(device) for x in points_of(60, 3, 2, 3, 5.0))
    arguments = {"num_groups": 3, "backend": "triton"}
    out = gaussian_filter(values.half(), features, group, **arguments)
    expected = gaussian_filter(values.half().float(), features, group, **arguments)
    assert out.dtype == torch.float16
    assert_near(out, expected.half(), 1e-6)


def test_a_million_pixels_of_one_colour_are_summed_without_rounding_error(device):
    size = (1000, 1200) if device.type == "cuda" else (100, 120)  # the interpreter is slow
    images = torch.full((1, 3, *size), 37, dtype=torch.uint8, device=device)
    single = torch.tensor([0.3, 0.7], device=device).view(1, 2, 1, 1)
    group = torch.zeros(1, dtype=torch.int64, device=device)
    for method in ("grid", "permutohedral"):
        one, many = (
            crf_energy(
                images[..., :height, :width],
                single.expand(1, 2, height, width),
                group,
                num_groups=1,
                sigma_rgb=15.0,
                form="association",
                method=method,
                backend="triton",
            )
            for height, width in ((1, 1), images.shape[2:])
        )
        assert abs(float(many.double() / one.double()) / (size[0] * size[1]) ** 2 - 1) < 1e-5, (
            method
        )


def test_more_points_than_int32_indexes_are_refused():
    images = torch.zeros(1, 3, 1, 1, dtype=torch.uint8).expand(2**15, 3, 2**8, 2**8)
    points = Points(images, torch.zeros(2**15, dtype=torch.int64), 1, colors=True)
    with pytest.raises(ValueError, match="2147483648 pixels or points"):
        filter_in_passes(points, images[:, :2], 4, lambda groups, maps: 0, lambda window: None)


def test_scratch_memory_grows_with_the_memory_of_the_gpu(monkeypatch):
    for whole, expected in ((8 * 2**30, SCRATCH_BYTES), (80 * 2**30, 5 * 2**30)):
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda _, whole=whole: Mock(total_memory=whole)
        )
        assert scratch_bytes.__wrapped__(torch.device("cuda")) == expected
    assert scratch_bytes(torch.device("cpu")) == SCRATCH_BYTES


@pytest.mark.parametrize("method", METHODS)
def test_empty_input_gives_empty_results(device, method):
    images = torch.zeros(0, 3, 4, 4, dtype=torch.uint8, device=device)
    probs, group = torch.zeros(0, 2, 4, 4, device=device), torch.zeros(0, device=device).long()
    energy, grad = energy_and_gradient(images, probs, group, "triton", method, num_groups=3)
    assert energy.tolist() == [0, 0, 0]
    assert grad.shape == (0, 2, 4, 4)
    for shape in ((0, 2), (3, 0)):
        values, features = torch.zeros(shape), torch.zeros(shape[0], 3)
        out = gaussian_filter(values.to(device), features.to(device), backend="triton")
        assert out.shape == shape


@settings(max_examples=3, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 2), min_size=1, max_size=3),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
    sigma=st.floats(15.0, 60.0),
    sigma_xy=st.one_of(st.none(), st.floats(20.0, 200.0)),
    form=st.sampled_from(("association", "cut")),
    spread=st.sampled_from((0, 3, 20)),
    seed=st.integers(0, 10**6),
)
def test_energies_of_any_frames_match_the_torch_backend(
    device, maps, sizes, height, width, sigma, sigma_xy, form, spread, seed
):
    generator = torch.Generator().manual_seed(seed)
    group = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    group = group[torch.randperm(len(group), generator=generator)]
    images = torch.randint(0, spread + 1, (len(group), 3, height, width), generator=generator)
    images, probs = images.to(torch.uint8), maps(len(group), 2, height, width, seed)
    options = {"sigma_rgb": sigma, "form": form, "num_groups": len(sizes)}
    for method in ("permutohedral",) + (("grid",) if sigma_xy is None else ()):
        compare_backends(device, images, probs.float(), group, method, sigma_xy=sigma_xy, **options)
