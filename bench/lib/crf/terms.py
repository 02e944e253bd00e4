"""The two CRF terms as they are measured: inputs, energy and gradient, least traffic."""

from dataclasses import dataclass

import torch
from torch import Tensor

from colocam.kernels import crf_energy

SIGMA_RGB = 15.0
SIGMA_XY = {"joint": None, "spatial": 100.0}
GRAIN = 16  # pixels: width of the spots of the score maps


@dataclass(frozen=True)
class CrfTerm:
    """A term on n frames, with everything that is not part of it made beforehand.

    Attributes:
        name: "joint" (all frames one group, colour only) or "spatial" (a group a frame).
        images: (n, 3, H, W) uint8.
        probs: (n, 2, H, W) float, summing to 1 over the maps, requires grad.
        group: (n,) int64.
        num_groups: 1 or n.
    """

    name: str
    images: Tensor
    probs: Tensor
    group: Tensor
    num_groups: int

    @property
    def pixels(self) -> int:
        """Of all frames together."""
        return self.images.shape[0] * self.images.shape[2] * self.images.shape[3]

    def energy(self, method: str) -> Tensor:
        """Forward: (G,)."""
        return crf_energy(
            self.images,
            self.probs,
            self.group,
            num_groups=self.num_groups,
            sigma_rgb=SIGMA_RGB,
            sigma_xy=SIGMA_XY[self.name],
            form="association",
            method=method,
        )

    def gradient(self, method: str) -> Tensor:
        """Forward and backward: (n, 2, H, W)."""
        return torch.autograd.grad(self.energy(method).sum(), self.probs)[0]

    def filtered(self, method: str) -> Tensor:
        """The filtered maps (n, 2, H, W): the gradient of the association is -2 times these."""
        return self.gradient(method) / -2

    def features(self) -> Tensor:
        """What other packages ask for, pixels in units of sigma: (G, P, d) float32, d = 3 or 5."""
        frames, _, height, width = self.images.shape
        features = self.images.permute(0, 2, 3, 1).to(torch.float32) / SIGMA_RGB
        sigma_xy = SIGMA_XY[self.name]
        if sigma_xy is not None:
            rows, columns = (
                torch.arange(side, dtype=torch.float32, device=features.device) / sigma_xy
                for side in (height, width)
            )
            place = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
            features = torch.cat([features, place.expand(frames, height, width, 2)], dim=-1)
        return features.reshape(self.num_groups, -1, features.shape[-1]).contiguous()

    def values(self) -> Tensor:
        """The maps in the same order: (G, P, 2), without a gradient."""
        return self.by_group(self.probs.detach())

    def by_group(self, maps: Tensor) -> Tensor:
        """Maps (n, 2, H, W) → (G, P, 2)."""
        return maps.permute(0, 2, 3, 1).reshape(self.num_groups, -1, maps.shape[1]).contiguous()


def make_term(name: str, images: Tensor, device: torch.device, dtype: torch.dtype) -> CrfTerm:
    """A term on images (n, 3, H, W) uint8, with smooth score maps drawn from a fixed seed.

    Drawn on the CPU in float32 whatever the device and `dtype`: the same maps everywhere.
    """
    frames, _, height, width = images.shape
    generator = torch.Generator().manual_seed(0)
    spots = (max(2, height // GRAIN), max(2, width // GRAIN))
    scores = torch.nn.functional.interpolate(
        3 * torch.randn(frames, 2, *spots, generator=generator),
        size=(height, width),
        mode="bilinear",
        align_corners=True,
    )
    probs = scores.softmax(1).to(device, dtype).requires_grad_()
    joint = name == "joint"
    group = torch.zeros(frames, dtype=torch.int64) if joint else torch.arange(frames)
    return CrfTerm(name, images.to(device), probs, group.to(device), 1 if joint else frames)


def least_bytes(pixels: int, maps: int = 2) -> int:
    """The fewest bytes that forward and backward together have to move between memory and chip.

    Every input is read once and the result written once: a pixel has 3 bytes of colour, `maps`
    float32 probabilities, and as many float32 gradients. The lattice or grid, the energies and the
    group ids are small enough to stay on the chip. That a pixel can be read back only after all
    are splatted, which takes a second read of what does not fit the caches, is left out: this is
    a floor, not an estimate.
    """
    color, prob, gradient = 3, 4 * maps, 4 * maps
    return pixels * (color + prob + gradient)
