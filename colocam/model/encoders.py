"""Backbones at output stride 8, each giving a list of feature maps from shallow to deep.

Adding a backbone is a class with `channels` and `forward`, and a row in `ENCODERS`.
"""

import torchvision
from torch import Tensor, nn


class ResNetEncoder(nn.Module):
    """A torchvision ResNet whose layer3 and layer4 keep stride 1 (no dilation).

    A 224×224 frame gives maps of side 112, 56, 28, 28, 28 (CoLo-CAM, Sec. 4.1).

    Attributes:
        channels: channels of the five maps, shallow to deep.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        resnet = {18: torchvision.models.resnet18, 50: torchvision.models.resnet50}[depth]()
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

    def load_backbone(self, state: dict[str, Tensor]) -> None:
        """Takes a torchvision ResNet state dict; its `fc` is left out.

        Raises:
            RuntimeError: the state does not belong to this architecture.
        """
        renamed = {
            key.replace("conv1.", "stem.0.", 1) if key.startswith("conv1.") else key: value
            for key, value in state.items()
            if not key.startswith("fc.")
        }
        renamed = {
            key.replace("bn1.", "stem.1.", 1) if key.startswith("bn1.") else key: value
            for key, value in renamed.items()
        }
        self.load_state_dict(renamed)


def _keep_resolution(layer: nn.Module) -> None:
    for module in layer.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (1, 1)


ENCODERS = {
    "resnet18": (lambda: ResNetEncoder(18), torchvision.models.ResNet18_Weights.IMAGENET1K_V1),
    "resnet50": (lambda: ResNetEncoder(50), torchvision.models.ResNet50_Weights.IMAGENET1K_V1),
}
