"""CoLoc: one colour-only random field over all pixels of a video's frames (CoLo-CAM, Eq. 4)."""

import torch
from torch import Tensor, nn

from colocam.kernels import crf_energy


class JointColorCRF(nn.Module):
    """Energy over all pairs of pixels of a sequence, W_ij = exp(−|c_i−c_j|²/2σ_rgb²).

    Position and frame number play no part. Forms as in `SpatialCRF`.

    Args:
        sigma_rgb: colour bandwidth, in levels 0…255.
        form: "association" (published training; λ_c refers to it) or "cut".
        method: filter behind it: "grid", "permutohedral" or "dense".
    """

    def __init__(
        self, sigma_rgb: float = 15.0, form: str = "association", method: str = "grid"
    ) -> None:
        super().__init__()
        self.sigma_rgb, self.form, self.method = sigma_rgb, form, method

    def forward(
        self, images: Tensor, probs: Tensor, sequence: Tensor, num_sequences: int | None = None
    ) -> Tensor:
        """One energy a sequence, 0 for a sequence of one frame.

        Args:
            images: (B, 3, H, W) uint8 or float 0…255.
            probs: (B, K, H, W) summing to 1 over K ≥ 2.
            sequence: (B,) integers 0…G−1: the sequence that each frame belongs to.
            num_sequences: G; None: read from `sequence`, which waits for the device.

        Returns:
            (G,) energies, differentiable in `probs`.
        """
        if num_sequences is None:
            num_sequences = int(sequence.max()) + 1
        energy = crf_energy(
            images, probs, sequence, num_groups=num_sequences, sigma_rgb=self.sigma_rgb,
            form=self.form, method=self.method,
        )  # fmt: skip
        return torch.where(frames_per_sequence(sequence, num_sequences) >= 2, energy, 0.0)


def frames_per_sequence(sequence: Tensor, num_sequences: int) -> Tensor:
    """How many frames each sequence has: (B,) integers 0…G−1 to (G,) integers."""
    counts = torch.zeros(num_sequences, device=sequence.device, dtype=torch.long)
    return counts.index_add(0, sequence.long(), torch.ones_like(sequence, dtype=torch.long))
