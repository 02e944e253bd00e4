"""Interface of the encoders: feature maps for the decoder, and loading of pretrained weights."""

from torch import Tensor, nn


class Encoder(nn.Module):
    """Base class of encoders: a torchvision backbone at output stride 8.

    Attributes:
        channels: channels of the five feature maps, shallow to deep.
        strides: output strides of the five maps; the first is 1 or 2.
        centre: whether the decoder starts with a centre block on the last map.
        torchvision_names: modules with another name in torchvision: its name to the name here.
        skipped: prefixes of names in torchvision's state dict that are not loaded.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...] = (2, 4, 8, 8, 8)
    centre: bool = False
    torchvision_names: dict[str, str]
    skipped: tuple[str, ...] = ("fc.",)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Computes the feature maps.

        Args:
            images: (B, 3, H, W) float, normalized.

        Returns:
            five maps (B, C_k, H_k, W_k), shallow to deep.
        """
        raise NotImplementedError

    def load_backbone(self, state: dict[str, Tensor]) -> None:
        """Loads a torchvision state dict, except the layers after the last map.

        Args:
            state: of torchvision's network.

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
        for theirs, ours in self.torchvision_names.items():
            if name.startswith(f"{theirs}."):
                return ours + name.removeprefix(theirs)
        return name
