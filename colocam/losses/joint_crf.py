"""CoLoc: CRF over all pixels of a sequence of frames (CoLo-CAM, Eq. 4)."""

import torch
from torch import Tensor, nn

from colocam.kernels import crf_energy


class JointCRF(nn.Module):
    """Energy over all pairs of pixels of a sequence.

    W_ij = exp(−|c_i−c_j|²/2σ_rgb² − |f_i−f_j|²/2), of colours c, features f, or both; as
    published, colours alone. Independent of position and frame number. Forms as in `SpatialCRF`.

    Args:
        sigma_rgb: colour bandwidth, in levels 0…255; None: features alone.
        form: "association" (published training; λ_c refers to it) or "cut".
        method: Gaussian filter: "grid" (colours alone), "permutohedral" or "dense".
    """

    def __init__(
        self, sigma_rgb: float | None = 15.0, form: str = "association", method: str = "grid"
    ) -> None:
        super().__init__()
        self.sigma_rgb, self.form, self.method = sigma_rgb, form, method

    def forward(
        self,
        images: Tensor,
        probs: Tensor,
        sequence: Tensor,
        num_sequences: int | None = None,
        frame_weights: Tensor | None = None,
        features: Tensor | None = None,
        feature_limit: float = 16.0,
    ) -> Tensor:
        """One energy per sequence, 0 for a sequence of one frame.

        A pair of pixels is weighted by the product of the weights of its frames. Energies are
        divided by the square of the sequence's weight (`sequence_weights`): equal weights give the
        unweighted energy, and a frame of weight 0 is ignored.

        Args:
            images: (B, 3, H, W) uint8 or float 0…255.
            probs: (B, K, H, W) summing to 1 over K ≥ 2.
            sequence: (B,) integers 0…G−1, the sequence of each frame.
            num_sequences: G; None: read from `sequence`, which synchronizes with the device.
            frame_weights: (B,), ≥ 0; None: 1 each.
            features: (B, D, H, W) float, in units of their σ; None: colours alone.
            feature_limit: features are limited to ± this value.

        Returns:
            (G,) energies, differentiable in `probs`.
        """
        if num_sequences is None:
            num_sequences = int(sequence.max()) + 1
        if frame_weights is not None:
            probs = probs * frame_weights.view(-1, 1, 1, 1)
        energy = crf_energy(
            images, probs, sequence, num_groups=num_sequences, sigma_rgb=self.sigma_rgb,
            features=features, feature_limit=feature_limit, form=self.form, method=self.method,
        )  # fmt: skip
        weights = sequence_weights(sequence, num_sequences, frame_weights)
        return torch.where(weights > 0, energy / weights.masked_fill(weights == 0, 1) ** 2, 0.0)


def sequence_weights(
    sequence: Tensor, num_sequences: int, frame_weights: Tensor | None = None
) -> Tensor:
    """Weight of each sequence: the mean over its frames with a weight above 0.

    0 where fewer than two frames have a weight above 0.

    Args:
        sequence: (B,) integers 0…G−1.
        num_sequences: G.
        frame_weights: (B,) float32, ≥ 0; None: 1 each.

    Returns:
        (G,) float32.
    """
    if frame_weights is None:
        frame_weights = torch.ones(len(sequence), device=sequence.device)
    both = torch.stack([frame_weights, (frame_weights > 0).to(frame_weights)])  # (2, B)
    sums, counts = both.new_zeros(2, num_sequences).index_add(1, sequence.long(), both)
    return torch.where(counts >= 2, sums / counts.clamp(min=1), 0.0)
