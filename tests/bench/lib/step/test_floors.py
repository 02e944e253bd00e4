"""bench/lib/step/floors.py: operations and bytes equal an independent count."""

import pytest
import torch

from lib.step.floors import make_floors

from colocam.models import Localizer
from colocam.training.config import Config


def count_macs(config, frames):
    """Counts encoder, decoder and backward pass of the decoder by hooks.

    The gradient of a convolution on its weights has as many as its forward pass, and so has that
    on its input.
    """
    with torch.device("meta"):
        model = Localizer(config.encoder, 1)
        images = torch.empty(frames, 3, config.crop, config.crop)
    macs = {"encoder": 0, "decoder forward": 0, "decoder backward": 0}

    def add(part, layer, inputs, output):
        count = layer.weight[0].numel() * output[:, 0].numel() * layer.out_channels
        macs[part] += count
        if part == "decoder forward":
            macs["decoder backward"] += count * (1 + inputs[0].requires_grad)

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            part = "encoder" if name.startswith("encoder") else "decoder forward"
            module.register_forward_hook(lambda *given, part=part: add(part, *given))
    with torch.no_grad():
        features = model.encoder(images)
    model.decode(features, images.shape[2:])
    return macs, model


def test_floors_are_operations_of_convolutions_and_bytes_of_tensors():
    config = Config(encoder="resnet18", crop=64)
    rate, bandwidth, frames = 2e9, 5e8, 3
    floors = make_floors(config, frames, 2, rate, bandwidth)
    macs, model = count_macs(config, frames)
    for part, count in macs.items():
        assert floors[part].ms == pytest.approx(1e3 * 2 * count / rate)

    pixels = frames * 64 * 64
    maps = gradient = 2 * 4 * pixels
    colors, labels = 3 * pixels, pixels
    trained = sum(p.numel() for m in model.decoder_modules() for p in m.parameters())
    moved = {
        "CAM": 2 * frames * 512 * 8 * 8 + 4 * pixels,
        "seeds": 4 * pixels + labels,
        "losses": colors + maps + labels + gradient,
        "pl alone": maps + labels + gradient,
        "crf alone": colors + maps + gradient,
        "asc alone": maps + gradient,
        "coloc alone": colors + maps + gradient,
        "crf and coloc": colors + maps + gradient,
        "optimizer": 5 * 4 * trained,
    }
    for part, count in moved.items():
        assert floors[part].ms == pytest.approx(1e3 * count / bandwidth), part
    assert set(floors) == {*macs, *moved}
