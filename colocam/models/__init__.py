"""Models: encoder, pooling head and decoder, and their checkpoints.

- `localizer`: the whole model, `Localizer`
- `base`: interface of the encoders
- `encoders`: table of encoders
- `resnet`, `vgg`, `inception`: torchvision's encoders at output stride 8
- `timm_encoder`: encoders of timm
- `dilation`: networks whose strides are replaced by dilation
- `head`: pooling head of the classifier
- `decoder`: U-Net decoder
- `weights`: pretrained weights of the encoders
- `checkpoint`: checkpoint files
"""

from colocam.models.localizer import Localizer

__all__ = ["Localizer"]
