"""Principal components of feature maps, and the joint term with them."""

import pytest
import torch

from colocam.losses import JointCRF, LocalizerLoss, LossSettings, Schedule
from colocam.losses.principal_features import principal_features

HEIGHT, WIDTH = 12, 14  # of the frames of `crops`
OFF = Schedule(0.0)


def feature_maps(scales=(5.0, 3.0, 1.0, 0.5), frames=5, side=(6, 7)) -> torch.Tensor:
    """Maps (frames, 8, *side) of a few independent components, mixed, far from 0."""
    generator = torch.Generator().manual_seed(0)
    mixing, _ = torch.linalg.qr(torch.randn(8, 8, generator=generator))
    sources = torch.randn(frames, len(scales), *side, generator=generator)
    sources = sources * torch.tensor(scales).view(-1, 1, 1)
    mixed = torch.einsum("ck,bkhw->bchw", mixing[:, : len(scales)], sources)
    return mixed + 10 * torch.randn(8, 1, 1, generator=generator)


def squared_distances(features: torch.Tensor) -> torch.Tensor:
    """Between all places of maps (B, D, h, w): (B·h·w, B·h·w)."""
    points = features.transpose(0, 1).flatten(1).T.double()
    return torch.cdist(points, points) ** 2


def test_distances_are_those_of_whitened_principal_components(sequence):
    maps = feature_maps()
    got = principal_features(maps, sequence, 2, (6, 7), sigma=0.5)
    assert got.shape == (5, 2, 6, 7)
    for number in (0, 1):
        own = sequence == number
        points = maps[own].transpose(0, 1).flatten(1).T.double()
        points = points - points.mean(0)
        values, axes = torch.linalg.eigh(points.T @ points / len(points))
        components = (points @ axes[:, -2:] / values[-2:].sqrt()).clamp(-4, 4) / 0.5
        expected = torch.cdist(components, components) ** 2
        error = (squared_distances(got[own]) - expected).abs().mean() / expected.mean()
        assert error < 0.02


def test_components_are_uncorrelated_and_of_variance_one(sequence):
    features = principal_features(feature_maps(), sequence, 2, (6, 7), sigma=1.0, count=3)
    for number in (0, 1):
        points = features[sequence == number].transpose(0, 1).flatten(1)
        torch.testing.assert_close(torch.cov(points, correction=0), torch.eye(3), rtol=0, atol=2e-3)


def test_sequences_are_independent_and_may_be_empty(sequence):
    maps = feature_maps()
    alone = principal_features(maps[sequence == 1], torch.tensor([0, 0]), 1, (12, 14), 1.0)
    together = principal_features(maps, 2 * sequence, 4, (12, 14), 1.0)[sequence == 1]
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("maps", [torch.zeros(2, 5, 3, 3), torch.full((2, 5, 3, 3), 7.0)])
def test_constant_maps_have_no_features(maps):
    features = principal_features(maps, torch.tensor([0, 0]), 1, (6, 6), 1.0)
    assert torch.equal(features, torch.zeros(2, 2, 6, 6))


def test_a_single_varying_component_leaves_the_second_at_zero():
    maps = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(1)).expand(2, 3, 4, 4)
    features = principal_features(maps, torch.tensor([0, 0]), 1, (4, 4), 1.0)
    assert features[:, 0].std() > 0.9
    assert (features[:, 1].abs() < 0.05).all()


def test_components_are_limited():
    maps = torch.zeros(1, 3, 20, 20)
    maps[0, :, 3, 4] = 100.0  # one place at 20 standard deviations
    features = principal_features(maps, torch.tensor([0]), 1, (20, 20), sigma=0.5)
    assert features.abs().max() == 8.0


def test_nothing_synchronizes():
    """Meta tensors have no data: reading them raises an error."""
    maps = torch.empty(5, 8, 6, 7, device="meta")
    sequence = torch.empty(5, dtype=torch.long, device="meta")
    assert principal_features(maps, sequence, 2, (12, 14), 1.0).shape == (5, 2, 12, 14)


@pytest.mark.parametrize("form", ["association", "cut"])
@pytest.mark.parametrize(("sigma_rgb", "count"), [(15.0, 2), (None, 5)])
def test_the_joint_energy_with_features_sums_all_pairs(
    crops, logits, sequence, form, sigma_rgb, count, pair_weights
):
    size = (HEIGHT, WIDTH)
    features = principal_features(feature_maps(), sequence, 2, size, 0.5, count).double()
    probs = logits.softmax(1)
    joint = JointCRF(sigma_rgb, form, "dense")
    got = joint(crops, probs, sequence, 2, features=features)
    for number in (0, 1):
        own = sequence == number
        weights = torch.from_numpy(pair_weights(crops[own], sigma_rgb or 1e9))
        weights = weights * torch.exp(-0.5 * squared_distances(features[own]))
        s = probs[own].transpose(0, 1).flatten(1)
        other = s if form == "association" else 1 - s
        expected = (s * (other @ weights)).sum() * (-1 if form == "association" else 1)
        torch.testing.assert_close(got[number], expected, rtol=1e-6, atol=0)
    lattice = JointCRF(sigma_rgb, form, "permutohedral")(
        crops, probs, sequence, 2, features=features
    )
    torch.testing.assert_close(lattice, got, rtol=0.05, atol=0)


def test_the_joint_term_of_the_loss_uses_features_if_a_bandwidth_is_given(crops, logits, sequence):
    maps, seeds = logits.float(), torch.full((5, HEIGHT, WIDTH), 255, dtype=torch.uint8)
    coloc = Schedule(5.0)

    def term(**how):
        settings = LossSettings(OFF, OFF, OFF, coloc, coloc_adaptive=False, **how)
        loss = LocalizerLoss(settings, (HEIGHT, WIDTH))
        return loss(crops, maps, seeds, sequence, 2, 0.0, features=feature_maps())["coloc"]

    colour, both = term(joint_method="permutohedral"), term(joint_features="both")
    assert both.abs() < 0.9 * colour.abs()  # fewer pairs are bound
    torch.testing.assert_close(
        term(joint_features="both", feature_sigma=1e4), colour, rtol=0.05, atol=0
    )
