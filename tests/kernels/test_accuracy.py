"""Accuracy of every method against the exact filter, on real, drawn and synthetic frames."""

import pytest
import torch

from colocam.kernels import crf_energy, gaussian_filter
from colocam.kernels.permutohedral.geometry import STENCILS


def filtered(case, method):
    return gaussian_filter(
        case.values.float(), case.features.float(), case.pixel_group, method=method
    ).double()


def filter_error(case, method):
    """Relative error of the filtered maps (without the ones)."""
    exact = case.exact[:, :2]
    return float((filtered(case, method)[:, :2] - exact).norm() / exact.norm())


def energy_error(case, method, form):
    """Largest relative error over the groups, the exact one from the exact filtered maps."""
    s, w = case.values[:, :2], case.exact[:, :2]
    pixel = s[:, 0] * w[:, 1] + s[:, 1] * w[:, 0] if form == "cut" else -(s * w).sum(1)
    groups = int(case.group.max()) + 1
    exact = pixel.new_zeros(groups).index_add_(0, case.pixel_group, pixel)
    energy = crf_energy(
        case.images,
        case.probs.float(),
        case.group,
        num_groups=groups,
        sigma_rgb=15.0,
        sigma_xy=case.sigma_xy,
        form=form,
        method=method,
    )
    return float(((energy.double() - exact) / exact).abs().max())


def check(cases, method, filter_bound, energy_bound):
    assert cases
    for case in cases:
        assert filter_error(case, method) <= filter_bound, case.name
        for form in ("cut", "association"):
            assert energy_error(case, method, form) <= energy_bound, (case.name, form)


def by_color(cases):
    return [case for case in cases if case.sigma_xy is None]


def by_color_and_position(cases):
    return [case for case in cases if case.sigma_xy is not None]


CASES = ("real_cases", "drawn_cases", "synthetic_cases")


@pytest.mark.parametrize("cases", CASES)
def test_the_grid_is_within_a_thousandth(request, cases):
    check(by_color(request.getfixturevalue(cases)), "grid", 0.001, 0.0005)


@pytest.mark.parametrize("cases", CASES)
def test_the_lattice_of_color_is_within_four_percent(request, cases):
    check(by_color(request.getfixturevalue(cases)), "permutohedral", 0.04, 0.035)


@pytest.mark.parametrize(
    ("cases", "energy"), [("real_cases", 0.035), ("drawn_cases", 0.04), ("synthetic_cases", 0.035)]
)
def test_the_lattice_of_color_and_position_is_within_five_percent(request, cases, energy):
    check(by_color_and_position(request.getfixturevalue(cases)), "permutohedral", 0.05, energy)


def test_the_published_lattice_is_far_too_small_on_real_frames(real_cases):
    brackets = [(by_color, 0.19, 0.33), (by_color_and_position, 0.39, 0.52)]
    for chosen, low, high in brackets:
        for case in chosen(real_cases):
            assert low < filter_error(case, "permutohedral-published") < high, case.name
            ratio = filtered(case, "permutohedral-published")[:, 2].sum() / case.exact[:, 2].sum()
            assert 1 - high < ratio < 1 - low, case.name


@pytest.mark.parametrize("cases", CASES)
@pytest.mark.parametrize(
    ("method", "least"), [("dense", 1 - 1e-6), ("grid", 0.995), ("permutohedral", 0.9)]
)
def test_filtered_ones_include_each_pixel_itself(request, cases, method, least):
    for case in request.getfixturevalue(cases):
        if method == "permutohedral" or (case.sigma_xy is None and method == "grid"):
            assert filtered(case, method)[:, 2].min() >= least, case.name
        elif method == "dense":
            assert case.exact[:, 2].min() >= least, case.name


@pytest.mark.parametrize("d", sorted(STENCILS))
def test_a_single_pixel_keeps_its_value_at_any_position_in_the_lattice(d):
    points = torch.rand(4000, d, generator=torch.Generator().manual_seed(d)) * 17
    alone = torch.arange(4000)
    ones = gaussian_filter(torch.ones(4000, 1), points, alone, method="permutohedral")
    assert ones.min() >= 0.9
    assert ones.max() <= 1.03


@pytest.mark.parametrize("d", [1, 2, 4])
def test_the_lattice_is_calibrated_for_every_number_of_features(textured, features, maps, d):
    points = features(textured(1, 48, 48), 15.0, 60.0)
    if d == 4:
        points = points[:, :4]
    elif d == 2:
        points = points[:, [0, 2]]
    else:
        points = points[:, :3].mean(1, keepdim=True)
    values = maps(1, 2, 48, 48).permute(0, 2, 3, 1).reshape(-1, 2)
    exact = gaussian_filter(values, points, method="dense")
    lattice = gaussian_filter(values, points, method="permutohedral")
    assert (lattice - exact).norm() / exact.norm() <= 0.05


@pytest.mark.parametrize("sigma", [1.0, 5.0, 6.0, 9.5, 15.0, 24.0, 60.0])
def test_grid_energy_and_gradient_are_accurate_at_any_sigma(textured, features, maps, sigma):
    images = textured(1, 32, 32)
    values = maps(1, 2, 32, 32)
    energy = {}
    for method in ("grid", "dense"):
        probs = values.clone().requires_grad_()
        energy[method] = crf_energy(
            images,
            probs,
            torch.zeros(1, dtype=torch.int64),
            num_groups=1,
            sigma_rgb=sigma,
            form="association",
            method=method,
        )
        energy[method].sum().backward()
        energy[method, "grad"] = probs.grad
    assert torch.allclose(energy["grid"], energy["dense"], rtol=1e-3)
    assert torch.allclose(energy["grid", "grad"], energy["dense", "grad"], rtol=8e-3)


@pytest.mark.parametrize("sigma", [3.0, 5.0, 15.0, 40.0])
def test_the_grid_is_accurate_for_colours_that_are_not_integers(textured, maps, sigma):
    images = textured(1, 32, 32).double() * 0.987 + 0.31
    probs, group = maps(1, 2, 32, 32), torch.zeros(1, dtype=torch.int64)
    grid, dense = (
        crf_energy(images, probs, group, num_groups=1, sigma_rgb=sigma, form="cut", method=method)
        for method in ("grid", "dense")
    )
    assert torch.allclose(grid, dense, rtol=2e-3)


@pytest.mark.parametrize("colour", [0, 2, 5, 127, 250, 255])
def test_the_energy_of_a_uniform_frame_is_its_squared_sum(maps, colour):
    images = torch.full((1, 3, 20, 20), colour, dtype=torch.uint8)
    probs, group = maps(1, 2, 20, 20), torch.zeros(1, dtype=torch.int64)
    expected = -(probs.sum((0, 2, 3)) ** 2).sum()
    for method, bound in (("dense", 1e-9), ("grid", 0.005), ("permutohedral", 0.1)):
        energy = crf_energy(
            images, probs, group, num_groups=1, sigma_rgb=15.0, form="association", method=method
        )
        assert abs(float(energy / expected) - 1) <= bound, method


@pytest.mark.parametrize("method", ["grid", "permutohedral"])
def test_a_million_pixels_of_one_colour_are_summed_without_rounding_error(method):
    images = torch.full((1, 3, 1000, 1200), 37, dtype=torch.uint8)
    probs = torch.tensor([0.3, 0.7]).view(1, 2, 1, 1).expand(1, 2, 1000, 1200)
    group = torch.zeros(1, dtype=torch.int64)

    def energy(images, probs):
        return crf_energy(
            images, probs, group, num_groups=1, sigma_rgb=15.0, form="association", method=method
        )

    single = energy(images[..., :1, :1], probs[..., :1, :1].double())
    assert abs(float(energy(images, probs).double() / single) / 1.2e6**2 - 1) < 1e-5
