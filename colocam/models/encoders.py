"""Table of encoders, each at output stride 8 with five feature maps from shallow to deep.

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
from colocam.models.vgg import VGG16Encoder

ENCODERS: dict[str, tuple[Callable[[], Encoder], WeightsEnum]] = {
    "resnet18": (lambda: ResNetEncoder(18), ResNet18_Weights.IMAGENET1K_V1),
    "resnet50": (lambda: ResNetEncoder(50), ResNet50_Weights.IMAGENET1K_V1),
    "vgg16": (VGG16Encoder, VGG16_Weights.IMAGENET1K_V1),
    "inceptionv3": (InceptionV3Encoder, Inception_V3_Weights.IMAGENET1K_V1),
}
