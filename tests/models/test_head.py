"""Pooling head: class logits, and the gradient of a class score in closed form."""

from typing import get_args

import numpy as np
import pytest
import torch

from colocam.models import Localizer
from colocam.models.head import SHARPNESS, Pooling, PoolingHead

POOLINGS = get_args(Pooling)
CLASSES = torch.tensor([[0, 2], [1, 1], [3, 0]])  # (B, M) of four


def make_head(pooling: str, dtype: torch.dtype = torch.float64) -> PoolingHead:
    torch.manual_seed(0)
    return PoolingHead(5, 4, pooling).to(dtype)


def draw_features(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(3, 5, 4, 6, generator=torch.Generator().manual_seed(1)).to(dtype)


def gradient(head: PoolingHead, features: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Gradient of every class score by the features, by autograd: (B, M, C, h, w)."""
    features = features.clone().requires_grad_()
    scores = head(features).gather(1, classes)
    columns = [
        torch.autograd.grad(column.sum(), features, retain_graph=True)[0] for column in scores.T
    ]
    return torch.stack(columns, dim=1)


def closed_form_gradient(head, features, classes) -> torch.Tensor:
    """weight[k] ⊗ pooling weights."""
    places = head.pooling_weights(features, classes)
    return head.weight[classes][..., None, None] * places[:, :, None]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradient_of_a_score_is_the_weight_row_times_the_pooling_weights(pooling):
    head, features = make_head(pooling), draw_features()
    got = closed_form_gradient(head, features, CLASSES)
    torch.testing.assert_close(got, gradient(head, features, CLASSES), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_positions_with_equal_features_share_the_gradient_as_in_autograd(pooling):
    head, features = make_head(pooling), draw_features().relu()
    features[0] = 0  # a frame without any activation
    features[1, :, :, 3:] = features[1, :, :, :3]  # every position twice
    got = head.pooling_weights(features, CLASSES)
    expected = gradient(head, features, CLASSES)
    torch.testing.assert_close(closed_form_gradient(head, features, CLASSES), expected)
    torch.testing.assert_close(got[0], torch.full_like(got[0], 1 / 24))
    torch.testing.assert_close(got[1, :, :, 3:], got[1, :, :, :3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_weights_sum_to_one(pooling, dtype):
    places = make_head(pooling, dtype).pooling_weights(100 * draw_features(dtype), CLASSES)
    assert places.shape == (3, 2, 4, 6)
    assert places.dtype == torch.float32
    assert (places >= 0).all()
    torch.testing.assert_close(places.sum((2, 3)), torch.ones(3, 2))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_scores_are_the_pooled_class_maps_plus_the_bias(pooling):
    head, features = make_head(pooling), draw_features()
    weight, bias = head.weight.detach().numpy(), head.bias.detach().numpy()
    maps = np.stack([np.tensordot(weight, frame, axes=1) for frame in features.numpy()])
    maps = maps.reshape(3, 4, -1)
    pooled = {
        "wgap": maps.mean(2),
        "gap": maps.mean(2),
        "max": maps.max(2),
        "lse": np.log(np.exp(10 * maps).mean(2)) / 10,
    }[pooling]
    np.testing.assert_allclose(head(features).detach(), pooled + bias, rtol=1e-12, atol=1e-12)
    got = head.class_maps(features).detach().flatten(2)
    np.testing.assert_allclose(got, maps, rtol=1e-12, atol=1e-12)


def test_default_is_a_linear_layer_on_the_means():
    torch.manual_seed(0)
    head = PoolingHead(5, 4)
    torch.manual_seed(0)
    linear = torch.nn.Linear(5, 4)
    features = draw_features(torch.float32)
    assert head.pooling == "wgap"
    assert head.state_dict().keys() == linear.state_dict().keys()
    assert torch.equal(head(features), linear(features.mean((2, 3))))


def test_log_mean_exp_stays_finite_and_between_mean_and_maximum():
    heads = {pooling: make_head(pooling, torch.float32) for pooling in ("gap", "lse", "max")}
    for scale in (1e-3, 1, 1e3, 1e6):
        features = scale * draw_features(torch.float32)
        mean, lse, highest = (head(features) for head in heads.values())
        slack = 1e-4 * max(scale, 1)
        assert (mean <= lse + slack).all()
        assert (lse <= highest + slack).all()
        # The maximum is one of 24 places.
        torch.testing.assert_close(
            lse, highest, rtol=1e-5, atol=np.log(24) / SHARPNESS + slack, msg="too far below"
        )
        assert heads["lse"].pooling_weights(features, CLASSES).isfinite().all()


@pytest.mark.parametrize("pooling", ["gap", "max", "lse"])
def test_class_maps_keep_float32_under_autocast(pooling):
    head, features = make_head(pooling, torch.float32), draw_features(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        scores, places = head(features), head.pooling_weights(features, CLASSES)
    assert scores.dtype == places.dtype == torch.float32
    assert torch.equal(scores, head(features))
    assert torch.equal(places, head.pooling_weights(features, CLASSES))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_localizer_classifies_with_the_pooling_that_it_was_given(pooling):
    torch.manual_seed(0)
    model = Localizer("resnet18", 3, pooling=pooling).eval()
    images = torch.randn(2, 3, 40, 48)
    with torch.no_grad():
        features = model.encoder(images)
        maps = torch.einsum("kc,bchw->bkhw", model.head.weight, features[-1]).flatten(2)
        pooled = {
            "wgap": maps.mean(2),
            "gap": maps.mean(2),
            "max": maps.max(2).values,
            "lse": (10 * maps).logsumexp(2) / 10 - np.log(30) / 10,
        }[pooling]
        torch.testing.assert_close(model(images)[0], pooled + model.head.bias, rtol=1e-4, atol=1e-4)


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match=r"pooling: unknown 'median'; known: wgap, gap, max, lse"):
        Localizer("resnet18", 3, pooling="median")
