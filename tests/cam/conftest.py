"""A small classifier with random weights, without trivial layers."""

import pytest
import torch
from torch import nn

from colocam.models import Localizer

NUM_CLASSES = 5


def _randomize(model: nn.Module) -> None:
    """Batch norm with random statistics and weights; a head whose maps have both signs."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.3)
            nn.init.normal_(module.running_mean, 0.0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    nn.init.normal_(model.head.bias, 0.0, 1.0)
    with torch.no_grad():
        mean = model.eval().encoder(torch.randn(4, 3, 32, 32))[-1].mean((0, 2, 3))
        weight = torch.randn_like(model.head.weight)
        # The common part of all features would make a class map positive or negative everywhere.
        model.head.weight.copy_(weight - (weight @ mean)[:, None] * mean / mean.dot(mean))


@pytest.fixture(scope="session")
def make_classifier():
    """Factory of a Localizer in eval mode, by encoder name and pooling."""

    def make(encoder: str = "resnet18", pooling: str = "wgap") -> Localizer:
        torch.manual_seed(0)
        model = Localizer(encoder, NUM_CLASSES, pooling=pooling)
        _randomize(model)
        return model

    return make


@pytest.fixture(scope="session")
def model(make_classifier) -> Localizer:
    """ResNet18 with average pooling, frozen; tests must not change it."""
    return make_classifier().requires_grad_(False)


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    """(3, 3, 32, 48): the last feature map is 4×6."""
    return torch.randn(3, 3, 32, 48, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def features(model, images) -> list[torch.Tensor]:
    """Feature maps of the images."""
    with torch.no_grad():
        return model.encoder(images)
