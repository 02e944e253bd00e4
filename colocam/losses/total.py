"""Loss of stage 2: sum of the four terms of CoLo-CAM, Eq. 5, each with its schedule."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from colocam.losses.joint_crf import JointCRF, sequence_weights
from colocam.losses.partial_cross_entropy import labelled_pixels, partial_cross_entropy
from colocam.losses.principal_features import LARGEST, principal_features
from colocam.losses.size_barrier import barrier_sharpness, size_barrier
from colocam.losses.spatial_crf import SpatialCRF
from colocam.losses.weighting import Schedule, adaptive_weight

JointFeatures = Literal["color", "features", "both"]
COMPONENTS: dict[JointFeatures, int] = {"color": 0, "features": 5, "both": 2}
"""Principal components in the joint term; its lattice takes five dimensions."""

REFERENCE_SIDE = 224  # side of the frames that the papers' λ of the CRF terms and σ_xy are for


@dataclass(frozen=True)
class LossSettings:
    """Weights, schedules and bandwidths of Eq. 5 for frames of 224×224; scaled to other sizes.

    Attributes:
        pl, crf, asc, coloc: schedules of the terms. `coloc.weight` is λ_c under the adaptive
            weight, λ under the constant one.
        coloc_adaptive: adaptive (λ_c · R / |[R]|) or constant weight of the joint term.
        form: "association" or "cut".
        sigma_rgb: of both CRF terms, in levels.
        sigma_xy: of the spatial term, in pixels at 224×224.
        spatial_method, joint_method: Gaussian filters of the two CRF terms.
        joint_features: what the joint term compares: "color", as published; "features", five
            principal components of the encoder's features (see `principal_features`); "both",
            colours and two components.
        feature_sigma: bandwidth of these components, in standard deviations.
    """

    pl: Schedule = field(default=Schedule(1.0))
    crf: Schedule = field(default=Schedule(2e-9))
    asc: Schedule = field(default=Schedule(0.01))
    coloc: Schedule = field(default=Schedule(9.0))
    coloc_adaptive: bool = True
    form: str = "association"
    sigma_rgb: float = 15.0
    sigma_xy: float = 100.0
    spatial_method: str = "permutohedral"
    joint_method: str = "grid"
    joint_features: JointFeatures = "color"
    feature_sigma: float = 0.5


class Counts(NamedTuple):
    """Denominators of the means in the loss: scalars, weighted by frames except for the last.

    If a step has several batches or processes, each divides by the counts of all of them, so that
    the parts sum to the loss over all frames.
    """

    labelled: Tensor  # labelled pixels
    frames: Tensor
    joined: Tensor  # sequences of two frames or more
    present: Tensor  # frames, unweighted

    @classmethod
    def of(
        cls,
        seeds: Tensor,
        sequence: Tensor,
        num_sequences: int,
        frame_weights: Tensor | None = None,
    ) -> "Counts":
        """Counts of one batch, float32; arguments as of `LocalizerLoss.forward`."""
        present = torch.full((), len(seeds), device=seeds.device, dtype=torch.float32)
        return cls(
            labelled_pixels(seeds, frame_weights),
            present if frame_weights is None else frame_weights.sum(),
            sequence_weights(sequence, num_sequences, frame_weights).sum(),
            present,
        )


class LocalizerLoss(nn.Module):
    """Sum of partial cross-entropy, CRF, size barrier and CoLoc (CoLo-CAM, Eq. 5).

    Args:
        settings: weights and schedules.
        size: (H, W) of the frames. Energies grow with the square of the number of pixels:
            constant weights of the CRF terms are scaled to λ·(224²/HW)², and σ_xy with the side.
    """

    def __init__(self, settings: LossSettings, size: tuple[int, int]) -> None:
        super().__init__()
        self.settings = settings
        pixels = size[0] * size[1]
        self.energy_scale = (REFERENCE_SIDE**2 / pixels) ** 2
        self.spatial = SpatialCRF(
            settings.sigma_rgb,
            settings.sigma_xy * pixels**0.5 / REFERENCE_SIDE,
            settings.form,
            settings.spatial_method,
        )
        method = settings.joint_method
        if settings.joint_features != "color" and method == "grid":
            method = "permutohedral"  # the grid is for colours alone
        sigma_rgb = None if settings.joint_features == "features" else settings.sigma_rgb
        self.joint = JointCRF(sigma_rgb, settings.form, method)

    def forward(
        self,
        images: Tensor,
        maps: Tensor,
        seeds: Tensor,
        sequence: Tensor,
        num_sequences: int,
        epoch: float,
        counts: Counts | None = None,
        frame_weights: Tensor | None = None,
        features: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Weighted terms that are active at `epoch`, and their sum.

        Args:
            images: (B, 3, H, W) uint8, the frames that the network was applied to.
            maps: (B, 2, H, W) before softmax.
            seeds: (B, H, W) uint8, see `colocam.seeds`.
            sequence: (B,) integers 0…G−1.
            num_sequences: G.
            epoch: counted from 0, fractional within an epoch.
            counts: denominators of the means; None: those of this batch.
            frame_weights: (B,) float32, ≥ 0, weights of the frames in every term; None: 1 each.
            features: (B, C, h, w), a feature map of the frames, for a joint term that compares
                features.

        Returns:
            active terms by name ("pl", "crf", "asc", "coloc"), and their sum under "total".
        """
        weights = self.weights_at(epoch)
        return self.weighted_terms(
            maps, images, seeds, sequence, num_sequences, weights, counts, frame_weights, features
        )

    def weights_at(self, epoch: float) -> dict[str, float]:
        """Weights of the terms that are active at `epoch`; with "asc" the barrier's "sharpness"."""
        settings = self.settings
        schedules = {
            "pl": settings.pl, "crf": settings.crf, "asc": settings.asc, "coloc": settings.coloc
        }  # fmt: skip
        at_epoch = {name: schedule.at(epoch) for name, schedule in schedules.items()}
        weights = {name: weight for name, weight in at_epoch.items() if weight}
        if "asc" in weights:
            weights["sharpness"] = barrier_sharpness(int(epoch))
        return weights

    def weighted_terms(
        self,
        maps: Tensor,
        images: Tensor,
        seeds: Tensor,
        sequence: Tensor,
        num_sequences: int,
        weights: Mapping[str, float] | Mapping[str, Tensor],
        counts: Counts | None = None,
        frame_weights: Tensor | None = None,
        features: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """`forward` with the weights of `weights_at`, numbers or scalars (no recompilation)."""
        settings = self.settings
        if counts is None:
            counts = Counts.of(seeds, sequence, num_sequences, frame_weights)
        # a term without frames is 0, not NaN
        counts = Counts(*(count + (count == 0) for count in counts))
        maps = maps.float()
        probs = maps.softmax(1)
        terms: dict[str, Tensor] = {}
        if "pl" in weights:
            entropy = partial_cross_entropy(maps, seeds, counts.labelled, frame_weights)
            terms["pl"] = weights["pl"] * entropy
        if "crf" in weights:
            energy = self.spatial(images, probs)
            energy = energy if frame_weights is None else frame_weights * energy
            terms["crf"] = weights["crf"] * self.energy_scale * energy.sum() / counts.frames
        if "asc" in weights:
            terms["asc"] = weights["asc"] * size_barrier(
                probs, weights["sharpness"], counts.frames, frame_weights
            )
        if "coloc" in weights:
            energy = self.joint(
                images, probs, sequence, num_sequences, frame_weights,
                self._features(features, sequence, num_sequences, images.shape[2:]),
                LARGEST / settings.feature_sigma,
            )  # fmt: skip
            shares = sequence_weights(sequence, num_sequences, frame_weights) / counts.joined
            terms["coloc"] = (shares * self._weighted(energy, weights["coloc"])).sum()
        terms["total"] = torch.stack([*terms.values()]).sum() if terms else maps.sum() * 0
        return terms

    def _features(
        self, maps: Tensor | None, sequence: Tensor, num_sequences: int, size: torch.Size
    ) -> Tensor | None:
        """Features of the joint term, (B, 2 or 5, H, W); None: colours alone."""
        count = COMPONENTS[self.settings.joint_features]
        if not count:
            return None
        assert maps is not None, "the joint term with features needs a feature map"
        return principal_features(
            maps, sequence, num_sequences, (size[0], size[1]), self.settings.feature_sigma, count
        )

    def _weighted(self, energy: Tensor, weight: float | Tensor) -> Tensor:
        if self.settings.coloc_adaptive:
            return adaptive_weight(energy, weight)
        return weight * self.energy_scale * energy
