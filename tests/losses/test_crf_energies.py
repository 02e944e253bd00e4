"""CRF energies and gradients, against explicit pair matrices."""

import numpy as np
import pytest
import torch

from colocam.losses import JointCRF, SpatialCRF

FORMS = ("association", "cut")
SIGMA_XY = 6.0  # crops are small: the position must have an effect


def spatial(form="association", method="dense", sigma_rgb=15.0):
    return SpatialCRF(sigma_rgb, SIGMA_XY, form, method)


def joint(form="association", method="dense", sigma_rgb=15.0):
    return JointCRF(sigma_rgb, form, method)


def logit_gradient(energy, logits):
    """Gradient of the sum of energies on the logits; `energy` maps probabilities to energies."""
    logits = logits.detach().clone().requires_grad_()
    energy(logits.softmax(1)).sum().backward()
    return logits.grad


@pytest.mark.parametrize("form", FORMS)
def test_the_spatial_energy_sums_all_pairs_of_each_frame(crops, logits, form, energy_of_pairs):
    probs = logits.softmax(1)
    expected = [
        energy_of_pairs(crops[i : i + 1], probs[i : i + 1], form, 15.0, SIGMA_XY) for i in range(5)
    ]
    torch.testing.assert_close(
        spatial(form)(crops, probs), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0
    )
    single = spatial(form)(crops, probs.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, torch.tensor(expected), rtol=2e-5, atol=0)


@pytest.mark.parametrize("form", FORMS)
def test_the_joint_energy_sums_all_pairs_of_a_sequence(
    crops, logits, sequence, form, energy_of_pairs
):
    probs = logits.softmax(1)
    expected = [
        energy_of_pairs(crops[sequence == g], probs[sequence == g], form, 15.0) for g in (0, 1)
    ]
    torch.testing.assert_close(
        joint(form)(crops, probs, sequence),
        torch.tensor(expected, dtype=torch.float64),
        rtol=1e-12,
        atol=0,
    )
    single = joint(form)(crops, probs.float(), sequence, 2)
    torch.testing.assert_close(single, torch.tensor(expected), rtol=2e-5, atol=0)


def test_float_images_give_the_energy_of_equal_uint8_images(crops, logits, sequence):
    probs = logits.softmax(1)
    torch.testing.assert_close(
        joint()(crops.double(), probs, sequence), joint()(crops, probs, sequence)
    )
    torch.testing.assert_close(spatial()(crops.double(), probs), spatial()(crops, probs))


def test_the_gradient_on_the_logits_matches_the_pair_matrix(crops, logits, sequence, pair_weights):
    """d(−Σ SᵀWS)/dS_r = −2 W S_r, with the softmax derived by hand."""
    probs = logits.softmax(1).numpy()
    expected = np.empty_like(probs)
    for g in (0, 1):
        frames = (sequence == g).numpy()
        weights = pair_weights(crops[sequence == g], 15.0)
        part = probs[frames].transpose(1, 0, 2, 3)  # (2, T, H, W)
        grad = np.stack([-2 * weights @ s.reshape(-1) for s in part]).reshape(part.shape)
        expected[frames] = (part * (grad - (part * grad).sum(0))).transpose(1, 0, 2, 3)
    got = logit_gradient(lambda p: joint()(crops, p, sequence), logits)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", ["dense", "permutohedral"])
@pytest.mark.parametrize("form", FORMS)
def test_the_spatial_gradient_is_the_derivative_of_the_energy(crops, logits, form, method):
    images, logits = crops[3:, :, 2:5, 3:7], logits[3:, :, 2:5, 3:7]

    def energies(z):
        return spatial(form, method)(images, z.softmax(1))

    assert torch.autograd.gradcheck(energies, logits.clone().requires_grad_())


@pytest.mark.parametrize("method", ["dense", "grid", "permutohedral"])
@pytest.mark.parametrize("form", FORMS)
def test_the_joint_gradient_is_the_derivative_of_the_energy(crops, logits, sequence, form, method):
    images, logits = crops[1:, :, 2:4, 3:6], logits[1:, :, 2:4, 3:6]

    def energies(z):
        return joint(form, method)(images, z.softmax(1), sequence[1:], 2)

    assert torch.autograd.gradcheck(energies, logits.clone().requires_grad_())


def test_cut_and_association_differ_by_the_sum_of_all_weights(
    crops, logits, sequence, pair_weights
):
    probs = logits.softmax(1)
    ones = [pair_weights(crops[sequence == g], 15.0).sum() for g in (0, 1)]
    cut, association = (joint(form)(crops, probs, sequence) for form in ("cut", "association"))
    assert (cut >= 0).all()
    assert (association <= 0).all()
    torch.testing.assert_close(
        cut - association, torch.tensor(ones, dtype=torch.float64), rtol=1e-12, atol=0
    )
    ones = [pair_weights(crops[i : i + 1], 15.0, SIGMA_XY).sum() for i in range(5)]
    difference = spatial("cut")(crops, probs) - spatial("association")(crops, probs)
    torch.testing.assert_close(
        difference, torch.tensor(ones, dtype=torch.float64), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("method", ["dense", "grid"])
def test_both_forms_have_the_same_gradient_on_the_logits(crops, logits, sequence, method):
    joined = [
        logit_gradient(lambda p, form=form: joint(form, method)(crops, p, sequence), logits)
        for form in FORMS
    ]
    torch.testing.assert_close(joined[0], joined[1], rtol=1e-8, atol=1e-8)
    single = [
        logit_gradient(lambda p, form=form: spatial(form)(crops, p), logits) for form in FORMS
    ]
    torch.testing.assert_close(single[0], single[1], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("method", "tolerance"), [("grid", 0.002), ("permutohedral", 0.04)])
@pytest.mark.parametrize("form", FORMS)
def test_fast_filters_are_close_to_the_exact_joint_energy(
    crops, logits, sequence, form, method, tolerance, energy_of_pairs
):
    probs = logits.softmax(1)
    got = joint(form, method)(crops, probs.float(), sequence)
    for g in (0, 1):
        exact = energy_of_pairs(crops[sequence == g], probs[sequence == g], form, 15.0)
        assert got[g].item() == pytest.approx(exact, rel=tolerance)


@pytest.mark.parametrize("form", FORMS)
def test_the_lattice_is_close_to_the_exact_spatial_energy(crops, logits, form, energy_of_pairs):
    probs = logits.softmax(1)
    got = spatial(form, "permutohedral")(crops, probs.float())
    for i in range(5):
        exact = energy_of_pairs(crops[i : i + 1], probs[i : i + 1], form, 15.0, SIGMA_XY)
        assert got[i].item() == pytest.approx(exact, rel=0.08)


@pytest.mark.parametrize("method", ["dense", "grid"])
def test_the_joint_term_is_independent_of_positions(crops, logits, sequence, method):
    """Pixels of one sequence are permuted within and between its frames."""
    images, maps = crops[:3], logits[:3].float()
    order = torch.randperm(3 * 12 * 14, generator=torch.Generator().manual_seed(1))

    def shuffled(x):
        flat = x.transpose(0, 1).reshape(x.shape[1], -1)[:, order]
        return flat.reshape(x.shape[1], 3, 12, 14).transpose(0, 1).contiguous()

    def energies(frames):
        return lambda p: joint(method=method)(frames, p, torch.zeros(3, dtype=torch.long))

    before = energies(images)(maps.softmax(1))
    after = energies(shuffled(images))(shuffled(maps).softmax(1))
    torch.testing.assert_close(after, before, rtol=1e-5, atol=0)
    torch.testing.assert_close(
        logit_gradient(energies(shuffled(images)), shuffled(maps)),
        shuffled(logit_gradient(energies(images), maps)),
        rtol=1e-4,
        atol=1e-4,
    )


def test_the_spatial_term_depends_on_distances_but_not_on_direction(crops, logits):
    probs = logits.softmax(1)
    before = spatial()(crops, probs)
    for axes in ((2,), (3,), (2, 3)):
        torch.testing.assert_close(spatial()(crops.flip(axes), probs.flip(axes)), before)
    order = torch.randperm(14, generator=torch.Generator().manual_seed(1))
    moved = spatial()(crops[..., order], probs[..., order])
    assert (moved - before).abs().min() > 1e-3 * before.abs().min()


@pytest.mark.parametrize("form", FORMS)
def test_the_joint_term_is_independent_of_the_order_of_frames_and_sequences(
    crops, logits, sequence, form
):
    energies = joint(form)(crops, logits.softmax(1), sequence)
    gradient = logit_gradient(lambda p: joint(form)(crops, p, sequence), logits)
    order = torch.tensor([4, 2, 0, 3, 1])
    mixed = joint(form)(crops[order], logits[order].softmax(1), sequence[order])
    torch.testing.assert_close(mixed, energies)
    mixed = logit_gradient(lambda p: joint(form)(crops[order], p, sequence[order]), logits[order])
    torch.testing.assert_close(mixed, gradient[order])
    renamed = joint(form)(crops, logits.softmax(1), 1 - sequence)
    torch.testing.assert_close(renamed, energies.flip(0))


def test_the_spatial_term_is_independent_of_the_order_of_frames(crops, logits):
    order = torch.tensor([4, 2, 0, 3, 1])
    before = spatial(method="permutohedral")(crops, logits.softmax(1))
    after = spatial(method="permutohedral")(crops[order], logits[order].softmax(1))
    torch.testing.assert_close(after, before[order])


@pytest.mark.parametrize("method", ["dense", "grid", "permutohedral"])
def test_sequences_are_independent_of_each_other(crops, logits, sequence, method):
    other_images, other_logits = crops.clone(), logits.clone()
    other_images[3:] = crops[3:].flip(2) // 2
    other_logits[3:] = -2 * logits[3:]

    def energies(images):
        return lambda p: joint(method=method)(images, p, sequence)

    before, after = (
        energies(crops)(logits.softmax(1)), energies(other_images)(other_logits.softmax(1))
    )  # fmt: skip
    torch.testing.assert_close(after[0], before[0], rtol=1e-9, atol=0)
    assert (after[1] - before[1]).abs() > 1e-3 * before[1].abs()
    torch.testing.assert_close(
        logit_gradient(energies(other_images), other_logits)[:3],
        logit_gradient(energies(crops), logits)[:3],
        rtol=1e-8,
        atol=1e-8,
    )


@pytest.mark.parametrize("method", ["dense", "permutohedral"])
def test_frames_are_independent_of_each_other_in_the_spatial_term(crops, logits, method):
    other = crops.clone()
    other[2] = 255 - crops[2]
    before, after = (spatial(method=method)(x, logits.softmax(1)) for x in (crops, other))
    kept = torch.tensor([0, 1, 3, 4])
    torch.testing.assert_close(after[kept], before[kept], rtol=1e-9, atol=0)


@pytest.mark.parametrize("form", FORMS)
def test_a_sequence_of_one_frame_has_joint_energy_and_gradient_zero(crops, logits, form):
    sequences = torch.tensor([0, 0, 1, 2, 2])
    energies = joint(form, "grid")(crops, logits.softmax(1), sequences)
    assert energies[1] == 0
    assert (energies[[0, 2]] != 0).all()
    gradient = logit_gradient(lambda p: joint(form, "grid")(crops, p, sequences), logits)
    assert (gradient[2] == 0).all()
    assert all(gradient[i].abs().max() > 0 for i in (0, 1, 3, 4))


def test_num_sequences_is_optional(crops, logits, sequence):
    probs = logits.softmax(1)
    found = joint()(crops, probs, sequence)
    torch.testing.assert_close(joint()(crops, probs, sequence, 2), found)
    more = joint()(crops, probs, sequence, 4)  # sequences without frames have energy 0
    torch.testing.assert_close(more, torch.cat([found, torch.zeros(2, dtype=torch.float64)]))


def test_maps_of_one_label_have_cut_zero_and_full_association(crops, sequence, pair_weights):
    probs = torch.zeros(5, 2, 12, 14, dtype=torch.float64)
    probs[:, 1] = 1
    assert (joint("cut")(crops, probs, sequence) == 0).all()
    whole = [-pair_weights(crops[sequence == g], 15.0).sum() for g in (0, 1)]
    torch.testing.assert_close(
        joint("association")(crops, probs, sequence),
        torch.tensor(whole, dtype=torch.float64),
        rtol=1e-12,
        atol=0,
    )


def test_an_unknown_form_is_refused(crops, logits, sequence):
    with pytest.raises(ValueError, match="form"):
        joint("normalized")(crops, logits.softmax(1), sequence)
