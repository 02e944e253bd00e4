"""CRF terms under test: inputs, energy, gradient, and lower bound on memory traffic."""

from dataclasses import dataclass

import torch
from torch import Tensor

from colocam.kernels import crf_energy

SIGMA_RGB = 15.0
SIGMA_XY = {"joint": None, "spatial": 100.0}
BLOB = 16  # pixels: width of the blobs of the score maps


@dataclass(frozen=True)
class CrfTerm:
    """A CRF term on n frames, its inputs on the device.

    Attributes:
        name: "joint" (all frames in one group, colour only) or "spatial" (one group per frame).
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
        """Number of pixels of all frames."""
        return self.images.shape[0] * self.images.shape[2] * self.images.shape[3]

    def energy(self, method: str) -> Tensor:
        """Energy (forward pass): (G,)."""
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
        """Gradient on `probs` (forward and backward pass): (n, 2, H, W)."""
        return torch.autograd.grad(self.energy(method).sum(), self.probs)[0]

    def filtered(self, method: str) -> Tensor:
        """Filtered maps (n, 2, H, W); the gradient of the association is −2 times these."""
        return self.gradient(method) / -2

    def features(self) -> Tensor:
        """Features of the pixels in units of sigma: (G, P, d) float32, d = 3 or 5.

        Input of other packages; `colocam.kernels.crf_energy` computes them itself.
        """
        frames, _, height, width = self.images.shape
        features = self.images.permute(0, 2, 3, 1).to(torch.float32) / SIGMA_RGB
        sigma_xy = SIGMA_XY[self.name]
        if sigma_xy is not None:
            rows, columns = (
                torch.arange(side, dtype=torch.float32, device=features.device) / sigma_xy
                for side in (height, width)
            )
            position = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
            features = torch.cat([features, position.expand(frames, height, width, 2)], dim=-1)
        return features.reshape(self.num_groups, -1, features.shape[-1]).contiguous()

    def values(self) -> Tensor:
        """`probs` in the order of the features, detached: (G, P, 2)."""
        return self.by_group(self.probs.detach())

    def by_group(self, maps: Tensor) -> Tensor:
        """Reshapes maps (n, 2, H, W) to (G, P, 2)."""
        return maps.permute(0, 2, 3, 1).reshape(self.num_groups, -1, maps.shape[1]).contiguous()


def make_term(name: str, images: Tensor, device: torch.device, dtype: torch.dtype) -> CrfTerm:
    """Creates a term with smooth score maps drawn from a fixed seed.

    The maps are drawn on the CPU in float32, so that they are the same for every device and dtype.

    Args:
        name: "joint" or "spatial".
        images: (n, 3, H, W) uint8.
        device: of the term.
        dtype: of its maps.
    """
    frames, _, height, width = images.shape
    generator = torch.Generator().manual_seed(0)
    blobs = (max(2, height // BLOB), max(2, width // BLOB))
    scores = torch.nn.functional.interpolate(
        3 * torch.randn(frames, 2, *blobs, generator=generator),
        size=(height, width),
        mode="bilinear",
        align_corners=True,
    )
    probs = scores.softmax(1).to(device, dtype).requires_grad_()
    joint = name == "joint"
    group = torch.zeros(frames, dtype=torch.int64) if joint else torch.arange(frames)
    return CrfTerm(name, images.to(device), probs, group.to(device), 1 if joint else frames)


def least_bytes(pixels: int, maps: int = 2) -> int:
    """Lower bound on the bytes that forward and backward pass move between memory and chip.

    Every input is read once and the result is written once: per pixel 3 bytes of colour, `maps`
    float32 probabilities and as many float32 gradients. Lattice or grid, energies and group ids
    are assumed to stay in the caches, and so is the second read of the pixels, which begins only
    after all of them are splatted.

    Args:
        pixels: of all frames.
        maps: per pixel, K.
    """
    color, prob, gradient = 3, 4 * maps, 4 * maps
    return pixels * (color + prob + gradient)
