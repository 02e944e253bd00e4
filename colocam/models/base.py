"""What the encoders have in common: the contract with the decoder, and how weights come in."""

from torch import Tensor, nn


class Encoder(nn.Module):
    """A torchvision backbone at output stride 8.

    Attributes:
        channels: channels of the five maps, shallow to deep.
        strides: pixels of the frame from one place of a map to the next; the first is 1 or 2.
        centre: whether the decoder begins with a centre block on the last map.
        torchvision_names: modules that torchvision calls otherwise: its name to ours.
        left_out: beginnings of names in torchvision's state dict that have no place here.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...] = (2, 4, 8, 8, 8)
    centre: bool = False
    torchvision_names: dict[str, str]
    left_out: tuple[str, ...] = ("fc.",)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalized frames (B, 3, H, W) to five maps (B, C_k, H_k, W_k), shallow to deep."""
        raise NotImplementedError

    def load_backbone(self, state: dict[str, Tensor]) -> None:
        """Takes a torchvision state dict; the layers behind the last map are left out.

        Raises:
            RuntimeError: the state does not belong to this architecture.
        """
        self.load_state_dict(
            {
                self._own_name(name): value
                for name, value in state.items()
                if not name.startswith(self.left_out)
            }
        )

    def _own_name(self, name: str) -> str:
        for theirs, ours in self.torchvision_names.items():
            if name.startswith(f"{theirs}."):
                return ours + name.removeprefix(theirs)
        return name
