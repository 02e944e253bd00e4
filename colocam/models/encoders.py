"""Table of encoders, and construction of an encoder by its name.

To add an encoder, write a subclass of `Encoder` (base.py) and add a row: constructor and ImageNet
weights.
"""

from collections.abc import Callable

from torchvision.models import (
    Inception_V3_Weights,
    ResNet18_Weights,
    ResNet50_Weights,
    VGG16_Weights,
    WeightsEnum,
)

from colocam.models.base import Encoder
from colocam.models.inception import InceptionV3Encoder
from colocam.models.resnet import ResNetEncoder
from colocam.models.timm_encoder import PREFIX, TimmEncoder
from colocam.models.vgg import VGG16Encoder

ENCODERS: dict[str, tuple[Callable[[], Encoder], WeightsEnum]] = {
    "resnet18": (lambda: ResNetEncoder(18), ResNet18_Weights.IMAGENET1K_V1),
    "resnet50": (lambda: ResNetEncoder(50), ResNet50_Weights.IMAGENET1K_V1),
    "vgg16": (VGG16Encoder, VGG16_Weights.IMAGENET1K_V1),
    "inceptionv3": (InceptionV3Encoder, Inception_V3_Weights.IMAGENET1K_V1),
}
"""torchvision's encoders, each at output stride 8 with five feature maps from shallow to deep."""


def make_encoder(name: str) -> Encoder:
    """Creates an encoder with random weights.

    Args:
        name: a name in `ENCODERS`, or "timm:" and a name that `TimmEncoder` takes.

    Raises:
        ValueError: unknown name.
        UserError: timm is not installed, or the model cannot be used.
    """
    if not is_known(name):
        raise ValueError(f"encoder: unknown {name!r}; known: {KNOWN}")
    if name.startswith(PREFIX):
        return TimmEncoder(name.removeprefix(PREFIX))
    return ENCODERS[name][0]()


KNOWN = f"{', '.join(ENCODERS)}, timm:NAME or timm:NAME:half (a timm model)"  # for messages


def is_known(name: str) -> bool:
    """Returns whether a name has the form of an encoder's: in `ENCODERS`, or "timm:NAME"."""
    return name in ENCODERS or name.removeprefix(PREFIX) not in ("", name)
