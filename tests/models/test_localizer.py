"""Decoder and localizer: shapes, and equality with their literal definition."""

import pytest
import torch
import torch.nn.functional as F

from colocam.models import Localizer
from colocam.models.decoder import Block


@pytest.fixture(scope="module")
def small() -> Localizer:
    torch.manual_seed(0)
    return Localizer("resnet18", 3).eval()


def test_frame_of_odd_size_has_maps_of_its_size(small):
    images = torch.randn(2, 3, 45, 61, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, maps = small(images)
    assert maps.shape == (2, 2, 45, 61)
    assert logits.isfinite().all()
    assert maps.isfinite().all()


def test_forward_is_classify_and_decode_over_the_same_features(small):
    images = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, maps = small(images)
        features = small.encoder(images)
        assert torch.equal(logits, small.classify(features))
        assert torch.equal(maps, small.decode(features, (48, 48)))
        pooled = features[-1].double().mean((2, 3))  # WGAP
        by_hand = pooled @ small.head.weight.double().T + small.head.bias.double()
    torch.testing.assert_close(logits.double(), by_hand, rtol=1e-4, atol=1e-4)


def literal_block(block: Block, deep: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
    """Upsample ×2 nearest, match the skip's size (bilinear), concatenate, twice conv-BN-ReLU."""
    deep = F.interpolate(deep, scale_factor=2, mode="nearest")
    if skip is not None:
        deep = F.interpolate(deep, skip.shape[-2:], mode="bilinear", align_corners=False)
        deep = torch.cat([deep, skip], dim=1)
    return block.conv2(block.conv1(deep))


@pytest.mark.parametrize("deep_size", [(6, 8), (5, 7), (1, 1)])
@pytest.mark.parametrize("skip_size", ["same", "double", "one less", None])
def test_decoder_block_equals_its_definition(deep_size, skip_size):
    height, width = deep_size
    sizes = {
        "same": (height, width),
        "double": (2 * height, 2 * width),
        "one less": (2 * height - 1, 2 * width - 1),
    }
    generator = torch.Generator().manual_seed(0)
    deep = torch.randn(2, 4, height, width, generator=generator)
    skip = skip_size and torch.randn(2, 3, *sizes[skip_size], generator=generator)
    block = Block(4, 3 if skip_size else 0, 5).eval()
    with torch.no_grad():
        got, expected = block(deep, skip), literal_block(block, deep, skip)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_decoder_is_five_blocks(small):
    images = torch.randn(1, 3, 57, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = small.encoder(images)
        x = features[-1]
        skips = (features[3], features[2], features[1], features[0], None)
        for block, skip in zip(small.decoder.blocks, skips, strict=True):
            x = literal_block(block, x, skip)
        torch.testing.assert_close(small.decoder(features), x, rtol=1e-4, atol=1e-5)
    assert [block.conv2[0].out_channels for block in small.decoder.blocks] == [256, 128, 64, 32, 16]


def test_last_block_does_not_upsample_a_map_of_the_frames_size():
    torch.manual_seed(0)
    model = Localizer("vgg16", 3).eval()
    images = torch.randn(1, 3, 57, 64)
    with torch.no_grad():
        features = model.encoder(images)
        x = features[-1]
        for layer in model.decoder.centre:  # the centre block keeps width and size
            x = layer(x)
            assert x.shape == features[-1].shape
        *blocks, last = model.decoder.blocks
        for block, skip in zip(blocks, features[3::-1], strict=True):
            x = literal_block(block, x, skip)
        x = last.conv2(last.conv1(x))
        assert x.shape == (1, 16, 57, 64)
        torch.testing.assert_close(model.decoder(features), x, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model.decode(features, (57, 64)), model.to_maps(x))
    assert len(model.decoder.centre) == 2


def test_only_vgg_has_a_centre_block(small):
    assert not list(small.decoder.centre)
    assert not any("centre" in name for name in small.state_dict())


def test_classifier_and_decoder_partition_the_parameters(small):
    classifier, decoder = (
        {id(p) for module in modules for p in module.parameters()}
        for modules in (small.classifier_modules(), small.decoder_modules())
    )
    assert not classifier & decoder
    assert classifier | decoder == {id(p) for p in small.parameters()}


def test_frozen_classifier_has_no_gradient_and_keeps_its_statistics():
    torch.manual_seed(0)
    model = Localizer("resnet18", 3).train()
    for module in model.classifier_modules():
        module.requires_grad_(False)
        module.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    _, maps = model(torch.randn(2, 3, 32, 32))
    maps.square().sum().backward()
    for module in model.classifier_modules():
        assert all(p.grad is None for p in module.parameters())
    for module in model.decoder_modules():
        assert all(p.grad is not None for p in module.parameters())
    changed = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert changed
    assert all(name.startswith("decoder.") for name in changed)


def test_unknown_encoder_is_refused():
    with pytest.raises(ValueError, match=r"encoder.*resnet34.*resnet50"):
        Localizer("resnet34")


@torch.no_grad()
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_initial_foreground_is_the_share_of_every_pixel(share):
    model = Localizer("resnet18", 3).train()
    model.set_initial_foreground(share)
    _, maps = model(torch.randn(2, 3, 64, 48))
    foreground = maps.softmax(1)[:, 1]
    torch.testing.assert_close(foreground, torch.full_like(foreground, share))


def test_decoder_learns_from_an_initial_foreground():
    model = Localizer("resnet18", 3)
    model.set_initial_foreground(0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    images = torch.randn(2, 3, 64, 64)
    for _ in range(2):  # in the first step only the last convolution has a gradient
        optimizer.zero_grad()
        model(images)[1][:, 1].mean().backward()
        optimizer.step()
    assert model.decoder.blocks[0].conv1[0].weight.grad.abs().max() > 0
