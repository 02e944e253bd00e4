"""Parts of the step that are compiled or rounded give what they give otherwise."""

import pytest
import torch

from colocam.losses import Counts, LocalizerLoss, LossSettings, Schedule
from colocam.models import Localizer
from colocam.runtime.device import make_autocast
from colocam.training.localizer.frozen_encoder import FrozenEncoder
from colocam.training.localizer.step_losses import StepLosses

CPU = torch.device("cpu")


def frames(count: int = 4, side: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("amp", ["off", "bf16"])
@pytest.mark.parametrize("encoder", ["resnet18", "vgg16", "timm:tf_efficientnet_lite0:half"])
def test_a_frozen_encoder_gives_the_bits_of_autocast(encoder, amp):
    if encoder.startswith("timm"):
        pytest.importorskip("timm")
    torch.manual_seed(0)
    model = Localizer(encoder, 3).eval().to(memory_format=torch.channels_last)
    autocast = make_autocast(amp, CPU)
    normalized, features = FrozenEncoder(model.encoder, autocast)(frames())
    with torch.no_grad(), autocast():
        images = model.encoder.normalized(frames())
        expected = model.encoder(images)
    assert torch.equal(normalized, images)
    assert len(features) == len(expected)
    for ours, theirs in zip(features, expected, strict=True):
        assert torch.equal(ours, theirs)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def batch():
    """Maps, frames, seeds, sequence of two sequences of two frames."""
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(4, 2, 64, 64, generator=generator)
    seeds = torch.randint(0, 3, (4, 64, 64), generator=generator).to(torch.uint8)
    seeds[seeds == 2] = 255
    return maps, frames(), seeds, torch.tensor([0, 0, 1, 1])


@pytest.mark.parametrize("compared", ["color", "features", "both"])
def test_compiled_losses_match_and_do_not_depend_on_the_epoch(compared):
    maps, images, seeds, sequence = batch()
    features = torch.randn(4, 6, 8, 8, generator=torch.Generator().manual_seed(2))
    settings = LossSettings(coloc=Schedule(5.0, ramp=4.0), joint_features=compared)
    losses = StepLosses(LocalizerLoss(settings, (64, 64)))
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(losses, backend=backend, dynamic=False, fullgraph=True)
    counts = Counts.of(seeds, sequence, 2)

    def values_and_gradient(function, weights):
        leaf = maps.clone().requires_grad_()
        values = function(leaf, images, seeds, sequence, 2, weights, counts, None, features)
        values["total"].backward()
        return values, leaf.grad

    for epoch in (1.0, 1.25, 2.5):
        numbers = losses.loss.weights_at(epoch)
        scalars = {name: torch.tensor(n) for name, n in numbers.items()}
        expected, gradient = values_and_gradient(losses, numbers)
        got, got_gradient = values_and_gradient(compiled, scalars)
        assert got.keys() == expected.keys() >= {"pl", "crf", "asc", "coloc", "total"}
        for name in expected:
            torch.testing.assert_close(got[name], expected[name], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(got_gradient, gradient, rtol=1e-4, atol=1e-8)
    assert len(graphs) == 1
