"""Invalid input that is not checked, as for Triton on a GPU: results are NaN, never a number."""

import math

import pytest
import torch

from colocam.kernels.permutohedral.geometry import STENCILS

pytest.importorskip("triton")

from colocam.kernels import arguments, backend_torch, backend_triton, crf_energy, launch
from colocam.kernels.color_grid.energy_triton import EnergyOnNodes
from colocam.kernels.launch import ANY, Points, Window
from colocam.kernels.permutohedral.lattice_triton import Tables, TritonLattice

NAN, INF = float("nan"), float("inf")
# grid of 8-bit colours, its energy from the nodes, grid of any colours, lattice
METHODS = ("levels", "on nodes", "nodes", "lattice")
GROUP = torch.tensor([2, 0, 1, 2])
MARGIN = 512  # entries before and after every buffer


def energies(device, images, probs, group, method, num_groups=4):
    """Energies and half gradient from the kernels, without checks; group 3 has no frames."""
    sigma_xy = 100.0 if method == "spatial" else None
    if method == "nodes":
        images = images.float()
    inputs = (images.to(device), probs.to(device), group.to(device))
    if method == "on nodes":
        on_nodes = EnergyOnNodes(inputs[0], inputs[2], num_groups, 30.0, "association")
        energy, *kept = on_nodes.forward(inputs[1])
        gradient = on_nodes.gradient(torch.full_like(energy, 1.0), *kept)
        return energy.cpu(), 0.5 * gradient.cpu()
    method = "permutohedral" if method in ("lattice", "spatial") else "grid"
    energy, half_grad = backend_triton.energy_and_half_grad(
        *inputs, num_groups, 30.0, sigma_xy, "association", method
    )
    return energy.cpu(), half_grad.cpu()


@pytest.fixture(scope="module")
def scene(textured, maps):
    return textured(4, 32, 32)[..., 9:13, 9:15], maps(4, 2, 4, 6, dtype=torch.float32), GROUP


class Guards:
    """Allocates tensors in the middle of larger ones, whose ends must remain unchanged."""

    def __init__(self):
        self.buffers = []

    def allocate(self, shape, fill, dtype, device):
        shape = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        count = math.prod(shape)
        whole = torch.ones(count + 2 * MARGIN, dtype=torch.int8, device=device).to(dtype) * 77
        own = whole[MARGIN : MARGIN + count].fill_(fill)
        self.buffers.append((whole, count))
        return own.view(shape)

    def empty(self, *shape, dtype=torch.float32, device="cpu"):
        """As torch.empty, filled with NaN or the largest integer, so that a read is noticed."""
        fill = NAN if dtype.is_floating_point else torch.iinfo(dtype).max
        return self.allocate(shape, fill, dtype, device)

    def zeros(self, *shape, dtype=torch.float32, device="cpu"):
        return self.allocate(shape, 0, dtype, device)

    def full(self, shape, fill, dtype=torch.float32, device="cpu"):
        return self.allocate(shape, fill, dtype, device)

    def intact(self):
        """Whether all ends are unchanged."""
        return all(
            (end == 77).all()
            for whole, count in self.buffers
            for end in (whole[:MARGIN], whole[MARGIN + count :])
        )


@pytest.fixture
def guards(monkeypatch):
    """Guards all buffers allocated during the test."""
    watched = Guards()
    for name in ("empty", "zeros", "full"):
        monkeypatch.setattr(torch, name, getattr(watched, name))
    yield watched
    monkeypatch.undo()
    assert watched.buffers
    assert watched.intact()


@pytest.mark.parametrize("method", [*METHODS, "spatial"])
def test_kernels_read_and_write_only_their_own_buffers(request, device, scene, method):
    expected = energies(device, *scene, method)
    request.getfixturevalue("guards")
    for actual, value in zip(energies(device, *scene, method), expected, strict=True):
        torch.testing.assert_close(actual, value, rtol=1e-6, atol=1e-6)


def with_number(scene, number):
    """Crops of the scene, with this group id for the second frame."""
    images, probs, group = scene
    group = group.clone()
    group[1] = number
    return images[:, :, :2, :3], probs[:, :, :2, :3], group


@pytest.mark.parametrize(
    ("method", "number"),
    [
        ("levels", -1),
        ("levels", 4),
        ("on nodes", -1),
        ("on nodes", 2**40),
        ("nodes", -(2**62)),
        ("nodes", 4),
        ("lattice", 2**40),
    ],
)
def test_a_group_that_does_not_exist_makes_all_energies_nan(device, scene, guards, method, number):
    energy, half_grad = energies(device, *with_number(scene, number), method)
    assert energy.isnan().all()  # of groups without frames too
    assert half_grad.isnan().all()


@pytest.mark.parametrize(
    ("method", "number"), [("levels", 4), ("nodes", -1), ("lattice", 4), ("spatial", -1)]
)
def test_a_group_that_does_not_exist_makes_all_energies_nan_in_several_passes(
    device, scene, monkeypatch, guards, method, number
):
    monkeypatch.setattr(launch, "scratch_bytes", lambda device: 1)
    energy, half_grad = energies(device, *with_number(scene, number), method)
    assert energy.isnan().all()
    assert half_grad.isnan().all()


@pytest.mark.parametrize("method", METHODS)
def test_the_energy_of_a_single_frame_without_group_is_nan(device, scene, method):
    images, probs, group = (x[1:2] for x in with_number(scene, 1))
    energy, _ = energies(device, images, probs, group, method, num_groups=1)
    assert energy.isnan().all()


def check_invalid_groups(device, method, images, probs, clean, invalid):
    """One group per frame: the invalid ones are NaN, the others have their clean results."""
    group = torch.arange(len(images))
    energy, half_grad = energies(device, images, probs, group, method, len(images) + 1)
    expected, expected_half_grad = energies(device, *clean, group, method, len(images) + 1)
    assert energy.isnan().tolist() == [*invalid, False]
    valid = ~torch.tensor([*invalid, False])
    torch.testing.assert_close(energy[valid], expected[valid], rtol=1e-5, atol=0)
    torch.testing.assert_close(
        half_grad[valid[:-1]], expected_half_grad[valid[:-1]], rtol=1e-5, atol=1e-5
    )
    assert energy[-1] == 0
    return half_grad[~valid[:-1]]


@pytest.mark.parametrize("method", ["nodes", "spatial"])
def test_an_invalid_colour_makes_only_its_group_nan(device, textured, maps, guards, method):
    wrong = (NAN, INF, -INF, -0.5, 255.5, 1e30)
    images = textured(8, 40, 40)[..., 9:12, 9:13] * 0.99 + 0.3
    probs, clean = maps(8, 2, 3, 4, dtype=torch.float32), images.clone()
    for k, colour in enumerate(wrong, start=1):
        images[k, k % 3, k % 3, k % 4] = colour
    invalid = [False, *[True] * len(wrong), False]
    half_grad = check_invalid_groups(device, method, images, probs, (clean, probs), invalid)
    assert half_grad.isnan().all()


@pytest.mark.parametrize("value", [NAN, 5.0])
@pytest.mark.parametrize("method", METHODS)
def test_a_map_with_nan_or_no_probability_makes_only_its_group_nan(
    device, scene, guards, method, value
):
    images, probs, _ = scene
    wrong = probs.clone()
    wrong[2, 1, 3, 4] = value
    check_invalid_groups(
        device, method, images, wrong, (images, probs), [False, False, True, False]
    )


@pytest.mark.parametrize("method", ["levels", "on nodes", "lattice"])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_an_infinite_map_has_no_finite_energy(device, scene, guards, method):
    images, probs, group = scene
    probs = probs.clone()
    probs[2, 1, 3, 4] = INF
    energy, _ = energies(device, images, probs, group, method)
    assert energy.isfinite().tolist() == [True, False, True, True]


@pytest.mark.parametrize("d", [1, 3, 5])
def test_a_feature_beyond_the_keys_makes_only_its_group_nan(device, guards, d):
    """Keys cover some hundred sigmas for d = 5, many more for d = 1."""
    generator = torch.Generator().manual_seed(d)
    values = torch.rand(12, 2, generator=generator)
    features = torch.rand(12, d, generator=generator) * 4
    group = torch.arange(12) % 6

    def run():
        arguments = (x.to(device) for x in (values, features, group))
        return backend_triton.filtered_values(*arguments, 7, "permutohedral").cpu()

    expected = run()
    for k, wrong in enumerate((NAN, INF, 1e7, -1e30), start=1):
        features[6 + k, k % d] = wrong
    out = run()
    valid = (group == 0) | (group == 5)
    assert out[~valid].isnan().all()
    torch.testing.assert_close(out[valid], expected[valid], rtol=1e-5, atol=1e-6)


def test_features_within_the_keys_are_filtered_and_beyond_them_nan(device):
    """Keys of distinct vertices never collide."""
    group, values = torch.zeros(2, dtype=torch.int64), torch.ones(2, 1)
    seen = set()
    for width in (140.0, 160.0):
        features = torch.tensor([[0.0] * 5, [width] * 5])
        arguments = (x.to(device) for x in (values, features, group))
        out = backend_triton.filtered_values(*arguments, 1, "permutohedral").cpu()
        valid = bool(out.isfinite().all())
        assert valid or out.isnan().all()
        if valid:
            expected = backend_torch.filtered_values(values, features, group, 1, "permutohedral")
            torch.testing.assert_close(out, expected, rtol=1e-4, atol=0)
        seen.add(valid)
    assert seen == {True, False}


@pytest.mark.parametrize("wrong", [NAN, INF, 1e30])
def test_a_feature_that_no_grid_covers_is_refused(device, wrong):
    """This operator synchronizes anyway, to read the range of the features."""
    features = torch.rand(9, 3)
    features[4, 1] = wrong
    arguments = (torch.rand(9, 1), features, torch.zeros(9, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"^features (has NaN|span)"):
        backend_triton.filtered_values(*(x.to(device) for x in arguments), 1, "grid")


@pytest.mark.parametrize("method", ["grid", "permutohedral"])
@pytest.mark.parametrize("number", [-1, 3])
def test_a_point_whose_group_does_not_exist_makes_all_results_nan(device, guards, method, number):
    values, features = torch.rand(12, 2).to(device), torch.rand(12, 3).to(device)
    group = torch.arange(12) % 3
    group[5] = number
    out = backend_triton.filtered_values(values, features, group.to(device), 3, method)
    assert out.isnan().all()


def test_invalid_points_are_not_inserted(device, guards):
    features = torch.full((6, 3, 1, 1), NAN, device=device)
    points = Points(features, torch.zeros(6, dtype=torch.int64, device=device), 1, colors=False)
    lattice = TritonLattice(points, [1.0] * 3, xy=False, stencil=STENCILS[3])
    invalid_groups = torch.zeros(2, dtype=torch.int32, device=device)
    simplex_of = torch.full((6,), 9, dtype=torch.int32, device=device)
    tables = Tables(lattice, Window(-ANY, ANY, 0, 1, invalid_groups, 1.0), simplex_of)
    assert tables.counters.tolist() == [0, 0, 0]
    assert invalid_groups.tolist() == [1, 0]
    assert simplex_of.tolist() == [-1] * 6


def checked_energies(device, backend, **changes):
    """Energies of two frames in two groups by the public operator."""
    arguments = {
        "images": torch.full((2, 3, 4, 5), 100.0),
        "probs": torch.full((2, 2, 4, 5), 0.5),
        "group": torch.tensor([0, 1]),
    }
    tensors = {name: x.to(device) for name, x in (arguments | changes).items()}
    return crf_energy(
        **tensors, num_groups=2, sigma_rgb=30.0, form="cut", method="grid", backend=backend
    )


WRONG = {
    "images": torch.full((2, 3, 4, 5), 256.0),
    "probs": torch.full((2, 2, 4, 5), NAN),
    "group": torch.tensor([0, 2]),
}


@pytest.mark.parametrize("name", WRONG)
def test_content_is_checked_on_the_cpu_also_for_triton(monkeypatch, name):
    monkeypatch.setattr(arguments, "INTERPRETED", True)
    with pytest.raises(ValueError, match=rf"^{name} "):
        checked_energies("cpu", "triton", **{name: WRONG[name]})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", WRONG)
def test_on_a_gpu_torch_checks_content_and_triton_returns_nan(name):
    """The PyTorch backend synchronizes anyway; an index out of bounds would abort the process."""
    wrong = {name: WRONG[name]}
    with pytest.raises(ValueError, match=rf"^{name} "):
        checked_energies("cuda", "torch", **wrong)
    assert checked_energies("cuda", "triton", **wrong).isnan().all()
