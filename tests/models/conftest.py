"""Fixture: torchvision's networks as reference."""

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import nn


def _torchvision_network(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    if name == "vgg16":
        with torch.device("meta"):  # its classifier of 124 M parameters is not allocated
            network = torchvision.models.vgg16()
        network.features.to_empty(device="cpu")
        for module in network.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.normal_(module.bias, 0, 0.1)
    elif name == "inceptionv3":
        network = torchvision.models.inception_v3(transform_input=True, init_weights=False)
    else:
        network = getattr(torchvision.models, name)()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network.eval()


@pytest.fixture(scope="session")
def torchvision_network() -> Callable[..., nn.Module]:
    """Makes torchvision's network by an encoder's name.

    Weights and batch norm statistics are random.
    """
    return _torchvision_network
