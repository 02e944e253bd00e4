"""Maps match those of pytorch-grad-cam before its resizing and normalization."""

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
def trainable(make_classifier):
    """The hooks of pytorch-grad-cam need parameters that require gradients."""
    return make_classifier()


def raw_maps(peer_class, model, layer, images, scale=1.0):
    """`get_cam_image` of the peer for activations divided and gradients multiplied by `scale`."""
    module = model.encoder.get_submodule(layer)
    with peer_class(Scores(model), [module]) as peer:
        scores = peer.activations_and_grads(images)
        scores.gather(1, CLASSES[:, None]).sum().backward()
        (a,), (g,) = peer.activations_and_grads.activations, peer.activations_and_grads.gradients
        a, g = a.double().numpy() / scale, g.double().numpy() * scale
        maps = peer.get_cam_image(images, module, None, a, g, False)
    model.zero_grad()
    return np.maximum(maps, 0)  # as compute_cam_per_layer does next


def compare(got, want):
    got, scale = got.numpy(), want.max((1, 2), keepdims=True)
    assert (scale > 0).all()
    assert (got.max((1, 2)) > got.min((1, 2))).all()
    np.testing.assert_allclose(got / scale, want / scale, rtol=0, atol=1e-4)


@pytest.mark.parametrize("layer", ["layer2", "layer3.1.conv2", "layer4"])
@pytest.mark.parametrize(("method", "name"), [("gradcam", "GradCAM"), ("layercam", "LayerCAM")])
def test_gradcam_and_layercam_match_at_any_layer(trainable, images, method, name, layer):
    want = raw_maps(getattr(peers, name), trainable, layer, images)
    compare(ActivationMap(trainable, method, layer)(images, CLASSES), want)


@pytest.mark.parametrize("layer", ["layer2", "layer3.0", "layer4"])
def test_xgradcam_matches_after_a_relu(trainable, images, layer):
    """The peer adds 1e-7 to ΣA, which matters only for channels of nearly zero."""
    compare(
        ActivationMap(trainable, "xgradcam", layer)(images, CLASSES),
        raw_maps(peers.XGradCAM, trainable, layer, images),
    )


@pytest.mark.parametrize("layer", ["layer2", "layer3.0", "layer4"])
def test_gradcam_plus_plus_matches_up_to_an_added_constant(trainable, images, layer):
    """The peer adds 1e-6 to 2g² + g³ΣA, which the paper does not.

    Without the constant, A/s and s·g give the map of A and g. With a large s the constant is
    negligible; with small gradients, as of many positions and small weights, it dominates.
    """
    got = ActivationMap(trainable, "gradcam++", layer)(images, CLASSES)
    compare(got, raw_maps(peers.GradCAMPlusPlus, trainable, layer, images, scale=1e4))
    of_small_gradients = raw_maps(peers.GradCAMPlusPlus, trainable, layer, images, scale=1e-3)
    assert of_small_gradients.max() < 0.5 * got.max()


@pytest.mark.parametrize(
    ("method", "name"),
    [("gradcam", "GradCAM"), ("xgradcam", "XGradCAM"), ("layercam", "LayerCAM")],
)
def test_the_closed_form_matches_at_the_last_layer(trainable, images, method, name):
    want = raw_maps(getattr(peers, name), trainable, "layer4", images)
    compare(ActivationMap(trainable, method)(images, CLASSES), want)
