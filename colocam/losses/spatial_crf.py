"""CRF: dense conditional random field over colour and position of a frame (CoLo-CAM, Eq. 2)."""

import torch
from torch import Tensor, nn

from colocam.kernels import crf_energy


class SpatialCRF(nn.Module):
    """Energy Σ_r S^rᵀ W (1 − S^r) ("cut") or −Σ_r S^rᵀ W S^r ("association") of each frame.

    W_ij = exp(−|c_i−c_j|²/2σ_rgb² − |p_i−p_j|²/2σ_xy²) over all pairs of the frame's pixels.

    Args:
        sigma_rgb: colour bandwidth, in levels 0…255.
        sigma_xy: position bandwidth, in pixels; 100 is for 224×224, scale it with the side.
        form: "association" (published training) or "cut" (the paper's text); they differ by 1ᵀW1.
        method: Gaussian filter: "permutohedral" or "dense".
    """

    def __init__(
        self,
        sigma_rgb: float = 15.0,
        sigma_xy: float = 100.0,
        form: str = "association",
        method: str = "permutohedral",
    ) -> None:
        super().__init__()
        self.sigma_rgb, self.sigma_xy, self.form, self.method = sigma_rgb, sigma_xy, form, method

    def forward(self, images: Tensor, probs: Tensor) -> Tensor:
        """One energy per frame.

        Args:
            images: (B, 3, H, W) uint8 or float 0…255.
            probs: (B, K, H, W) summing to 1 over K ≥ 2.

        Returns:
            (B,) energies, differentiable in `probs`.
        """
        group = torch.arange(len(images), device=images.device)
        return crf_energy(
            images, probs, group, num_groups=len(images), sigma_rgb=self.sigma_rgb,
            sigma_xy=self.sigma_xy, form=self.form, method=self.method,
        )  # fmt: skip
