"""The dense filter against its definition as a double loop."""

import pytest
import torch

from colocam.kernels import crf_energy, dense, gaussian_filter


@pytest.mark.parametrize("d", [1, 3, 5, 7])
def test_dense_is_the_definition(naive, d):
    torch.manual_seed(d)
    values = torch.randn(13, 2, dtype=torch.float64)
    features = torch.randn(13, d, dtype=torch.float64)
    group = torch.tensor([0, 2, 2, 0, 1, 2, 0, 0, 2, 1, 2, 2, 0])
    out = gaussian_filter(values, features, group, num_groups=4, method="dense")
    torch.testing.assert_close(out, naive(values, features, group), rtol=1e-12, atol=1e-12)


def test_many_blocks_give_the_result_of_one(monkeypatch):
    values, features = torch.randn(50, 3).double(), torch.randn(50, 4).double()
    whole = gaussian_filter(values, features, method="dense")
    monkeypatch.setattr(dense, "BLOCK_PAIRS", 7 * 50)
    blocks = gaussian_filter(values, features, method="dense")
    torch.testing.assert_close(whole, blocks, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sigma_xy", [None, 3.0])
@pytest.mark.parametrize("maps_count", [2, 3])
@pytest.mark.parametrize("form", ["cut", "association"])
def test_the_energy_is_the_formula(textured, maps, naive_crf, form, maps_count, sigma_xy):
    images, probs = textured(4, 5, 7), maps(4, maps_count, 5, 7)
    group = torch.tensor([1, 0, 1, 3])
    energy = crf_energy(
        images,
        probs,
        group,
        num_groups=4,
        sigma_rgb=20.0,
        sigma_xy=sigma_xy,
        form=form,
        method="dense",
    )
    expected = naive_crf(images, probs, group, 4, 20.0, sigma_xy, form)
    torch.testing.assert_close(energy, expected, rtol=1e-10, atol=1e-10)
    assert energy[2] == 0  # a group without frames


def test_the_cut_of_separate_colours_is_zero_without_rounding_error(maps):
    """Maps of 0 and 1 that follow two distant colours: the cut is 0, not a difference of sums."""
    images = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    images[..., 8:] = 255
    probs = torch.zeros(1, 2, 16, 16)
    probs[:, 0, :, :8], probs[:, 1, :, 8:] = 1, 1
    group = torch.zeros(1, dtype=torch.int64)
    for method in ("dense", "permutohedral"):
        energy = crf_energy(
            images, probs, group, num_groups=1, sigma_rgb=15.0, form="cut", method=method
        )
        assert 0 <= float(energy) < 1e-12
