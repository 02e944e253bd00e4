"""Sum of the loss terms (Eq. 5): active terms and their weights."""

import dataclasses
import itertools
import math

import pytest
import torch

from colocam.losses import Counts, LocalizerLoss, LossSettings, Schedule

OFF = Schedule(0.0)
ALONE = LossSettings(OFF, OFF, OFF, OFF, spatial_method="dense", joint_method="dense")
SIZE = (12, 14)
ENERGY_SCALE = (224 * 224 / (12 * 14)) ** 2


@pytest.fixture
def seeds() -> torch.Tensor:
    drawn = torch.randint(0, 6, (5, 12, 14), generator=torch.Generator().manual_seed(5))
    return torch.where(drawn < 2, drawn, 255).to(torch.uint8)


@pytest.fixture
def terms(crops, logits, seeds, sequence):
    """Terms of the crops at an epoch: terms(settings, epoch=0, sequence=..., maps=...)."""

    def compute(settings, epoch=0.0, frames_of=sequence, maps=None, num_sequences=None):
        count = int(frames_of.max()) + 1 if num_sequences is None else num_sequences
        maps = logits.float() if maps is None else maps
        return LocalizerLoss(settings, SIZE)(crops, maps, seeds, frames_of, count, epoch)

    return compute


def test_only_active_terms_are_returned(terms):
    settings = dataclasses.replace(
        ALONE,
        pl=Schedule(1.0, last_epoch=2),
        crf=Schedule(2e-9, first_epoch=1),
        asc=Schedule(0.01, first_epoch=2, last_epoch=2),
        coloc=Schedule(9.0, first_epoch=1, ramp=2.0),
    )
    assert set(terms(settings, 0.9)) == {"pl", "total"}
    assert set(terms(settings, 1.0)) == {"pl", "crf", "total"}  # the ramp begins at 0
    assert set(terms(settings, 1.1)) == {"pl", "crf", "coloc", "total"}
    assert set(terms(settings, 2.9)) == {"pl", "crf", "asc", "coloc", "total"}
    assert set(terms(settings, 3.0)) == {"crf", "coloc", "total"}


def test_the_total_is_the_sum_of_the_terms(terms):
    settings = dataclasses.replace(
        ALONE, pl=Schedule(1.0), crf=Schedule(2e-9), asc=Schedule(0.01), coloc=Schedule(9.0)
    )
    values = terms(settings)
    total = sum(values[name].double() for name in ("pl", "crf", "asc", "coloc"))
    torch.testing.assert_close(values["total"].double(), total, rtol=1e-6, atol=0)


def test_default_settings_match_the_papers():
    settings = LossSettings()
    weights = [settings.pl.weight, settings.crf.weight, settings.asc.weight, settings.coloc.weight]
    assert weights == [1.0, 2e-9, 0.01, 9.0]
    assert settings.coloc_adaptive
    assert settings.form == "association"
    assert (settings.sigma_rgb, settings.sigma_xy) == (15.0, 100.0)


def test_without_active_terms_total_and_gradient_are_zero(terms, logits):
    maps = logits.float().requires_grad_()
    values = terms(ALONE, maps=maps)
    values["total"].backward()
    assert set(values) == {"total"}
    assert values["total"] == 0
    assert (maps.grad == 0).all()


def test_pl_is_multiplied_by_its_weight(terms, logits, seeds):
    labelled = [
        math.log(1 + math.exp((zero - one) if label == 1 else (one - zero)))
        for zero, one, label in zip(
            logits[:, 0].flatten().tolist(),
            logits[:, 1].flatten().tolist(),
            seeds.flatten().tolist(),
            strict=True,
        )
        if label != 255
    ]
    got = terms(dataclasses.replace(ALONE, pl=Schedule(0.5)))["pl"]
    assert got.item() == pytest.approx(0.5 * sum(labelled) / len(labelled), rel=1e-5)


@pytest.mark.parametrize("form", ["association", "cut"])
def test_the_crf_term_is_scaled_from_224_pixels_and_averaged_over_frames(
    terms, crops, logits, form, energy_of_pairs
):
    """λ·(224²/HW)², and σ_xy = 100 at side 224 is 100·√(HW)/224 here."""
    probs, sigma_xy = logits.softmax(1), 100 * math.sqrt(12 * 14) / 224
    energies = [
        energy_of_pairs(crops[i : i + 1], probs[i : i + 1], form, 15.0, sigma_xy) for i in range(5)
    ]
    settings = dataclasses.replace(ALONE, crf=Schedule(2e-9), form=form)
    expected = 2e-9 * ENERGY_SCALE * sum(energies) / 5
    assert terms(settings)["crf"].item() == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("size", [(224, 224), (112, 112), (96, 96), (64, 128)])
def test_lambda_and_sigma_scale_with_the_frame(size):
    loss = LocalizerLoss(LossSettings(), size)
    pixels = size[0] * size[1]
    assert loss.energy_scale == pytest.approx((224**2 / pixels) ** 2)
    assert loss.spatial.sigma_xy == pytest.approx(100 * math.sqrt(pixels) / 224)
    assert loss.spatial.sigma_rgb == loss.joint.sigma_rgb == 15


def test_the_asc_term_sharpens_with_the_epoch(terms, logits):
    areas = logits.softmax(1).sum((2, 3)).flatten().tolist()
    assert min(areas) > 1
    settings = dataclasses.replace(ALONE, asc=Schedule(0.01))
    for epoch, z in ((0.0, 1.0), (0.9, 1.0), (2.5, 1.01**2)):
        expected = -0.01 * sum(math.log(area) for area in areas) / 10 / z
        assert terms(settings, epoch)["asc"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("form", ["association", "cut"])
def test_constant_coloc_is_scaled_and_averaged_over_sequences_of_several_frames(
    terms, crops, logits, form, energy_of_pairs
):
    sequence, probs = torch.tensor([0, 0, 1, 2, 2]), logits.softmax(1)
    energies = [
        energy_of_pairs(crops[sequence == g], probs[sequence == g], form, 15.0) for g in (0, 2)
    ]
    settings = dataclasses.replace(ALONE, coloc=Schedule(1e-9), coloc_adaptive=False, form=form)
    expected = 1e-9 * ENERGY_SCALE * sum(energies) / 2
    got = terms(settings, frames_of=sequence, num_sequences=4)["coloc"]  # the last has no frame
    assert got.item() == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize(("form", "sign"), [("association", -1), ("cut", 1)])
def test_adaptive_coloc_has_the_magnitude_of_its_weight(terms, sequence, form, sign):
    settings = dataclasses.replace(ALONE, coloc=Schedule(7.0), form=form)
    for frames_of in (sequence, torch.tensor([0, 0, 1, 2, 2])):
        assert terms(settings, frames_of=frames_of)["coloc"].item() == pytest.approx(7.0 * sign)
    ramped = dataclasses.replace(ALONE, coloc=Schedule(8.0, ramp=4.0), form=form)
    assert terms(ramped, 1.5)["coloc"].item() == pytest.approx(3.0 * sign)


def test_adaptive_coloc_pulls_each_video_by_its_own_energy(
    terms, crops, logits, sequence, energy_of_pairs
):
    """The gradient is λ_c / |R_g| / G that of R_g: the mean is computed after the weighting."""
    gradients = {}
    for adaptive in (True, False):
        settings = dataclasses.replace(ALONE, coloc=Schedule(1.0), coloc_adaptive=adaptive)
        maps = logits.float().requires_grad_()
        terms(settings, maps=maps)["total"].backward()
        gradients[adaptive] = maps.grad
    probs = logits.softmax(1)
    for g in (0, 1):
        frames = sequence == g
        energy = energy_of_pairs(crops[frames], probs[frames], "association", 15.0)
        torch.testing.assert_close(
            gradients[True][frames],
            gradients[False][frames] / (ENERGY_SCALE * abs(energy)),
            rtol=1e-4,
            atol=1e-9,
        )


def test_coloc_of_single_frames_has_value_and_gradient_zero(terms, logits):
    maps = logits.float().requires_grad_()
    settings = dataclasses.replace(ALONE, coloc=Schedule(9.0))
    loss = terms(settings, frames_of=torch.arange(5), maps=maps)["total"]
    loss.backward()
    assert loss == 0
    assert (maps.grad == 0).all()


def test_a_sequence_with_cut_zero_is_part_of_the_mean(
    terms, crops, logits, sequence, energy_of_pairs
):
    """Maps with one label everywhere have a cut of 0."""
    maps = logits.float().clone()
    maps[3:, 0], maps[3:, 1] = 300, -300
    probs = maps.double().softmax(1)
    energy = energy_of_pairs(crops[:3], probs[:3], "cut", 15.0)
    settings = dataclasses.replace(ALONE, coloc=Schedule(1e-9), coloc_adaptive=False, form="cut")
    got = terms(settings, maps=maps)["coloc"].item()
    assert got == pytest.approx(1e-9 * ENERGY_SCALE * energy / 2, rel=2e-5)


@pytest.mark.parametrize("adaptive", [True, False])
def test_the_sum_is_independent_of_the_order_of_frames_and_sequences(
    crops, logits, seeds, sequence, adaptive
):
    settings = dataclasses.replace(
        LossSettings(spatial_method="dense"), coloc_adaptive=adaptive,
        coloc=Schedule(9.0 if adaptive else 1e-9),
    )  # fmt: skip
    order = torch.tensor([4, 2, 0, 3, 1])
    loss, maps = LocalizerLoss(settings, SIZE), logits.float()
    before = loss(crops, maps, seeds, sequence, 2, 0)
    after = loss(crops[order], maps[order], seeds[order], 1 - sequence[order], 2, 0)
    assert set(before) == set(after)
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-5, atol=1e-6)


def test_a_sequence_does_not_affect_the_gradient_of_another(crops, logits, seeds, sequence):
    """Other frames and maps in one sequence, with the same number of labels."""
    loss = LocalizerLoss(LossSettings(spatial_method="dense"), SIZE)
    images, maps = crops.clone(), logits.float().clone()
    images[3:], maps[3:] = crops[3:].flip(2) // 2, -2 * maps[3:]
    gradients = []
    for frames, z in ((crops, logits.float()), (images, maps)):
        z = z.clone().requires_grad_()
        loss(frames, z, seeds, sequence, 2, 0)["total"].backward()
        gradients.append(z.grad)
    torch.testing.assert_close(gradients[1][:3], gradients[0][:3], rtol=1e-4, atol=1e-8)
    assert not torch.allclose(gradients[1][3:], gradients[0][3:], rtol=1e-2)


def test_half_precision_maps_are_computed_in_float32(terms, logits):
    half = logits.bfloat16()
    settings = dataclasses.replace(
        ALONE, pl=Schedule(1.0), crf=Schedule(2e-9), asc=Schedule(0.01), coloc=Schedule(9.0)
    )
    got, expected = terms(settings, maps=half), terms(settings, maps=half.float())
    for name, value in expected.items():
        assert got[name].dtype == torch.float32
        assert got[name] == value


# ---- a step over several batches or ranks


def test_counts_of_labels_frames_and_sequences_of_several_frames(seeds):
    counts = Counts.of(seeds, torch.tensor([0, 0, 1, 3, 3]), 5)  # 2 and 4 have no frame
    assert [count.item() for count in counts] == [(seeds != 255).sum().item(), 5, 2, 5]
    assert {(count.dtype, count.shape) for count in counts} == {(torch.float32, ())}
    none = Counts.of(torch.full_like(seeds, 255), torch.arange(5), 5)
    assert [count.item() for count in none] == [0, 5, 0, 5]
    weights = torch.tensor([0.5, 1.0, 0.25, 0.0, 1.0])  # the last sequence has one frame left
    weighted = Counts.of(seeds, torch.tensor([0, 0, 1, 3, 3]), 5, weights)
    labelled = (weights * (seeds != 255).sum((1, 2))).sum()
    assert [count.item() for count in weighted] == [labelled, 2.75, 0.75, 5]


def all_terms(adaptive, form="association"):
    return LossSettings(
        crf=Schedule(2e-9), coloc=Schedule(9.0 if adaptive else 1e-9), coloc_adaptive=adaptive,
        form=form, spatial_method="dense", joint_method="dense",
    )  # fmt: skip


PARTS = [
    ((0, 0, 0, 1, 1), (3,)),  # two sequences, a batch each
    ((0, 0, 1, 2, 2), (2, 3)),  # the middle batch has one frame, and no joint term
    ((0, 1, 2, 3, 4), (1, 4)),
]


def batches(frames_of, cuts):
    """(frames, their sequences from 0, number of sequences) of the batches that end at the cuts."""
    for start, end in itertools.pairwise((0, *cuts, 5)):
        own = torch.tensor(frames_of[start:end])
        yield slice(start, end), own - own.min(), int(own.max() - own.min()) + 1


@pytest.mark.parametrize(("frames_of", "cuts"), PARTS)
@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("form", ["association", "cut"])
def test_batches_divided_by_the_counts_of_all_sum_to_the_loss_over_all(
    crops, logits, seeds, frames_of, cuts, adaptive, form
):
    """Every term and the gradient; labels are uneven, so that a mean of means would differ."""
    seeds = seeds.clone()
    seeds[3:, 4:] = 255
    loss, maps = LocalizerLoss(all_terms(adaptive, form), SIZE), logits.float().requires_grad_()
    parts = list(batches(frames_of, cuts))
    whole = loss(crops, maps, seeds, torch.tensor(frames_of), max(frames_of) + 1, 0)
    (expected,) = torch.autograd.grad(whole["total"], maps)
    each = [Counts.of(seeds[own], sequence, count) for own, sequence, count in parts]
    counts = Counts(*(torch.stack(kind).sum() for kind in zip(*each, strict=True)))
    total, gradient = {}, torch.zeros_like(maps)
    for own, sequence, count in parts:
        losses = loss(crops[own], maps[own], seeds[own], sequence, count, 0, counts)
        for name, value in losses.items():
            total[name] = total.get(name, 0.0) + value.detach()
        gradient += torch.autograd.grad(losses["total"], maps)[0]
    assert set(total) == set(whole) == {"pl", "crf", "asc", "coloc", "total"}
    for name, value in whole.items():
        torch.testing.assert_close(total[name], value.detach(), rtol=2e-5, atol=1e-7)
    torch.testing.assert_close(gradient, expected, rtol=2e-4, atol=1e-8)


@pytest.mark.parametrize(("frames_of", "cuts"), PARTS)
def test_ranks_divided_by_mean_counts_average_to_the_loss_over_all(
    crops, logits, seeds, frames_of, cuts
):
    """Gradients are averaged over ranks, and so are the counts."""
    loss, maps = LocalizerLoss(all_terms(True), SIZE), logits.float().requires_grad_()
    parts = list(batches(frames_of, cuts))
    whole = loss(crops, maps, seeds, torch.tensor(frames_of), max(frames_of) + 1, 0)["total"]
    (expected,) = torch.autograd.grad(whole, maps)
    each = [Counts.of(seeds[own], sequence, count) for own, sequence, count in parts]
    counts = Counts(*(torch.stack(kind).mean() for kind in zip(*each, strict=True)))
    values = [
        loss(crops[own], maps[own], seeds[own], sequence, count, 0, counts)["total"]
        for own, sequence, count in parts
    ]
    torch.testing.assert_close(torch.stack(values).mean(), whole, rtol=2e-5, atol=1e-7)
    gradients = torch.stack([torch.autograd.grad(value, maps)[0] for value in values])
    torch.testing.assert_close(gradients.mean(0), expected, rtol=2e-4, atol=1e-8)


def test_counts_default_to_those_of_the_batch(crops, logits, seeds, sequence):
    loss = LocalizerLoss(all_terms(True), SIZE)
    given = loss(crops, logits, seeds, sequence, 2, 0, Counts.of(seeds, sequence, 2))
    for name, value in loss(crops, logits, seeds, sequence, 2, 0).items():
        assert torch.equal(given[name], value)


def test_counts_of_zero_give_a_loss_of_zero_and_not_nan(crops, logits, seeds):
    """A step without labels and without sequences of two frames."""
    loss, nothing = LocalizerLoss(all_terms(True), SIZE), Counts(*torch.zeros(4))
    seeds, maps = torch.full_like(seeds, 255), logits.float().requires_grad_()
    losses = loss(crops, maps, seeds, torch.arange(5), 5, 0, nothing)
    assert all(value.isfinite() for value in losses.values())
    assert losses["pl"] == losses["coloc"] == 0
    losses["total"].backward()
    assert maps.grad.isfinite().all()


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("form", ["association", "cut"])
def test_a_frame_of_weight_0_is_ignored(crops, logits, seeds, adaptive, form):
    """Every term and the gradient, also for a sequence with one remaining frame."""
    loss = LocalizerLoss(all_terms(adaptive, form), SIZE)
    sequence = torch.tensor([0, 0, 0, 1, 1])
    kept = torch.tensor([True, False, True, True, False])
    maps = logits.float().requires_grad_()
    found = loss(crops, maps, seeds, sequence, 2, 0, frame_weights=kept.float())
    (gradient,) = torch.autograd.grad(found["total"], maps)
    left = logits.float()[kept].requires_grad_()
    expected = loss(crops[kept], left, seeds[kept], sequence[kept], 2, 0)
    (expected_gradient,) = torch.autograd.grad(expected["total"], left)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=2e-5, atol=1e-7)
    assert (gradient[~kept] == 0).all()
    torch.testing.assert_close(gradient[kept], expected_gradient, rtol=2e-4, atol=1e-8)


@pytest.mark.parametrize("adaptive", [True, False])
def test_equal_weights_give_the_unweighted_loss(crops, logits, seeds, sequence, adaptive):
    loss = LocalizerLoss(all_terms(adaptive), SIZE)
    expected = loss(crops, logits, seeds, sequence, 2, 0)
    weights = torch.full((len(seeds),), 0.3)
    for name, value in loss(crops, logits, seeds, sequence, 2, 0, frame_weights=weights).items():
        torch.testing.assert_close(value, expected[name], rtol=2e-5, atol=1e-7)


def test_per_frame_terms_are_weighted_means(crops, logits, seeds):
    """Weighted means of the terms of each frame alone."""
    loss = LocalizerLoss(all_terms(True), SIZE)
    weights, alone = torch.tensor([1.0, 0.25, 0.5, 0.0, 0.75]), torch.arange(5)
    found = loss(crops, logits, seeds, alone, 5, 0, frame_weights=weights)
    each = [
        loss(crops[i : i + 1], logits[i : i + 1], seeds[i : i + 1], alone[:1], 1, 0)
        for i in range(5)
    ]
    for name in ("crf", "asc"):
        values = torch.stack([one[name] for one in each])
        expected = (weights * values).sum() / weights.sum()
        torch.testing.assert_close(found[name], expected, rtol=2e-5, atol=1e-7)
    labelled = weights * (seeds != 255).sum((1, 2))
    values = torch.stack([one["pl"] for one in each])
    expected = (labelled * values).sum() / labelled.sum()
    torch.testing.assert_close(found["pl"], expected, rtol=2e-5, atol=1e-7)


def test_a_pair_of_pixels_is_weighted_by_both_its_frames(crops, logits, seeds):
    settings = all_terms(False)
    loss, sequence = LocalizerLoss(settings, SIZE), torch.tensor([0, 0, 0, 1, 1])
    weights = torch.tensor([1.0, 0.5, 0.25, 0.5, 1.0])
    found = loss(crops, logits, seeds, sequence, 2, 0, frame_weights=weights)["coloc"]
    energies = []
    for own in (torch.arange(3), torch.tensor([3, 4])):
        probs = logits[own].float().softmax(1) * weights[own].view(-1, 1, 1, 1)
        colors = crops[own].permute(0, 2, 3, 1).reshape(-1, 3).double()
        kernel = torch.exp(-(torch.cdist(colors, colors) ** 2) / (2 * settings.sigma_rgb**2))
        flat = probs.permute(1, 0, 2, 3).reshape(2, -1).double()
        mean = weights[own].mean()
        energies.append(-torch.einsum("kp,pq,kq->", flat, kernel, flat) / mean)  # · mean / mean²
    scale = settings.coloc.weight * loss.energy_scale
    total = weights[:3].mean() + weights[3:].mean()
    expected = scale * torch.stack(energies).sum() / total
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=0)
