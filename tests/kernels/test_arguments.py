"""Invalid arguments raise a ValueError that starts with their name."""

import pytest
import torch

from colocam.kernels import arguments, crf_energy, gaussian_filter
from colocam.kernels.permutohedral.geometry import STENCILS

NAN, INF = float("nan"), float("inf")


def filter_arguments(**changes):
    arguments = {
        "values": torch.rand(6, 2),
        "features": torch.rand(6, 3),
        "group": torch.tensor([0, 1, 1, 0, 0, 1]),
        "num_groups": 2,
        "method": "dense",
    }
    return arguments | changes


def energy_arguments(**changes):
    arguments = {
        "images": torch.zeros(2, 3, 4, 5, dtype=torch.uint8),
        "probs": torch.full((2, 2, 4, 5), 0.5),
        "group": torch.tensor([0, 1]),
        "num_groups": 2,
        "sigma_rgb": 15.0,
        "form": "cut",
        "method": "grid",
    }
    return arguments | changes


def refused(operator, arguments, name):
    with pytest.raises(ValueError, match=rf"^{name}\b"):
        operator(**arguments)


def test_valid_arguments_are_accepted():
    assert gaussian_filter(**filter_arguments()).shape == (6, 2)
    assert crf_energy(**energy_arguments()).shape == (2,)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("values", torch.rand(6)),
        ("values", torch.ones(6, 2, dtype=torch.int64)),
        ("values", torch.full((6, 2), NAN)),
        ("values", [[1.0]]),
        ("features", torch.rand(6)),
        ("features", torch.rand(5, 3)),
        ("features", torch.ones(6, 3, dtype=torch.int64)),
        ("features", torch.full((6, 3), INF)),
        ("features", torch.rand(6, 0)),
        ("features", torch.rand(6, 3, device="meta")),
        ("group", torch.tensor([0, 1])),
        ("group", torch.zeros(6, 1, dtype=torch.int64)),
        ("group", torch.zeros(6)),
        ("group", torch.zeros(6, dtype=torch.bool)),
        ("group", torch.tensor([0, 1, 2, 0, 0, 0])),
        ("group", torch.tensor([0, 1, -1, 0, 0, 0])),
        ("group", torch.zeros(6, dtype=torch.int64, device="meta")),
        ("num_groups", 0),
        ("num_groups", 2.0),
        ("num_groups", True),
        ("method", "exact"),
        ("backend", "cuda"),
    ],
)
def test_the_filter_names_the_invalid_argument(name, value):
    refused(gaussian_filter, filter_arguments(**{name: value}), name)


@pytest.mark.parametrize(("method", "d"), [("grid", 2), ("grid", 5), ("permutohedral", 6)])
def test_an_unsupported_number_of_features_is_refused(method, d):
    refused(gaussian_filter, filter_arguments(method=method, features=torch.rand(6, d)), "features")


def test_a_negative_group_without_num_groups_is_refused():
    arguments = filter_arguments(group=torch.tensor([0, -1, 0, 0, 0, 0]), num_groups=None)
    refused(gaussian_filter, arguments, "group")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("images", torch.zeros(2, 4, 5, dtype=torch.uint8)),
        ("images", torch.zeros(2, 1, 4, 5, dtype=torch.uint8)),
        ("images", torch.zeros(2, 3, 4, 5, dtype=torch.int64)),
        ("images", torch.full((2, 3, 4, 5), NAN)),
        ("images", torch.full((2, 3, 4, 5), INF)),
        ("images", torch.full((2, 3, 4, 5), 255.5)),
        ("images", torch.full((2, 3, 4, 5), -0.5)),
        ("images", None),
        ("probs", torch.full((2, 2, 4, 6), 0.5)),
        ("probs", torch.full((3, 2, 4, 5), 0.5)),
        ("probs", torch.full((2, 1, 4, 5), 1.0)),
        ("probs", torch.full((2, 4, 5), 1.0)),
        ("probs", torch.ones(2, 2, 4, 5, dtype=torch.int64)),
        ("probs", torch.full((2, 2, 4, 5), NAN)),
        ("probs", torch.full((2, 2, 4, 5), 0.5, device="meta")),
        ("group", torch.tensor([0])),
        ("group", torch.tensor([0.0, 1.0])),
        ("group", torch.tensor([0, 2])),
        ("group", torch.tensor([-1, 0])),
        ("num_groups", 0),
        ("num_groups", None),
        ("sigma_rgb", 0.0),
        ("sigma_rgb", -1.0),
        ("sigma_rgb", NAN),
        ("sigma_rgb", INF),
        ("sigma_rgb", 1e-8),
        ("sigma_rgb", 9e-4),
        ("sigma_rgb", 1.1e5),
        ("sigma_rgb", 1e30),
        ("sigma_rgb", "15"),
        ("sigma_rgb", True),
        ("sigma_rgb", None),
        ("sigma_xy", 100.0),
        ("features", torch.zeros(2, 2, 4, 6)),
        ("features", torch.zeros(2, 3, 4, 5)),
        ("features", torch.zeros(2, 0, 4, 5)),
        ("features", torch.zeros(2, 2, 4, 5, dtype=torch.int64)),
        ("features", torch.full((2, 2, 4, 5), NAN)),
        ("features", torch.zeros(2, 4, 5)),
        ("form", "potts"),
        ("method", "bilateral"),
        ("backend", "cuda"),
    ],
)
def test_the_energy_names_the_invalid_argument(name, value):
    refused(crf_energy, energy_arguments(**{name: value}), name)


@pytest.mark.parametrize("limit", [0.0, -4.0, NAN, INF, 1e7, "4", True])
def test_an_invalid_limit_of_features_is_refused(limit):
    arguments = energy_arguments(
        method="permutohedral", features=torch.zeros(2, 2, 4, 5), feature_limit=limit
    )
    refused(crf_energy, arguments, "feature_limit")


@pytest.mark.parametrize("sigma_xy", [0.0, -3.0, NAN, INF, 1e-8, 1e6])
def test_an_invalid_sigma_xy_is_refused(sigma_xy):
    refused(crf_energy, energy_arguments(method="dense", sigma_xy=sigma_xy), "sigma_xy")


def test_a_sigma_too_small_for_a_grid_of_float_colours_is_refused():
    images = torch.full((2, 3, 4, 5), 17.5)
    refused(crf_energy, energy_arguments(images=images, sigma_rgb=1.0), "sigma_rgb")


NO_TRITON = {"method": "grid", "backend": "triton"}


def test_backend_triton_without_triton_is_refused(monkeypatch):
    monkeypatch.setattr(arguments, "TRITON", False)
    with pytest.raises(ValueError, match=r"^backend 'triton' is not available in this install"):
        crf_energy(**energy_arguments(**NO_TRITON))


def test_backend_triton_on_the_cpu_needs_the_interpreter(monkeypatch):
    monkeypatch.setattr(arguments, "INTERPRETED", False)
    monkeypatch.setattr(arguments, "TRITON", True)
    with pytest.raises(ValueError, match=r"^backend 'triton' needs a GPU .* not cpu"):
        crf_energy(**energy_arguments(**NO_TRITON))


def test_backend_triton_refuses_dense_and_float64():
    with pytest.raises(ValueError, match=r"^backend 'triton' .*\b(method 'dense'|not available)"):
        gaussian_filter(**filter_arguments(backend="triton"))
    double = {"probs": torch.full((2, 2, 4, 5), 0.5).double(), **NO_TRITON}
    with pytest.raises(ValueError, match=r"^backend 'triton' .*(float64|not available)"):
        crf_energy(**energy_arguments(**double))


@pytest.mark.parametrize("triton", [True, False])
def test_auto_is_torch_on_the_cpu_and_for_what_triton_lacks(monkeypatch, triton):
    monkeypatch.setattr(arguments, "TRITON", triton)
    on_cpu = torch.zeros(1)
    for method in arguments.METHODS:
        for dtype in (torch.float32, torch.float64):
            assert arguments.choose_backend("auto", method, dtype, on_cpu) == "torch"

    class OnGpu:
        is_cuda, device = True, "cuda:0"

    chosen = [
        arguments.choose_backend("auto", m, torch.float32, OnGpu()) for m in arguments.METHODS
    ]
    assert chosen == [
        "triton" if triton and method != "dense" else "torch" for method in arguments.METHODS
    ]
    assert arguments.choose_backend("auto", "grid", torch.float64, OnGpu()) == "torch"


def test_too_many_groups_or_too_small_a_sigma_for_packed_keys_is_refused():
    """Keys have 62 bits for group and coordinates: keys that would collide are refused."""
    pytest.importorskip("triton")
    from colocam.kernels.launch import Points
    from colocam.kernels.permutohedral.capacity import key_bits
    from colocam.kernels.permutohedral.lattice_triton import TritonLattice

    with pytest.raises(ValueError, match=r"^num_groups is 4194304: too many"):
        key_bits(5, 2**22)
    assert key_bits(5, 2**22 - 1) == 8

    def lattice(sigmas, num_groups):
        images = torch.zeros(1, 3, 224, 224, dtype=torch.uint8)
        points = Points(images, torch.zeros(1, dtype=torch.int64), num_groups, colors=True)
        return TritonLattice(points, sigmas, xy=len(sigmas) > 3, stencil=STENCILS[len(sigmas)])

    lattice([15.0] * 3 + [100.0] * 2, 2**16)
    lattice([5.0] * 3 + [100.0] * 2, 32)
    lattice([0.01] * 3, 1)
    for sigmas, num_groups in [
        ([15.0] * 3 + [100.0] * 2, 2**22 - 1),
        ([5.0] * 3 + [100.0] * 2, 2**8),
        ([15.0] * 3 + [0.1] * 2, 1),
        ([1e-4] * 3, 1),
    ]:
        with pytest.raises(ValueError, match=r"^sigma_rgb or sigma_xy is too small"):
            lattice(sigmas, num_groups)


@pytest.mark.parametrize("method", ["permutohedral", "grid", "dense"])
@pytest.mark.parametrize("sigma", arguments.SIGMAS)
def test_the_smallest_and_largest_sigma_are_taken(method, sigma):
    energy = crf_energy(**energy_arguments(method=method, sigma_rgb=sigma, sigma_xy=None))
    assert energy.isfinite().all()


@pytest.mark.parametrize("entry", [1.1e6, -1e9, 1e30])
def test_features_beyond_the_precision_of_a_lattice_are_refused(entry):
    """They would be rounded into another simplex."""
    features = torch.zeros(4, 2)
    features[1, 1] = entry
    with pytest.raises(ValueError, match=r"^features has the entry 1.* raise sigma"):
        gaussian_filter(torch.ones(4, 1), features)
    torch.testing.assert_close(
        gaussian_filter(torch.ones(4, 1), features, method="dense").sum(), torch.tensor(10.0)
    )


@pytest.mark.parametrize("d", range(1, 6))
@pytest.mark.parametrize("offset", [0.0, 1e3, -9e5])
def test_features_within_the_precision_of_a_lattice_are_filtered(d, offset):
    features = torch.rand(20, d, generator=torch.Generator().manual_seed(d)) + offset
    out = gaussian_filter(torch.ones(20, 1), features)
    assert out.isfinite().all()
    assert (out > 0.5).all()
