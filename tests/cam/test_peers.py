"""The same maps as pytorch-grad-cam's, before its resizing and its normalization."""

import numpy as np
import pytest
import torch
from torch import nn

from colocam.cam import ActivationMap

peers = pytest.importorskip("pytorch_grad_cam")

CLASSES = torch.tensor([1, 4, 2])


class Scores(nn.Module):
    """Encoder and head as one network that returns class scores."""

    def __init__(self, model) -> None:
        super().__init__()
        self.encoder, self.head = model.encoder, model.head

    def forward(self, images):
        return self.head(self.encoder(images)[-1])


@pytest.fixture(scope="module")
def learning(make_classifier):
    """Their hooks want parameters that require gradients."""
    return make_classifier()


def raw_maps(peer_class, model, layer, images, scale=1.0):
    """Their `get_cam_image` of the layer, of activations over `scale` and gradients times it."""
    module = model.encoder.get_submodule(layer)
    with peer_class(Scores(model), [module]) as peer:
        scores = peer.activations_and_grads(images)
        scores.gather(1, CLASSES[:, None]).sum().backward()
        (a,), (g,) = peer.activations_and_grads.activations, peer.activations_and_grads.gradients
        a, g = a.double().numpy() / scale, g.double().numpy() * scale
        maps = peer.get_cam_image(images, module, None, a, g, False)
    model.zero_grad()
    return np.maximum(maps, 0)  # as their compute_cam_per_layer does next


def compare(got, want):
    got, scale = got.numpy(), want.max((1, 2), keepdims=True)
    assert (scale > 0).all()
    assert (got.max((1, 2)) > got.min((1, 2))).all()
    np.testing.assert_allclose(got / scale, want / scale, rtol=0, atol=1e-4)


@pytest.mark.parametrize("layer", ["layer2", "layer3.1.conv2", "layer4"])
@pytest.mark.parametrize(("method", "name"), [("gradcam", "GradCAM"), ("layercam", "LayerCAM")])
def test_gradcam_and_layercam_are_theirs_at_any_layer(learning, images, method, name, layer):
    want = raw_maps(getattr(peers, name), learning, layer, images)
    compare(ActivationMap(learning, method, layer)(images, CLASSES), want)


@pytest.mark.parametrize("layer", ["layer2", "layer3.0", "layer4"])
def test_xgradcam_is_theirs_behind_a_relu(learning, images, layer):
    """They add 1e-7 to ΣA, which only counts where a channel is all but dead."""
    compare(
        ActivationMap(learning, "xgradcam", layer)(images, CLASSES),
        raw_maps(peers.XGradCAM, learning, layer, images),
    )


@pytest.mark.parametrize("layer", ["layer2", "layer3.0", "layer4"])
def test_gradcam_plus_plus_is_theirs_but_for_their_constant(learning, images, layer):
    """They add 1e-6 to 2g² + g³ΣA, which the paper does not.

    The map of A/s and s·g is that of A and g, if nothing is added. A large s drowns the constant;
    with gradients as small as those of many places and small weights, the constant wins.
    """
    got = ActivationMap(learning, "gradcam++", layer)(images, CLASSES)
    compare(got, raw_maps(peers.GradCAMPlusPlus, learning, layer, images, scale=1e4))
    of_small_gradients = raw_maps(peers.GradCAMPlusPlus, learning, layer, images, scale=1e-3)
    assert of_small_gradients.max() < 0.5 * got.max()


@pytest.mark.parametrize(
    ("method", "name"),
    [("gradcam", "GradCAM"), ("xgradcam", "XGradCAM"), ("layercam", "LayerCAM")],
)
def test_the_closed_form_is_theirs_at_the_last_layer(learning, images, method, name):
    want = raw_maps(getattr(peers, name), learning, "layer4", images)
    compare(ActivationMap(learning, method)(images, CLASSES), want)
