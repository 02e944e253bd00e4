"""Interface of the encoders: feature maps, normalization of frames, loading of weights."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Encoder(nn.Module):
    """Base class of encoders: a backbone that returns feature maps, shallow to deep.

    The last map is the one that the head pools and that CAMs are computed at. The decoder takes
    the first `decoder_maps` maps: all of them, or all but the last one, where that one is a wide
    convolution that exists for the classification only.

    Attributes:
        channels: channels of the maps, shallow to deep.
        strides: output strides of the maps.
        decoder_maps: number of maps, the first ones, that the decoder takes; None: all.
        centre: whether the decoder starts with a centre block on its deepest map.
        source_names: modules with another name in the library that publishes the weights: its name
            to the name here.
        skipped: prefixes of names in the library's state dict that are not loaded.
        mean, std: (3, 1, 1) float32, of the pixels in [0, 1] that the weights were trained with;
            not part of the state dict.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...] = (2, 4, 8, 8, 8)
    decoder_maps: int | None = None
    centre: bool = False
    source_names: dict[str, str]
    skipped: tuple[str, ...] = ("fc.",)
    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> None:
        super().__init__()
        self.set_normalization(mean, std)

    def set_normalization(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Sets mean and standard deviation of the pixels, three values in [0, 1] each."""
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def normalized(self, images: Tensor) -> Tensor:
        """Normalizes images (B, 3, H, W) uint8, RGB, to float32, channels-last."""
        values = (images.float() / 255 - self.mean) / self.std
        return values.contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Computes the feature maps.

        Args:
            images: (B, 3, H, W) float, normalized.

        Returns:
            maps (B, C_k, H_k, W_k), shallow to deep.
        """
        raise NotImplementedError

    def last_block(self) -> list[nn.Module]:
        """Returns the modules of the last block, whose output is the last map."""
        raise NotImplementedError

    def with_sync_batch_norm(self) -> "Encoder":
        """Returns the encoder with batch statistics over all processes."""
        encoder: Encoder = nn.SyncBatchNorm.convert_sync_batchnorm(self)
        return encoder

    def freeze_unused(self) -> None:
        """Freezes parameters that the last map does not depend on.

        DistributedDataParallel would wait for their gradients.
        """

    def check_side(self, side: int) -> None:
        """Checks that the encoder can process frames of this size.

        Args:
            side: of square frames, pixels.

        Raises:
            UserError: it cannot.
        """

    def load_backbone(self, state: dict[str, Tensor]) -> None:
        """Loads the state dict of the library's network, except the layers after the last map.

        Args:
            state: of torchvision's or timm's network.

        Raises:
            RuntimeError: the state dict is of another architecture.
        """
        self.load_state_dict(
            {
                self._own_name(name): value
                for name, value in state.items()
                if not name.startswith(self.skipped)
            }
        )

    def _own_name(self, name: str) -> str:
        for theirs, ours in self.source_names.items():
            if name.startswith(f"{theirs}."):
                return ours + name.removeprefix(theirs)
        return name
