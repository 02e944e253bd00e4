"""Every unfit argument is a ValueError that names it."""

import pytest
import torch

from colocam.kernels import crf_energy, gaussian_filter

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


def refused(door, arguments, name):
    with pytest.raises(ValueError, match=rf"^{name}\b"):
        door(**arguments)


def test_the_plain_arguments_are_accepted():
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
        ("backend", "triton"),
    ],
)
def test_the_filter_names_what_does_not_fit(name, value):
    refused(gaussian_filter, filter_arguments(**{name: value}), name)


@pytest.mark.parametrize(("method", "d"), [("grid", 2), ("grid", 5), ("permutohedral", 6)])
def test_a_number_of_features_that_the_method_does_not_know(method, d):
    refused(gaussian_filter, filter_arguments(method=method, features=torch.rand(6, d)), "features")


def test_a_negative_group_without_a_number_of_groups():
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
        ("sigma_rgb", "15"),
        ("sigma_rgb", True),
        ("sigma_xy", 100.0),
        ("form", "potts"),
        ("method", "bilateral"),
        ("backend", "cuda"),
        ("backend", "triton"),
    ],
)
def test_the_energy_names_what_does_not_fit(name, value):
    refused(crf_energy, energy_arguments(**{name: value}), name)


@pytest.mark.parametrize("sigma_xy", [0.0, -3.0, NAN, INF])
def test_a_sigma_of_place_that_is_no_width(sigma_xy):
    refused(crf_energy, energy_arguments(method="dense", sigma_xy=sigma_xy), "sigma_xy")


def test_a_sigma_too_small_for_the_grid_between_levels():
    images = torch.full((2, 3, 4, 5), 17.5)
    refused(crf_energy, energy_arguments(images=images, sigma_rgb=1.0), "sigma_rgb")


def test_the_missing_backend_is_said_to_be_missing():
    with pytest.raises(ValueError, match="not available in this installation"):
        crf_energy(**energy_arguments(backend="triton"))
