"""Encoders: sizes, numbers of parameters, equality with torchvision's features, gradients."""

import functools

import pytest
import torch
import torchvision
from torch import nn

from colocam.models import Localizer
from colocam.models.encoders import ENCODERS
from colocam.models.inception import STAGES
from colocam.models.resnet import ResNetEncoder

CHANNELS = {
    "resnet18": (64, 64, 128, 256, 512),
    "resnet50": (64, 256, 512, 1024, 2048),
    "vgg16": (64, 128, 256, 512, 512),
    "inceptionv3": (64, 192, 288, 768, 2048),
}
STRIDES = dict.fromkeys(CHANNELS, (2, 4, 8, 8, 8)) | {"vgg16": (1, 2, 4, 8, 8)}

# Of torchvision's whole networks (its documentation), less the layers that are not used.
FULLY_CONNECTED = 1000 * 2048 + 1000
AUXILIARY = 128 * 768 + 2 * 128 + 768 * 128 * 25 + 2 * 768 + 1000 * 768 + 1000
VGG_CLASSIFIER = 4096 * 512 * 49 + 4096 + 4096**2 + 4096 + 1000 * 4096 + 1000
BACKBONE_PARAMETERS = {
    "resnet18": 11_689_512 - (1000 * 512 + 1000),
    "resnet50": 25_557_032 - FULLY_CONNECTED,
    "vgg16": 138_357_544 - VGG_CLASSIFIER,
    "inceptionv3": 27_161_264 - FULLY_CONNECTED - AUXILIARY,
}


@functools.cache
def without_data(encoder: str) -> Localizer:
    """A model on the meta device, for shapes and counts."""
    with torch.device("meta"):
        return Localizer(encoder, 10)


def sides(encoder: str, side: int) -> list[int]:
    """Sides of the five maps: torchvision's VGG rounds down, the others round up."""
    if encoder == "vgg16":
        return [side // stride for stride in STRIDES[encoder]]
    return [-(-side // stride) for stride in STRIDES[encoder]]


def parameters(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


# Sizes


def test_table_has_the_four_encoders():
    assert list(ENCODERS) == list(CHANNELS)


@pytest.mark.parametrize("encoder", CHANNELS)
@pytest.mark.parametrize("size", [(224, 224), (64, 64), (97, 65), (32, 33)])
def test_maps_have_the_sizes_of_their_strides(encoder, size):
    model = without_data(encoder)
    features = model.encoder(torch.empty(2, 3, *size, device="meta"))
    rows, columns = (sides(encoder, side) for side in size)
    assert model.encoder.channels == CHANNELS[encoder]
    assert model.encoder.strides == STRIDES[encoder]
    expected = list(zip([2] * 5, CHANNELS[encoder], rows, columns, strict=True))
    assert [tuple(f.shape) for f in features] == expected


@pytest.mark.parametrize("encoder", CHANNELS)
def test_last_map_of_224_pixels_has_side_28_and_the_decoders_output_224(encoder):
    model = without_data(encoder)
    features = model.encoder(torch.empty(2, 3, 224, 224, device="meta"))
    assert features[-1].shape[-2:] == (28, 28)
    assert model.decoder(features).shape == (2, 16, 224, 224)
    assert model.classify(features).shape == (2, 10)


@pytest.mark.parametrize("encoder", CHANNELS)
@pytest.mark.parametrize("size", [(225, 223), (97, 130), (39, 47), (33, 50), (32, 32)])
def test_maps_have_the_size_of_the_frame(encoder, size):
    logits, maps = without_data(encoder)(torch.empty(2, 3, *size, device="meta"))
    assert logits.shape == (2, 10)
    assert maps.shape == (2, 2, *size)


# Numbers of parameters


@pytest.mark.parametrize("encoder", CHANNELS)
def test_classifier_has_torchvisions_parameters_less_skipped_layers(encoder):
    model = without_data(encoder)
    assert parameters(model.encoder) == BACKBONE_PARAMETERS[encoder]
    assert parameters(model.head) == 10 * CHANNELS[encoder][-1] + 10


@pytest.mark.parametrize("encoder", CHANNELS)
def test_decoder_has_the_parameters_of_its_convolutions_and_norms(encoder):
    def layer(inputs, outputs):
        return 9 * inputs * outputs + 2 * outputs

    deepest, *skips = reversed(CHANNELS[encoder])
    expected = 2 * layer(deepest, deepest) if encoder == "vgg16" else 0  # the centre block
    deep = deepest
    for skip, width in zip([*skips, 0], (256, 128, 64, 32, 16), strict=True):
        expected += layer(deep + skip, width) + layer(width, width)
        deep = width
    expected += 2 * 16 * 9 + 2
    assert parameters(*without_data(encoder).decoder_modules()) == expected


def test_resnet50_has_the_papers_numbers_of_parameters():
    model = without_data("resnet50")
    counts = [model.classifier_modules(), model.decoder_modules(), [model]]
    assert [round(parameters(*m) / 1e6, 2) for m in counts] == [23.53, 9.01, 32.54]


# torchvision's state dicts


@pytest.mark.parametrize("encoder", CHANNELS)
def test_torchvisions_state_dict_loads_into_every_tensor(encoder, torchvision_network):
    state = torchvision_network(encoder).state_dict()
    ours = ENCODERS[encoder][0]()
    ours.load_backbone(state)
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(ours.skipped)}
    filled = ours.state_dict()
    assert len(filled) == len(kept)
    for name, tensor in filled.items():
        (theirs,) = [kept[other] for other in kept if same_layer(encoder, name, other)]
        assert torch.equal(tensor, theirs)


def same_layer(encoder: str, ours: str, theirs: str) -> bool:
    """Whether the tensor `ours` is named `theirs` in torchvision."""
    stage, _, rest = ours.partition(".")
    if encoder == "vgg16":
        return f"features.{rest}" == theirs
    if encoder == "inceptionv3":
        assert rest.startswith(STAGES[stage])
        return rest == theirs
    return ours.replace("stem.0.", "conv1.").replace("stem.1.", "bn1.") == theirs


@pytest.mark.parametrize("other", ["resnet18", "vgg16", "inceptionv3"])
@pytest.mark.parametrize("encoder", CHANNELS)
def test_another_networks_state_dict_is_refused(encoder, other, torchvision_network):
    if other != encoder:
        with pytest.raises(RuntimeError, match=r"loading state_dict"):
            ENCODERS[encoder][0]().load_backbone(torchvision_network(other).state_dict())


def test_vgg_with_batch_norm_is_refused():
    with torch.device("meta"):
        state = torchvision.models.vgg16_bn().state_dict()
        with pytest.raises(RuntimeError, match=r"loading state_dict"):
            ENCODERS["vgg16"][0]().load_backbone(state)


# torchvision's features


def loaded(encoder: str, network: nn.Module) -> nn.Module:
    ours = ENCODERS[encoder][0]()
    ours.load_backbone(network.state_dict())
    return ours.eval()


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_vgg_equals_torchvision_without_its_fourth_pooling(
    torchvision_network,
):
    network = torchvision_network("vgg16")
    images = draw(2, 3, 54, 45)
    got = loaded("vgg16", network)(images)
    x, before_pooling = images, []
    for layer in network.features:
        if isinstance(layer, nn.MaxPool2d):
            before_pooling.append(x.clone())  # the next layers may work in place
            if len(before_pooling) > 3:
                continue
        x = layer(x)
    for ours, theirs in zip(got, before_pooling, strict=True):
        assert torch.equal(ours, theirs)


@pytest.fixture(scope="module")
def inceptions(torchvision_network) -> tuple[nn.Module, nn.Module]:
    """torchvision's InceptionV3, and the encoder with its weights."""
    network = torchvision_network("inceptionv3")
    return network, loaded("inceptionv3", network)


@torch.no_grad()
def test_inception_equals_torchvision_away_from_the_borders(inceptions):
    """Up to the first stride kept at 1, where torchvision crops 13 pixels per side."""
    network, encoder = inceptions
    side, cropped = 160, 13
    images = draw(1, 3, side + 2 * cropped, side + 2 * cropped + 16)
    theirs, x = [], network._transform_input(images)
    for stage in ("stage1", "stage2", "stage3"):
        for name in STAGES[stage]:
            x = network.get_submodule(name)(x)
        theirs.append(x)
    got = encoder(images[:, :, cropped:-cropped, cropped:-cropped])
    assert got[2].shape == theirs[2].shape == (1, 288, side // 8, side // 8 + 2)
    for k, margin in ((0, 3), (1, 3), (2, 8)):  # margin: positions that depend on a border
        shift = (theirs[k].shape[2] - got[k].shape[2]) // 2
        assert shift == (5, 1, 0)[k]
        inner = slice(margin, got[k].shape[2] - margin), slice(margin, got[k].shape[3] - margin)
        moved = tuple(slice(s.start + shift, s.stop + shift) for s in inner)
        ours = got[k][:, :, *inner]
        assert ours.numel() > 0
        torch.testing.assert_close(ours, theirs[k][:, :, *moved], rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("stage", "block"), [("stage4", "Mixed_6a"), ("stage5", "Mixed_7a")])
def test_inceptions_blocks_at_stride_1_contain_torchvisions_at_stride_2(inceptions, stage, block):
    network, encoder = inceptions
    theirs = network.get_submodule(block)
    x = draw(2, 288 if block == "Mixed_6a" else 768, 15, 11).relu()
    ours = encoder.get_submodule(f"{stage}.{block}")(x)
    assert ours.shape[-2:] == (15, 11)
    torch.testing.assert_close(ours[:, :, 1:-1:2, 1:-1:2], theirs(x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_inceptions_other_deep_blocks_equal_torchvision(inceptions):
    network, encoder = inceptions
    maps = encoder(draw(1, 3, 40, 48))
    for k, stage in ((3, "stage4"), (4, "stage5")):
        first, *others = STAGES[stage]
        x = encoder.get_submodule(f"{stage}.{first}")(maps[k - 1])
        for name in others:
            x = network.get_submodule(name)(x)
        assert torch.equal(maps[k], x)


@torch.no_grad()
def test_inception_normalizes_frames_as_its_weights_expect(inceptions):
    network, encoder = inceptions
    images = draw(2, 3, 8, 8)
    assert torch.equal(images * encoder.scale + encoder.shift, network._transform_input(images))
    frames = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    seen = encoder.normalized(frames) * encoder.scale + encoder.shift
    torch.testing.assert_close(seen, (frames / 255 - 0.5) / 0.5, rtol=1e-5, atol=1e-6)


def test_frames_are_normalized_by_imagenet_statistics():
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    low = torch.tensor([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])
    high = torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225])
    found = ResNetEncoder(18).normalized(images)
    torch.testing.assert_close(found.flatten(1), torch.stack([low, high]))


# Training


@torch.no_grad()
@pytest.mark.parametrize("encoder", CHANNELS)
def test_features_of_random_weights_vary_over_positions_and_frames(encoder):
    torch.manual_seed(0)
    features = ENCODERS[encoder][0]().eval()(draw(2, 3, 64, 64))[-1]
    assert features.isfinite().all()
    assert features.std((2, 3)).mean() > 0.01 * features.mean() > 0
    assert (features[0] - features[1]).std() > 0.01 * features.mean()


@pytest.mark.parametrize("encoder", CHANNELS)
def test_gradients_reach_every_parameter_and_the_frame(encoder):
    torch.manual_seed(0)
    model = Localizer(encoder, 3).train()
    images = torch.randn(2, 3, 33, 40, requires_grad=True)
    logits, maps = model(images)
    (logits.square().sum() + maps.square().mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert images.grad.abs().sum() > 0
