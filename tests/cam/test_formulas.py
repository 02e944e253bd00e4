"""Each formula against its definition, computed position by position in float64."""

import numpy as np
import pytest
import torch

from colocam.cam import formulas
from colocam.cam.formulas import Gradient

B, M, C, H, W = 2, 3, 4, 3, 5


def relu(x):
    return np.maximum(x, 0)


def gradcam(a, g):
    weights = [g[k].mean() for k in range(C)]
    return relu(sum(weights[k] * a[k] for k in range(C)))


def xgradcam(a, g):
    weights = [(g[k] * a[k] / a[k].sum()).sum() if a[k].any() else 0.0 for k in range(C)]
    return relu(sum(weights[k] * a[k] for k in range(C)))


def layercam(a, g):
    return relu(sum(relu(g[k]) * a[k] for k in range(C)))


def gradcam_plus_plus(a, g):
    """The paper's α with squares and cubes, position by position; α = 0 where g is 0."""
    out = np.zeros((H, W))
    for k in range(C):
        weight = 0.0
        for y, x in np.ndindex(H, W):
            one = g[k, y, x]
            if one != 0:
                alpha = one**2 / (2 * one**2 + a[k].sum() * one**3)
                weight += alpha * max(one, 0.0)
        out += weight * a[k]
    return relu(out)


DEFINITIONS = {
    "gradcam": (formulas.gradcam, gradcam),
    "xgradcam": (formulas.xgradcam, xgradcam),
    "layercam": (formulas.layercam, layercam),
    "gradcam++": (formulas.gradcam_plus_plus, gradcam_plus_plus),
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def activations_and_gradients(rng):
    """Activations as after a ReLU, with a channel of zeros; gradients with zeros."""
    a = rng.normal(0.3, 1.0, (B, C, H, W)).clip(min=0)
    a[1, 2] = 0
    g = rng.normal(0.1, 0.5, (B, M, C, H, W))
    g[0, 0, :, 1, 1] = 0
    return a, g


def expected(definition, a, g):
    return np.stack([[definition(a[b], g[b, m]) for m in range(M)] for b in range(B)])


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_maps_of_any_gradient_match_their_definition(name, signed, rng):
    """Also for activations below zero, as before a ReLU."""
    formula, definition = DEFINITIONS[name]
    a, g = activations_and_gradients(rng)
    if signed:
        a -= 0.8
    gradient = Gradient(torch.from_numpy(g), torch.ones(1, 1, 1, 1, dtype=torch.float64))
    got = formula(torch.from_numpy(a), gradient).numpy()
    want = expected(definition, a, g)
    assert (want > 0).any()
    assert (want == 0).any() or not signed
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_maps_of_a_factored_gradient_match_their_definition(name, constant, rng):
    formula, definition = DEFINITIONS[name]
    a, _ = activations_and_gradients(rng)
    rows = rng.normal(0.1, 0.5, (B, M, C, 1, 1))
    spatial = rng.uniform(size=(1, 1, 1, 1) if constant else (B, M, H, W))
    spatial.flat[0] *= constant  # otherwise one position has weight 0
    g = np.broadcast_to(rows * spatial[:, :, None], (B, M, C, H, W))
    gradient = Gradient(torch.from_numpy(rows), torch.from_numpy(spatial))
    got = formula(torch.from_numpy(a), gradient).numpy()
    np.testing.assert_allclose(got, expected(definition, a, g), rtol=1e-10, atol=1e-12)


def test_cam_weights_the_channels_and_may_be_negative(rng):
    a, rows = rng.normal(size=(B, C, H, W)), rng.normal(size=(B, M, C))
    gradient = Gradient(
        torch.from_numpy(rows)[..., None, None], torch.full((1, 1, 1, 1), 1 / (H * W))
    )
    got = formulas.cam(torch.from_numpy(a), gradient).numpy()
    want = np.zeros((B, M, H, W))
    for b, m, y, x in np.ndindex(B, M, H, W):
        want[b, m, y, x] = rows[b, m] @ a[b, :, y, x]
    assert want.min() < 0
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_gradcam_plus_plus_is_finite_for_a_denominator_of_zero():
    """Possible with negative activations: 2 + g·ΣA = 0 with g = 1, ΣA = −2."""
    a = torch.full((1, 1, 1, 2), -1.0)
    gradient = Gradient(torch.ones(1, 1, 1, 1, 2), torch.ones(1, 1, 1, 1))
    assert formulas.gradcam_plus_plus(a, gradient).isfinite().all()


def test_gradcam_plus_plus_handles_gradients_whose_cube_underflows():
    """α is ½, without a constant added to g²."""
    a = torch.ones(1, 1, 2, 2)
    gradient = Gradient(torch.full((1, 1, 1, 2, 2), 1e-20), torch.ones(1, 1, 1, 1))
    got = formulas.gradcam_plus_plus(a, gradient)
    torch.testing.assert_close(got, torch.full((1, 1, 2, 2), 4 * 0.5e-20), rtol=1e-5, atol=0.0)


def test_moments_of_one_image_give_gradcam_plus_plus(rng):
    a, g = (torch.from_numpy(x) for x in activations_and_gradients(rng))
    ones = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    slope, curvature = formulas.moments(iter([g]))
    got = formulas.gradcam_plus_plus(a, Gradient(slope, ones), Gradient(curvature, ones))
    want = formulas.gradcam_plus_plus(a, Gradient(g, ones))
    torch.testing.assert_close(got, want)


def test_moments_are_averaged_before_the_division(rng):
    """Omeiza et al. 2019, with D² as α's numerator."""
    a, _ = activations_and_gradients(rng)
    noisy = rng.normal(0.1, 0.5, (6, B, M, C, H, W))
    noisy[:, 1, 1, 0, 2, 2] = 0
    first, second, third = (np.mean(noisy**power, axis=0) for power in (1, 2, 3))
    total = a.sum((2, 3))[:, None, :, None, None]
    with np.errstate(invalid="ignore"):
        alpha = second / (2 * second + total * third)
    alpha[second == 0] = 0
    weights = (alpha * relu(first)).sum((3, 4))
    want = relu(np.einsum("bmc,bcij->bmij", weights, a))

    slope, curvature = formulas.moments(torch.from_numpy(one) for one in noisy)
    ones = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    got = formulas.gradcam_plus_plus(
        torch.from_numpy(a), Gradient(slope, ones), Gradient(curvature, ones)
    )
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-10, atol=1e-12)
