"""Activation maps in closed form, against their definitions by automatic differentiation."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from colocam.cam import activation_map, normalized_map
from colocam.model import Localizer

CLASSES = torch.tensor([0, 2, 3])


@pytest.fixture(scope="module")
def model() -> Localizer:
    torch.manual_seed(0)
    return Localizer("resnet18", 4).eval()


@pytest.fixture(scope="module")
def features(model) -> list[torch.Tensor]:
    """Feature maps of three frames; the last is (3, 512, 8, 10)."""
    images = torch.randn(3, 3, 64, 80, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model.encoder(images)


def class_gradient(model, features, classes) -> tuple[torch.Tensor, torch.Tensor]:
    """The last feature map and the gradient of each frame's class logit there."""
    last = features[-1].clone().requires_grad_()
    logits = model.classify([*features[:-1], last])
    logits.gather(1, classes[:, None]).sum().backward()
    return last.detach(), last.grad


def test_layercam_is_its_definition_by_autograd(model, features):
    """ReLU(Σ_k ReLU(∂y/∂A_k) ∘ A_k), Jiang et al. 2021; the gradient lacks h·w = 80."""
    last, gradient = class_gradient(model, features, CLASSES)
    expected = (gradient.relu() * last).sum(1).relu() * 80
    got = activation_map(features[-1], model.head.weight, CLASSES, "layercam")
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_cam_is_gradcam_before_its_relu(model, features):
    """Weights are gradients averaged over places, Selvaraju et al. 2017."""
    last, gradient = class_gradient(model, features, CLASSES)
    expected = (gradient.mean((2, 3), keepdim=True) * last).sum(1) * 80
    got = activation_map(features[-1], model.head.weight, CLASSES, "cam")
    assert got.min() < 0
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["cam", "layercam"])
def test_maps_are_sums_over_channels_pixel_by_pixel(method):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 5, 3, 4)).astype(np.float32)
    weight, classes = rng.normal(size=(3, 5)).astype(np.float32), [2, 0]
    expected = np.zeros((2, 3, 4))
    for b, y, x in np.ndindex(2, 3, 4):
        row = weight[classes[b]]
        if method == "layercam":
            row = np.maximum(row, 0)
        expected[b, y, x] = float(row @ features[b, :, y, x])
    if method == "layercam":
        expected = np.maximum(expected, 0)
    got = activation_map(
        torch.from_numpy(features), torch.from_numpy(weight), torch.tensor(classes), method
    )
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_cam_averaged_over_places_is_the_logit(model, features):
    """Zhou et al. 2016: the class score is the CAM's mean, and the bias."""
    maps = activation_map(features[-1], model.head.weight, CLASSES, "cam")
    logits = model.classify(features).gather(1, CLASSES[:, None])[:, 0]
    torch.testing.assert_close(maps.mean((1, 2)) + model.head.bias[CLASSES], logits)


@pytest.mark.parametrize("method", ["cam", "layercam"])
def test_one_frames_map_does_not_depend_on_the_others(model, features, method):
    weight = model.head.weight
    together = activation_map(features[-1], weight, CLASSES, method)
    alone = activation_map(features[-1][1:2], weight, CLASSES[1:2], method)
    torch.testing.assert_close(together[1:2], alone)


@pytest.mark.parametrize("method", ["cam", "layercam"])
def test_maps_are_computed_in_single_precision_whatever_autocast_says(model, features, method):
    half = features[-1].bfloat16()
    expected = activation_map(half.float(), model.head.weight, CLASSES, method)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = activation_map(half, model.head.weight, CLASSES, method)
    assert got.dtype == torch.float32
    assert torch.equal(got, expected)


def test_an_unknown_method_is_refused(model, features):
    with pytest.raises(ValueError, match="method"):
        activation_map(features[-1], model.head.weight, CLASSES, "gradcam")


def test_normalized_maps_are_upsampled_and_stretched_each_by_itself():
    maps = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0)) * 7 - 2
    got = normalized_map(maps, (20, 30))
    for one, result in zip(maps, got, strict=True):
        up = F.interpolate(one[None, None], (20, 30), mode="bilinear")[0, 0]
        torch.testing.assert_close(result, (up - up.min()) / (up.max() - up.min()))


@given(
    npst.arrays(np.float32, (2, 3, 4), elements=st.floats(-1e4, 1e4, width=32)),
    st.sampled_from([(3, 4), (7, 9), (24, 32)]),
)
@settings(deadline=None, max_examples=60)
def test_normalized_maps_span_zero_to_one_or_are_zero(maps, size):
    got = normalized_map(torch.from_numpy(maps), size)
    assert got.shape == (2, *size)
    for one in got:
        assert one.min() == 0
        assert one.max() in (0, 1)


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3, -1.7, 1e3, 1e-20])
@pytest.mark.parametrize(("side", "size"), [(7, 56), (12, 96), (28, 224), (5, 33)])
def test_a_constant_map_becomes_zero(value, side, size):
    maps = torch.full((2, side, side), value)
    maps[1, 2, 3] += 1 + abs(value)
    got = normalized_map(maps, (size, size))
    assert (got[0] == 0).all()
    assert got[1].max() == 1


def test_a_faint_map_is_still_stretched():
    maps = torch.zeros(1, 4, 4)
    maps[0, 1, 1] = 1e-30
    assert normalized_map(maps, (16, 16)).max() == 1


def test_nothing_in_the_normalization_reads_the_data():
    """On the meta device tensors have no data: any look at them would raise."""
    maps = torch.empty(2, 5, 5, device="meta")
    assert normalized_map(maps, (40, 40)).shape == (2, 40, 40)
