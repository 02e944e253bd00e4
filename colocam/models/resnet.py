"""ResNet at output stride 8 (He et al. 2016)."""

import torchvision
from torch import Tensor, nn

from colocam.models.base import Encoder


class ResNetEncoder(Encoder):
    """torchvision's ResNet with stride 1 in layer3 and layer4 (no dilation).

    A 224×224 frame gives maps of side 112, 56, 28, 28, 28 (CoLo-CAM, Sec. 4.1).

    Args:
        depth: 18 or 50.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        resnet = {18: torchvision.models.resnet18, 50: torchvision.models.resnet50}[depth]()
        self.source_names = {"conv1": "stem.0", "bn1": "stem.1"}
        self.stem = nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu)
        self.pool = resnet.maxpool
        self.layer1, self.layer2 = resnet.layer1, resnet.layer2
        self.layer3, self.layer4 = resnet.layer3, resnet.layer4
        for layer in (self.layer3, self.layer4):
            _keep_resolution(layer)
        widths = (64, 128, 256, 512)
        self.channels = (64, *(width * (4 if depth >= 50 else 1) for width in widths))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalized frames (B, 3, H, W) to five maps (B, C_k, H_k, W_k), shallow to deep."""
        stem = self.stem(images)  # (B, 64, H/2, W/2)
        layer1 = self.layer1(self.pool(stem))  # (B, C1, H/4, W/4)
        layer2 = self.layer2(layer1)  # (B, C2, H/8, W/8)
        layer3 = self.layer3(layer2)  # (B, C3, H/8, W/8)
        layer4 = self.layer4(layer3)  # (B, C4, H/8, W/8)
        return [stem, layer1, layer2, layer3, layer4]

    def last_block(self) -> list[nn.Module]:
        """Returns the modules of the last block, whose output is the last map."""
        return [self.layer4]


def _keep_resolution(layer: nn.Module) -> None:
    for module in layer.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (1, 1)
