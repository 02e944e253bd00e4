"""VGG16 at output stride 8 (Simonyan and Zisserman 2015)."""

from torch import Tensor, nn
from torchvision.models.vgg import make_layers

from colocam.models.base import Encoder

# Output channels of the convolutions; "M": pooling. The fourth and fifth pooling are dropped.
_LAYERS = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512]


class VGG16Encoder(Encoder):
    """torchvision's VGG16 (no batch norm) without its fourth and fifth pooling and its classifier.

    A 224×224 frame gives maps of side 224, 112, 56, 28, 28. The first has the frame's size, so the
    decoder's last block does not upsample. The decoder starts with a centre block, as in the U-Net
    of the published training. Layers keep torchvision's numbers: `stage5.28` is `features.28`.
    """

    channels = (64, 128, 256, 512, 512)
    strides = (1, 2, 4, 8, 8)
    centre = True
    skipped = ("classifier.",)

    def __init__(self) -> None:
        super().__init__()
        layers = make_layers(_LAYERS)  # without the classifier, 124 of 138 M parameters
        self.stage1, self.stage2, self.stage3 = layers[:4], layers[4:9], layers[9:16]
        self.stage4, self.stage5 = layers[16:23], layers[24:]  # 23 is the fourth pooling
        self.source_names = {
            f"features.{number}": f"{stage}.{number}"
            for stage, module in self.named_children()
            for number, _ in module.named_children()
        }
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # as in torchvision; there is no batch norm
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None  # make_layers keeps the default
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalized frames (B, 3, H, W) to five maps (B, C_k, H_k, W_k), shallow to deep."""
        stage1 = self.stage1(images)  # (B, 64, H, W)
        stage2 = self.stage2(stage1)  # (B, 128, H/2, W/2)
        stage3 = self.stage3(stage2)  # (B, 256, H/4, W/4)
        stage4 = self.stage4(stage3)  # (B, 512, H/8, W/8)
        stage5 = self.stage5(stage4)  # (B, 512, H/8, W/8)
        return [stage1, stage2, stage3, stage4, stage5]

    def last_block(self) -> list[nn.Module]:
        """Returns the modules of the last block, whose output is the last map."""
        return [self.stage5]
