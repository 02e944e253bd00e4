"""InceptionV3 at output stride 8 (Szegedy et al. 2016)."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models import inception

from colocam.models.base import IMAGENET_MEAN, IMAGENET_STD, Encoder

STAGES = {
    "stage1": ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"),
    "stage2": ("maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
    "stage3": ("maxpool2", "Mixed_5b", "Mixed_5c", "Mixed_5d"),
    "stage4": ("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    "stage5": ("Mixed_7a", "Mixed_7b", "Mixed_7c"),
}


class InceptionV3Encoder(Encoder):
    """torchvision's InceptionV3 with stride 1 in Mixed_6a and Mixed_7a, without auxiliary head.

    In torchvision the convolutions of the stem, of Mixed_6a and of Mixed_7a, and all poolings by
    two, are not padded: 224 pixels become 111, 109, 54, 52, 25. Here each is padded by half its
    kernel, as the other layers are, so that a 224×224 frame gives maps of side 112, 56, 28, 28,
    28. Weights do not depend on padding: away from the borders the features are those of the
    unpadded network, on a grid shifted by some pixels, and the ImageNet weights remain valid.

    The ImageNet weights expect mean and standard deviation 0.5. Frames are normalized by
    ImageNet's mean and standard deviation, as for every torchvision encoder, and converted channel
    by channel (torchvision's `transform_input`).
    """

    scale: Tensor
    shift: Tensor

    channels = (64, 192, 288, 768, 2048)
    skipped = ("fc.", "AuxLogits.")

    def __init__(self) -> None:
        super().__init__()
        blocks = [
            inception.BasicConv2d,
            inception.InceptionA,
            _InceptionB,
            inception.InceptionC,
            _InceptionD,
            inception.InceptionE,
            inception.InceptionAux,
        ]
        network = torchvision.models.Inception3(
            aux_logits=False, inception_blocks=blocks, init_weights=False
        )
        _pad(network)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):  # keeps the scale of untrained features
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        self.stage1, self.stage2, self.stage3, self.stage4, self.stage5 = (
            nn.Sequential(OrderedDict((name, network.get_submodule(name)) for name in names))
            for names in STAGES.values()
        )
        self.source_names = {
            name: f"{stage}.{name}" for stage, names in STAGES.items() for name in names
        }
        scale = torch.tensor([std / 0.5 for std in IMAGENET_STD])
        shift = torch.tensor([(mean - 0.5) / 0.5 for mean in IMAGENET_MEAN])
        self.register_buffer("scale", scale.view(3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalized frames (B, 3, H, W) to five maps (B, C_k, H_k, W_k), shallow to deep."""
        stage1 = self.stage1(images * self.scale + self.shift)  # (B, 64, H/2, W/2)
        stage2 = self.stage2(stage1)  # (B, 192, H/4, W/4)
        stage3 = self.stage3(stage2)  # (B, 288, H/8, W/8)
        stage4 = self.stage4(stage3)  # (B, 768, H/8, W/8)
        stage5 = self.stage5(stage4)  # (B, 2048, H/8, W/8)
        return [stage1, stage2, stage3, stage4, stage5]

    def last_block(self) -> list[nn.Module]:
        """Returns the modules of the last block, whose output is the last map."""
        return [self.stage5]


class _InceptionB(inception.InceptionB):
    """Mixed_6a at stride 1: three branches, the last one a pooling."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        _keep_resolution(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 288, h, w) to (B, 768, h, w)."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, 1, 1)], dim=1)


class _InceptionD(inception.InceptionD):
    """Mixed_7a at stride 1."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        _keep_resolution(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 768, h, w) to (B, 1280, h, w)."""
        single = self.branch3x3_2(self.branch3x3_1(x))
        long = self.branch7x7x3_2(self.branch7x7x3_1(x))
        long = self.branch7x7x3_4(self.branch7x7x3_3(long))
        return torch.cat([single, long, F.max_pool2d(x, 3, 1, 1)], dim=1)


def _keep_resolution(block: nn.Module) -> None:
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)


def _pad(network: nn.Module) -> None:
    """Pads convolutions and poolings by half their kernel, as most layers are in torchvision."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.padding = (module.kernel_size[0] // 2, module.kernel_size[1] // 2)
        elif isinstance(module, nn.MaxPool2d):
            assert isinstance(module.kernel_size, int)  # all poolings are square
            module.padding = module.kernel_size // 2
