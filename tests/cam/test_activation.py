"""ActivationMap: closed form, autograd at any layer, refused arguments."""

from typing import get_args

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from colocam.cam import ActivationMap, Method
from colocam.cam import gradients as gradients_module
from colocam.models import Localizer

NUM_CLASSES = 5
METHODS = get_args(Method)
BY_GRADIENT = tuple(name for name in METHODS if name != "cam")
CLASSES = torch.tensor([0, 3, 4])
SEVERAL = torch.tensor([[0, 3], [3, 1], [4, 4]])


def seeded(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def relative_difference(got, want):
    """Largest difference over the largest value, map by map."""
    scale = want.abs().amax((-2, -1), keepdim=True)
    assert (scale > 0).float().mean() > 0.6, "too many maps are 0 to compare"
    assert ((scale > 0) | (got == 0)).all()
    return ((got - want).abs() / scale.masked_fill(scale == 0, 1)).max()


@pytest.fixture(scope="module", params=["wgap", "gap", "max", "lse"])
def pooled(request, make_classifier):
    return make_classifier(pooling=request.param)


@pytest.mark.parametrize("method", BY_GRADIENT)
def test_closed_form_and_autograd_agree_at_the_last_map(pooled, images, method):
    closed = ActivationMap(pooled, method, samples=3, generator=seeded())
    by_autograd = ActivationMap(pooled, method, samples=3, generator=seeded(), autograd=True)
    want = by_autograd(images, SEVERAL)
    assert relative_difference(closed(images, SEVERAL), want) < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_features_give_the_same_maps_as_images(model, images, features, method):
    maps = ActivationMap(model, method)
    assert not maps.needs_images
    want = maps(images, CLASSES)
    assert want.shape == (3, 4, 6)
    assert want.dtype == torch.float32
    torch.testing.assert_close(maps.from_features(features, CLASSES), want)
    torch.testing.assert_close(maps(images, CLASSES, features), want)


def test_with_average_pooling_methods_coincide_as_documented(model, features):
    maps = {name: ActivationMap(model, name).from_features(features, SEVERAL) for name in METHODS}
    assert maps["cam"].min() < 0
    relu_of_cam = maps["cam"].relu() / 24
    assert relative_difference(maps["gradcam"], relu_of_cam) < 1e-5
    assert relative_difference(maps["xgradcam"], relu_of_cam) < 1e-5
    torch.testing.assert_close(maps["smoothgradcam++"], maps["gradcam++"])
    for one, other in [
        ("gradcam", "gradcam++"),
        ("gradcam", "layercam"),
        ("layercam", "gradcam++"),
    ]:
        a, b = (m / m.amax((2, 3), keepdim=True) for m in (maps[one], maps[other]))
        assert (a - b).abs().max() > 0.05


def test_cam_averaged_over_positions_is_the_class_score(model, features):
    """Zhou et al. 2016: the score is the mean of the CAM plus the bias."""
    maps = ActivationMap(model, "cam").from_features(features, CLASSES)
    scores = model.classify(features).gather(1, CLASSES[:, None])[:, 0]
    got = maps.mean((1, 2)) + model.head.bias[CLASSES]
    torch.testing.assert_close(got, scores, rtol=1e-5, atol=1e-4)


class Tail(nn.Module):
    """The stages of a ResNet from index `begin`, and the head."""

    def __init__(self, model, begin: int) -> None:
        super().__init__()
        encoder = model.encoder
        stages = [encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4]
        self.tail, self.model = nn.Sequential(*stages[begin:]), model

    def forward(self, activations):
        return self.model.classify([self.tail(activations)])


@pytest.mark.parametrize(("layer", "index"), [("layer1", 1), ("layer2", 2), ("layer3", 3)])
def test_maps_at_a_layer_match_their_definition(model, features, images, layer, index):
    """A and g without hooks, for one image and one class at a time."""
    tail = Tail(model, index)
    got = {
        name: ActivationMap(model, name, layer)(images, SEVERAL)
        for name in ("gradcam", "layercam", "xgradcam")
    }
    want = {name: torch.zeros_like(maps) for name, maps in got.items()}
    for b in range(3):
        for m in range(2):
            a = features[index][b : b + 1].clone().requires_grad_()
            (g,) = torch.autograd.grad(tail(a)[0, SEVERAL[b, m]], a)
            a, g = a.detach()[0], g[0]
            weights = g.mean((1, 2), keepdim=True)
            aligned = ((g * a).sum((1, 2)) / a.sum((1, 2)).clamp(min=1e-9))[:, None, None]
            want["gradcam"][b, m] = (weights * a).sum(0).relu()
            want["layercam"][b, m] = (g.relu() * a).sum(0).relu()
            want["xgradcam"][b, m] = (aligned * a).sum(0).relu()
    for name, maps in got.items():
        assert relative_difference(maps, want[name]) < 1e-4, name


def test_smooth_gradcam_plus_plus_at_a_layer_averages_over_noisy_images(model, images):
    """Equal to GradCAM++ without noise, different with noise, repeatable with a seed."""
    plain = ActivationMap(model, "gradcam++", "layer3")(images, CLASSES)
    still = ActivationMap(model, "smoothgradcam++", "layer3", samples=2, noise=0.0)
    torch.testing.assert_close(still(images, CLASSES), plain)
    smooth = [
        ActivationMap(model, "smoothgradcam++", "layer3", generator=seeded(seed))(images, CLASSES)
        for seed in (1, 1, 2)
    ]
    assert torch.equal(smooth[0], smooth[1])
    assert relative_difference(smooth[2], smooth[0]) > 1e-3
    assert relative_difference(smooth[0], plain) > 1e-3


@pytest.mark.parametrize("layer", [None, "layer3"])
@pytest.mark.parametrize("method", BY_GRADIENT)
def test_several_classes_give_the_maps_of_single_classes(model, images, method, layer):
    def maps(classes):
        return ActivationMap(model, method, layer, generator=seeded())(images, classes)

    together = maps(SEVERAL)
    assert together.shape == (3, 2, 4, 6)
    for m in range(2):
        assert relative_difference(together[:, m], maps(SEVERAL[:, m])) < 1e-5


@pytest.mark.parametrize("at_once", [1, 6, 10**6])
def test_maps_do_not_depend_on_the_classes_per_backward_pass(model, images, monkeypatch, at_once):
    want = ActivationMap(model, "layercam", "layer2")(images, SEVERAL)
    monkeypatch.setattr(gradients_module, "AT_ONCE", at_once)
    got = ActivationMap(model, "layercam", "layer2")(images, SEVERAL)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("layer", [None, "layer2"])
@pytest.mark.parametrize("method", ["gradcam++", "layercam", "xgradcam"])
def test_maps_do_not_depend_on_other_images(model, images, method, layer):
    maps = ActivationMap(model, method, layer)
    together = maps(images, CLASSES)
    alone = maps(images[1:2], CLASSES[1:2])
    assert relative_difference(alone, together[1:2]) < 1e-4


@pytest.mark.parametrize("layer", ["layer3.0.bn1", "layer4.1.bn2", "stem.1"])
def test_the_output_of_a_layer_is_taken_before_it_is_changed_in_place(model, images, layer):
    """Batch norm, whose output is overwritten by the following ReLU or sum."""
    seen = []
    handle = model.encoder.get_submodule(layer).register_forward_hook(
        lambda module, inputs, output: seen.append(output.clone())
    )
    got = ActivationMap(model, "gradcam", layer)(images, CLASSES)
    handle.remove()
    assert seen[0].min() < 0, "the ReLU has overwritten it"
    # GradCAM of the same maps, with the gradient of a shift added in the forward pass.
    shift = torch.zeros_like(seen[0], requires_grad=True)
    handle = model.encoder.get_submodule(layer).register_forward_hook(
        lambda module, inputs, output: output + shift
    )
    scores = model.classify(model.encoder(images))
    handle.remove()
    (g,) = torch.autograd.grad(scores.gather(1, CLASSES[:, None]).sum(), shift)
    want = (g.mean((2, 3), keepdim=True) * seen[0]).sum(1).relu()
    assert relative_difference(got, want) < 1e-4


@pytest.mark.parametrize(
    ("encoder", "layer"), [("vgg16", "stage4"), ("inceptionv3", "stage5.Mixed_7a")]
)
def test_other_backbones_have_maps_at_their_layers(make_classifier, encoder, layer):
    model = make_classifier(encoder)
    images = torch.randn(2, 3, 32, 32, generator=seeded())
    maps = ActivationMap(model, "layercam", layer)(images, SEVERAL[:2])
    assert maps.shape == (2, 2, 4, 4)
    assert (maps.amax((2, 3)) > 0).all()
    last = ActivationMap(model, "layercam", autograd=True)(images, CLASSES[:2])
    closed = ActivationMap(model, "layercam")(images, CLASSES[:2])
    assert relative_difference(closed, last) < 1e-5


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("layer", [None, "layer3"])
def test_no_grad_and_inference_mode_give_the_same_maps(model, images, mode, layer):
    maps = ActivationMap(model, "gradcam++", layer, autograd=True)
    want = maps(images, SEVERAL)
    with mode():
        got = maps(images * 1, SEVERAL * 1)  # created in that mode
        features = model.encoder(images)
        assert not torch.is_grad_enabled()
    torch.testing.assert_close(got, want)
    if layer is None:
        with mode():
            torch.testing.assert_close(maps.from_features(features, SEVERAL), want)
    assert torch.is_grad_enabled()
    assert not got.requires_grad


@pytest.mark.parametrize("frozen", [False, True])
def test_parameters_and_their_gradients_are_unchanged(make_classifier, images, frozen):
    model = make_classifier().requires_grad_(not frozen)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    maps = ActivationMap(model, "layercam", "layer3")(images, CLASSES)
    assert (maps.amax((1, 2)) > 0).all()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("layer", "autograd"), [(None, False), (None, True), ("layer3", True)])
def test_maps_are_computed_in_float32_under_autocast(model, images, layer, autograd):
    maps = ActivationMap(model, "layercam", layer, autograd=autograd)
    want = maps(images, CLASSES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = maps(images, CLASSES)
    assert got.dtype == torch.float32
    assert torch.equal(got, want)


@pytest.mark.parametrize("method", METHODS)
def test_half_precision_features_give_float32_maps(model, features, method):
    half = [one.bfloat16() for one in features]
    maps = ActivationMap(model, method)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = maps.from_features(half, SEVERAL)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, maps.from_features([one.float() for one in half], SEVERAL))


def hooks(model) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )


def test_hooks_are_removed_from_the_model(model, images):
    ActivationMap(model, "layercam", "layer3")(images, CLASSES)
    assert hooks(model) == 0


def test_hooks_are_removed_from_the_model_after_an_error(model, images):
    maps = ActivationMap(model, "layercam", "layer3")
    with pytest.raises(RuntimeError):
        maps(images[:, :2], CLASSES)  # two colour channels
    assert hooks(model) == 0
    assert torch.is_grad_enabled()
    with torch.no_grad():
        with pytest.raises(RuntimeError):
            maps(images[:, :2], CLASSES)
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize("pooling", ["wgap", "lse", "max"])
def test_images_are_needed_where_features_do_not_suffice(make_classifier, pooling):
    model = make_classifier(pooling=pooling)
    averages = pooling == "wgap"
    for method in METHODS:
        noisy = method == "smoothgradcam++" and not averages
        assert ActivationMap(model, method).needs_images == noisy
        assert ActivationMap(model, method, "last").needs_images == noisy
        if method != "cam":
            assert ActivationMap(model, method, "layer4").needs_images


def test_features_alone_are_refused_where_images_are_needed(model, features):
    with pytest.raises(ValueError, match="'layercam' at this layer needs the images"):
        ActivationMap(model, "layercam", "layer3").from_features(features, CLASSES)


def test_the_last_layer_by_name_gives_the_maps_of_last(model, images):
    by_name = ActivationMap(model, "layercam", "layer4")(images, CLASSES)
    last = ActivationMap(model, "layercam", "last")(images, CLASSES)
    assert relative_difference(by_name, last) < 1e-5


@pytest.mark.parametrize("pooling", ["wgap", "max", "lse"])
def test_the_closed_form_does_not_synchronize(pooling):
    """Fake GPU tensors have no data: reading them, which would synchronize, raises an error."""
    with FakeTensorMode(), torch.device("cuda"):
        model = Localizer("resnet18", NUM_CLASSES, pooling=pooling).eval()
        images, classes = torch.empty(2, 3, 32, 32), torch.empty(2, 3, dtype=torch.long)
        for method in METHODS:
            assert ActivationMap(model, method)(images, classes).shape == (2, 3, 4, 4)
        with pytest.raises(RuntimeError):
            int(classes.max())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("layer", [None, "layer3"])
@pytest.mark.parametrize("method", BY_GRADIENT)
def test_maps_on_a_gpu_match_the_cpu(make_classifier, images, method, layer):
    model = make_classifier()
    want = ActivationMap(model, method, layer, noise=0.0)(images, SEVERAL)
    model.cuda()
    got = ActivationMap(model, method, layer, noise=0.0)(images.cuda(), SEVERAL.cuda())
    assert relative_difference(got.cpu(), want) < 1e-2  # TF32 may be on


def test_an_unknown_method_is_refused_with_the_known_ones(model):
    with pytest.raises(ValueError, match=r"method: unknown 'scorecam'; known: cam, gradcam, .*"):
        ActivationMap(model, "scorecam")


@pytest.mark.parametrize("layer", ["layer9", "", "layer3.7.conv1"])
def test_an_unknown_layer_is_refused_with_the_top_level_ones(model, layer):
    with pytest.raises(ValueError, match=f"layer: unknown '{layer}'; known: last, stem, pool, lay"):
        ActivationMap(model, "layercam", layer)


def test_cam_at_another_layer_than_the_last_is_refused(model):
    with pytest.raises(ValueError, match=r"'cam' is defined at the last .* not at layer 'layer3'"):
        ActivationMap(model, "cam", "layer3")


@pytest.mark.parametrize(("index", "classes"), [(5, [0, 5, 1]), (-1, [0, -1, 1])])
@pytest.mark.parametrize("layer", [None, "layer3"])
def test_a_class_out_of_range_is_refused(model, images, layer, index, classes):
    with pytest.raises(ValueError, match=f"classes: unknown index {index}; known: 0 to 4"):
        ActivationMap(model, "layercam", layer)(images, torch.tensor(classes))


@pytest.mark.parametrize("shape", [(2,), (3, 1, 1), ()])
def test_classes_that_do_not_match_the_batch_are_refused(model, images, shape):
    with pytest.raises(ValueError, match="classes"):
        ActivationMap(model, "layercam")(images, torch.zeros(shape, dtype=torch.long))


@pytest.mark.parametrize("options", [{"samples": 0}, {"noise": -0.1}])
def test_no_sample_and_negative_noise_are_refused(model, options):
    with pytest.raises(ValueError, match="samples, noise"):
        ActivationMap(model, "smoothgradcam++", **options)


def test_a_layer_without_a_map_is_refused(make_classifier, images):
    model = make_classifier()
    model.encoder.add_module("unused", nn.Conv2d(3, 3, 1))
    with pytest.raises(ValueError, match="do not depend on it"):
        ActivationMap(model, "layercam", "unused")(images, CLASSES)
    model.encoder.layer4.append(nn.Flatten(2))
    with pytest.raises(ValueError, match="no map"):
        ActivationMap(model, "layercam", "layer4.2")(images, CLASSES)
