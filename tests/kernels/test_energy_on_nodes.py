"""The energy from the nodes of the colour grid equals that of filtered pixels."""

import pytest
import torch

from colocam.kernels import crf_energy

pytest.importorskip("triton")

from colocam.kernels import backend_triton
from colocam.kernels.color_grid import energy_triton, grid_triton
from colocam.kernels.color_grid.energy_triton import EnergyOnNodes


def scene(device, textured, maps, kinds=2):
    """Frames of few colours, maps (4, kinds, 8, 6), and groups of which one is empty."""
    images = textured(4, 64, 64)[..., 20:28, 20:26].to(device)
    probs = maps(4, kinds, 8, 6, dtype=torch.float32).to(device)
    return images, probs, torch.tensor([2, 0, 0, 2], device=device)


@pytest.mark.parametrize("many", [1, 2**20])
@pytest.mark.parametrize("form", ["association", "cut"])
@pytest.mark.parametrize("sigma", [20.0, 30.0])
def test_the_energy_from_nodes_equals_that_of_filtered_pixels(
    device, textured, maps, monkeypatch, sigma, form, many
):
    monkeypatch.setattr(grid_triton, "MANY", many)
    images, probs, group = scene(device, textured, maps)
    grad = torch.tensor([0.5, 3.0, -2.0], device=device)
    expected, half_grad = backend_triton.energy_and_half_grad(
        images, probs, group, 3, sigma, None, form, "grid"
    )
    on_nodes = EnergyOnNodes(images, group, 3, sigma, form)
    energy, *kept = on_nodes.forward(probs.transpose(2, 3).contiguous().transpose(2, 3))
    torch.testing.assert_close(energy, expected, rtol=1e-6, atol=1e-6)
    gradient = 2 * grad[group].view(-1, 1, 1, 1) * half_grad
    torch.testing.assert_close(on_nodes.gradient(grad, *kept), gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kinds", "dtype", "sigma", "limit", "used"),
    [
        (2, torch.uint8, 30.0, 2**40, True),
        (3, torch.uint8, 30.0, 2**40, False),
        (2, torch.float32, 30.0, 2**40, False),
        (2, torch.uint8, 30.0, 2**20, False),  # several passes
    ],
)
def test_two_maps_of_8_bit_images_take_the_energy_from_nodes(
    device, textured, maps, monkeypatch, kinds, dtype, sigma, limit, used
):
    monkeypatch.setattr(energy_triton, "SCRATCH_BYTES", limit)
    calls = []
    forward = EnergyOnNodes.forward
    monkeypatch.setattr(EnergyOnNodes, "forward", lambda *a: calls.append(1) or forward(*a))
    images, probs, group = scene(device, textured, maps, kinds)
    how = {"num_groups": 3, "form": "cut", "method": "grid", "sigma_rgb": sigma}
    results = []
    for backend in ("torch", "triton"):
        leaf = probs.clone().requires_grad_()
        energy = crf_energy(images.to(dtype), leaf, group, backend=backend, **how)
        results.append((energy.detach(), *torch.autograd.grad(energy.square().sum(), leaf)))
    assert bool(calls) == used
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


def test_a_grid_with_a_node_per_level_filters_pixels(device, textured, maps):
    images, _, group = scene(device, textured, maps)
    assert EnergyOnNodes(images, group, 3, 6.0, "cut").fits()
    assert not EnergyOnNodes(images, group, 3, 4.0, "cut").fits()
